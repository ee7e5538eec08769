//! One response of a FETCH: which items it has, and how each is written (RFC 3501 §7.4.2).

use super::global::without_global;
use crate::cache::{Arena, ContentKey};
use crate::date;
use crate::fetch_items::{FetchItem, FetchItems, Form};
use crate::flags;
use crate::index::Table;
use crate::set;
use crate::source::{Piece, Value};
use crate::view::Known;
use std::collections::VecDeque;
use std::sync::Arc;

/// A section up to this size is copied into its response.
const COPIED_AT_ONCE: usize = 65_536;
/// The most that is copied into one response; one message may have many parts.
const COPIED: usize = 1 << 20;

/// Why a message was not rendered.
pub(super) enum Skip {
    /// It or its file is gone.
    Missing,
    /// Its wire strings are not in the cache.
    Contents,
}

/// What is the same for all responses of a command, and what they have told the client.
pub(super) struct Renderer {
    pub(super) items: Arc<FetchItems>,
    with_uid: bool,
    /// `UIDFETCH` with a UID instead of `FETCH` with a number (RFC 9586 §3.3).
    uidonly: bool,
    condstore: bool,
    imap4rev2: bool,
    /// Whether each response has MODSEQ although nobody asked for it.
    with_modseq: bool,
    recent: Vec<(u32, u32)>,
    unseen: Vec<u32>,
    /// Flag changes up to this mod-sequence were told before.
    told_before: i64,
    /// Later flag changes that these responses tell.
    pub(super) told: Vec<(u32, i64)>,
    /// The index's position after the last message, if the index has not changed.
    pub(super) hint: usize,
    /// Up to which position missing contents were asked for.
    pub(super) asked: usize,
}

/// Where wire strings come from.
pub(super) enum Strings<'a> {
    Cached(Option<&'a mut Arena<3>>),
    Now(&'a esp_mime::Description),
}

/// What is known about a message's octets without reading them.
pub(super) struct Made<'a> {
    pub(super) strings: Strings<'a>,
    pub(super) indexed: Option<&'a mut Arena<2>>,
}

/// What indexing stored about a message.
struct Indexed<'a> {
    thread: i64,
    preview: &'a [u8],
}

impl<'a> Indexed<'a> {
    fn find(arena: &'a mut Arena<2>, key: ContentKey) -> Option<Self> {
        let [thread, preview] = arena.get(key)?;
        let thread = i64::from_le_bytes(thread.try_into().ok()?);
        Some(Self { thread, preview })
    }
}

/// The items made from the message's octets, in their order.
#[derive(Default)]
pub(super) struct Sections<'a> {
    values: VecDeque<Value>,
    /// Where large items go.
    pieces: Option<&'a mut VecDeque<Piece>>,
    /// Octets of small items, which are copied into the response.
    copied: usize,
}

impl Renderer {
    pub(super) fn new(
        items: Arc<FetchItems>,
        known: &Known,
        with_uid: bool,
        unseen: Vec<u32>,
    ) -> Self {
        Self {
            items,
            with_uid: with_uid && !known.uidonly,
            uidonly: known.uidonly,
            condstore: known.condstore,
            imap4rev2: known.imap4rev2,
            // RFC 7162 §3.2.4: UID FETCH of who enabled QRESYNC.
            with_modseq: known.qresync && with_uid,
            recent: known.recent.clone(),
            unseen,
            told_before: known.told(),
            told: Vec::new(),
            hint: 0,
            asked: 0,
        }
    }

    fn write_structure(&self, out: &mut Vec<u8>, structure: &[u8]) {
        if self.imap4rev2 {
            out.extend_from_slice(structure);
        } else {
            out.extend_from_slice(&without_global(structure));
        }
    }

    /// Have responses include MODSEQ if the session has enabled CONDSTORE.
    pub(super) fn tell_modseqs(&mut self) {
        self.with_modseq |= self.condstore;
    }

    /// Append one response; what is too large for it goes to the pieces. A skipped message leaves nothing behind.
    #[inline]
    pub(super) fn render(
        &mut self,
        out: &mut Vec<u8>,
        table: &Table,
        position: usize,
        uid: u32,
        made: Made<'_>,
        sections: Sections<'_>,
    ) -> Result<(), Skip> {
        let start = out.len();
        let result = self.write(out, table, position, uid, made, sections);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    #[inline]
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        table: &Table,
        position: usize,
        uid: u32,
        made: Made<'_>,
        mut sections: Sections<'_>,
    ) -> Result<(), Skip> {
        let row = table.find_near(uid, &mut self.hint).ok_or(Skip::Missing)?;
        if self
            .items
            .changed_since
            .is_some_and(|since| row.modseq <= since)
        {
            return Ok(());
        }
        let key = (table.account, row.content);
        let strings = match made.strings {
            _ if !self.items.needs_contents() => Default::default(),
            Strings::Now(description) => [
                description.envelope.as_slice(),
                &description.bodystructure,
                &description.body,
            ],
            Strings::Cached(arena) => arena
                .and_then(|arena| arena.get(key))
                .ok_or(Skip::Contents)?,
        };
        let indexed = made
            .indexed
            .filter(|_| self.items.needs_indexed())
            .and_then(|arena| Indexed::find(arena, key));
        if indexed.is_none() && self.items.needs_indexed() && position >= self.asked {
            return Err(Skip::Contents);
        }
        out.extend_from_slice(b"* ");
        if self.uidonly {
            write_number(out, u64::from(uid));
            out.extend_from_slice(b" UIDFETCH (");
        } else {
            write_number(out, position as u64 + 1);
            out.extend_from_slice(b" FETCH (");
        }
        let mut begun = false;
        let mut name = |out: &mut Vec<u8>, name: &[u8]| {
            if begun {
                out.push(b' ');
            }
            begun = true;
            out.extend_from_slice(name);
        };
        if self.with_uid && !self.items.items.contains(&FetchItem::Uid) {
            name(out, b"UID ");
            write_number(out, u64::from(uid));
        }
        let mut flags_told = false;
        for item in &self.items.items {
            match item {
                FetchItem::Uid => {
                    name(out, b"UID ");
                    write_number(out, u64::from(uid));
                }
                FetchItem::Flags => {
                    name(out, b"FLAGS ");
                    flags::write(out, row.flags, self.is_recent(uid), &table.keywords);
                    flags_told = true;
                }
                FetchItem::InternalDate => {
                    name(out, b"INTERNALDATE ");
                    date::write_date_time(out, row.internal_date);
                }
                FetchItem::SaveDate => {
                    name(out, b"SAVEDATE ");
                    date::write_date_time(out, row.saved_at);
                }
                FetchItem::EmailId => {
                    name(out, b"EMAILID (E");
                    write_number(out, row.content.unsigned_abs());
                    out.push(b')');
                }
                FetchItem::ThreadId => match &indexed {
                    Some(indexed) => {
                        name(out, b"THREADID (T");
                        write_number(out, indexed.thread.unsigned_abs());
                        out.push(b')');
                    }
                    None => name(out, b"THREADID NIL"),
                },
                FetchItem::Preview => {
                    name(out, b"PREVIEW ");
                    crate::write_nstring(out, indexed.as_ref().map(|indexed| indexed.preview));
                }
                FetchItem::Size => {
                    name(out, b"RFC822.SIZE ");
                    write_number(out, row.size);
                }
                FetchItem::Envelope => {
                    name(out, b"ENVELOPE ");
                    out.extend_from_slice(strings[0]);
                }
                FetchItem::BodyStructure => {
                    name(out, b"BODYSTRUCTURE ");
                    self.write_structure(out, strings[1]);
                }
                FetchItem::Body => {
                    name(out, b"BODY ");
                    self.write_structure(out, strings[2]);
                }
                FetchItem::ModSeq => {
                    name(out, b"MODSEQ (");
                    write_number(out, row.modseq.unsigned_abs());
                    out.push(b')');
                }
                FetchItem::Section(section) => {
                    name(out, section.label.as_bytes());
                    out.push(b' ');
                    sections.write_next(out, section.form);
                }
            }
        }
        // RFC 3501 §6.4.5: the response says that the flag is now set.
        let set_now = row.flags & flags::SEEN != 0 && self.unseen.binary_search(&uid).is_ok();
        if set_now {
            // RFC 7162 §3.2.4: UID goes with what MODSEQ tells of a change.
            let with_uid = self.with_uid || self.items.items.contains(&FetchItem::Uid);
            if self.condstore && !self.uidonly && !with_uid {
                name(out, b"UID ");
                write_number(out, u64::from(uid));
            }
            if !flags_told {
                name(out, b"FLAGS ");
                flags::write(out, row.flags, self.is_recent(uid), &table.keywords);
            }
            flags_told = true;
        }
        let mut modseq_told = self.items.modseq();
        if (self.with_modseq || (set_now && self.condstore)) && !modseq_told {
            name(out, b"MODSEQ (");
            write_number(out, row.modseq.unsigned_abs());
            out.push(b')');
            modseq_told = true;
        }
        if flags_told && (modseq_told || !self.condstore) && row.modseq > self.told_before {
            self.told.push((uid, row.modseq));
        }
        out.extend_from_slice(b")\r\n");
        Ok(())
    }

    fn is_recent(&self, uid: u32) -> bool {
        set::contains(&self.recent, uid)
    }
}

impl<'a> Sections<'a> {
    pub(super) fn new(values: Vec<Value>, pieces: &'a mut VecDeque<Piece>) -> Self {
        Self {
            values: values.into(),
            pieces: Some(pieces),
            copied: 0,
        }
    }

    fn write_next(&mut self, out: &mut Vec<u8>, form: Form) {
        match self.values.pop_front() {
            None | Some(Value::Nil) if form == Form::DecodedSize => out.push(b'0'),
            None | Some(Value::Nil | Value::UnknownEncoding) => out.extend_from_slice(b"NIL"),
            Some(Value::Size(size)) => write_number(out, size),
            Some(Value::Octets(piece)) => {
                // RFC 3516 §4.2: a literal8 if a literal cannot hold the octets.
                if form == Form::Decoded && piece.has_nul() {
                    out.push(b'~');
                }
                out.push(b'{');
                write_number(out, piece.len());
                out.extend_from_slice(b"}\r\n");
                if let Some(octets) = piece.in_memory()
                    && octets.len() <= COPIED_AT_ONCE
                    && self.copied + octets.len() <= COPIED
                {
                    self.copied += octets.len();
                    out.extend_from_slice(octets);
                } else if let Some(pieces) = &mut self.pieces {
                    pieces.push_back(Piece::Octets(std::mem::take(out)));
                    pieces.push_back(piece);
                }
            }
        }
    }
}

/// Append a number; `write!` would take most of the time of a response.
fn write_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        at -= 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}
