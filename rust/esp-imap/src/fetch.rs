//! A FETCH being answered, in pieces of bounded size.

use crate::cache::{Arena, ContentCache, ContentKey};
use crate::date;
use crate::fetch_items::{FetchItem, FetchItems, Form};
use crate::files::Files;
use crate::flags;
use crate::index::{Row, Table};
use crate::returns::Partial;
use crate::set::SequenceSet;
use crate::source::{Piece, Source, Value, to_usize};
use crate::uids::UidList;
use crate::view::{RangeError, View};
use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::Arc;

/// Messages whose wire strings are asked for together.
const AHEAD: usize = 4_000;
/// Messages that `Fetch::step_cached` renders, each at most this large: well below a millisecond for all.
const CACHED_MESSAGES: usize = 8;
const CACHED_OCTETS: u64 = 65_536;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this.
    Octets(Vec<u8>),
    /// Bring these into the `ContentCache`.
    Contents(Vec<i64>),
}

/// Why a message was not rendered.
enum Skip {
    /// It or its file is gone.
    Missing,
    /// Its wire strings are not in the cache.
    Contents,
}

/// What came of a message with items from its file.
enum Rendered {
    Done,
    /// Wire strings are needed first.
    NeedsContents,
    /// The disk would have to be waited for.
    NeedsDisk,
}

/// See the module.
pub struct Fetch {
    view: Arc<View>,
    contents: Arc<ContentCache>,
    uids: Arc<UidList>,
    /// Positions left, `to` excluded.
    ranges: VecDeque<(usize, usize)>,
    unseen: Vec<u32>,
    missing: Vec<u32>,
    undecodable: Vec<u32>,
    pieces: VecDeque<Piece>,
    files: Files,
    renderer: Renderer,
}

/// Makes one response.
struct Renderer {
    items: Arc<FetchItems>,
    with_uid: bool,
    /// `UIDFETCH` with a UID for `FETCH` with a number (RFC 9586 §3.3).
    uidonly: bool,
    condstore: bool,
    /// Whether each response has MODSEQ although nobody asked for it.
    with_modseq: bool,
    recent: Vec<(u32, u32)>,
    unseen: Vec<u32>,
    /// Flag changes up to here were told before.
    told_before: i64,
    /// Later ones that these responses tell.
    told: Vec<(u32, i64)>,
    hint: usize,
    /// Up to which position the caches' lacks were asked for.
    asked: usize,
}

/// Keep those of the positions that PARTIAL names.
fn cut(ranges: Vec<(usize, usize)>, partial: Partial) -> Vec<(usize, usize)> {
    let count = ranges.iter().map(|(from, to)| to - from).sum();
    let wanted = partial.places(count);
    let mut before = 0;
    ranges
        .into_iter()
        .filter_map(|(from, to)| {
            let first = from + wanted.start.saturating_sub(before);
            let last = to.min(from + wanted.end.saturating_sub(before));
            before += to - from;
            (first < last).then_some((first, last))
        })
        .collect()
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

impl Fetch {
    /// Begin.
    ///
    /// # Errors
    /// `RangeError` for sequence numbers beyond EXISTS.
    pub fn new(
        view: Arc<View>,
        set: &SequenceSet,
        items: Arc<FetchItems>,
        with_uid: bool,
        contents: Arc<ContentCache>,
    ) -> Result<Self, RangeError> {
        let known = view.known();
        let mut ranges = known.positions(set, with_uid)?;
        if let Some(partial) = items.partial {
            ranges = cut(ranges, partial);
        }
        let mut unseen = Vec::new();
        if items.sets_seen && view.settable() & flags::SEEN != 0 {
            let table = view.index().read();
            let mut hint = 0;
            for &(from, to) in &ranges {
                unseen.extend(known.uids.iter_from(from).take(to - from).filter(|uid| {
                    table.find_near(*uid, &mut hint).is_some_and(|row| {
                        row.flags & flags::SEEN == 0
                            && items.changed_since.is_none_or(|since| row.modseq > since)
                    }) && table.uids.contains(*uid)
                }));
            }
        }
        let fetch = Self {
            contents,
            uids: Arc::clone(&known.uids),
            ranges: ranges.into(),
            missing: Vec::new(),
            undecodable: Vec::new(),
            pieces: VecDeque::new(),
            files: Files::default(),
            view: Arc::clone(&view),
            renderer: Renderer {
                items,
                with_uid: with_uid && !known.uidonly,
                uidonly: known.uidonly,
                condstore: known.condstore,
                // RFC 7162 §3.2.4: UID FETCH of who enabled QRESYNC.
                with_modseq: known.qresync && with_uid,
                recent: known.recent.clone(),
                unseen: unseen.clone(),
                told_before: known.told(),
                told: Vec::new(),
                hint: 0,
                asked: 0,
            },
            unseen,
        };
        drop(known);
        Ok(fetch)
    }

    /// UIDs on which `\Seen` is to be set.
    #[must_use]
    pub fn unseen(&self) -> &[u32] {
        &self.unseen
    }

    /// UIDs passed over, as they or their files are gone.
    #[must_use]
    pub fn missing(&self) -> &[u32] {
        &self.missing
    }

    /// UIDs passed over, as a part wanted decoded has a transfer encoding that is not known (RFC 3516 §4.2).
    #[must_use]
    pub fn undecodable(&self) -> &[u32] {
        &self.undecodable
    }

    /// The next octets or needs, `None` at the end.
    ///
    /// # Errors
    /// Those of the file system, other than that a file is gone. After one, the stream cannot be continued.
    pub fn step(&mut self, max_octets: usize) -> std::io::Result<Option<Step>> {
        let max = max_octets.clamp(1_024, 16 << 20);
        let mut out = Vec::with_capacity(max + 2_048);
        loop {
            self.write_pieces(&mut out, max)?;
            if out.len() >= max || self.ranges.is_empty() {
                break;
            }
            let needs = if self.renderer.items.reads_files() {
                matches!(self.render_file(true)?, Rendered::NeedsContents)
            } else {
                self.render_rows(&mut out, max)?
            };
            if needs {
                if !out.is_empty() {
                    break;
                }
                return Ok(Some(Step::Contents(self.ask())));
            }
        }
        self.note_end();
        Ok((!out.is_empty()).then_some(Step::Octets(out)))
    }

    /// The octets of the first few messages, as far as their files are small and in the page cache: then this never
    /// waits for a disk. None, when that cannot be said of the first.
    ///
    /// # Errors
    /// As for `step`.
    pub fn step_cached(&mut self) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        if !self.renderer.items.reads_files() || !self.pieces.is_empty() {
            return Ok(out);
        }
        let most = to_usize(CACHED_OCTETS);
        for _ in 0..CACHED_MESSAGES {
            if out.len() >= most
                || self.ranges.is_empty()
                || !matches!(self.render_file(false)?, Rendered::Done)
            {
                break;
            }
            // A part whose place was remembered, beside a header, is not among the octets read.
            if self
                .pieces
                .iter()
                .any(|piece| matches!(piece, Piece::File(..)))
            {
                break;
            }
            // Who asks for the same octets many times gets the rest from `step`.
            self.write_pieces(&mut out, 2 * most)?;
        }
        self.note_end();
        Ok(out)
    }

    fn note_end(&mut self) {
        if self.ended() {
            self.view.told(self.renderer.told.drain(..));
        }
    }

    /// Whether the next step would return `None`.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ranges.is_empty() && self.pieces.is_empty()
    }

    fn write_pieces(&mut self, out: &mut Vec<u8>, max: usize) -> std::io::Result<()> {
        while out.len() < max
            && let Some(piece) = self.pieces.pop_front()
        {
            if let Some(rest) = piece.write(out, max - out.len())? {
                self.pieces.push_front(rest);
            }
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        if let Some(range) = self.ranges.front_mut() {
            range.0 += count;
            if range.0 >= range.1 {
                self.ranges.pop_front();
            }
        }
    }

    /// Content ids that the cache lacks, of the messages next.
    fn ask(&mut self) -> Vec<i64> {
        let table = self.view.index().read();
        let items = &self.renderer.items;
        let arena = items.needs_contents().then(|| self.contents.lock());
        let indexed = items.needs_indexed().then(|| self.contents.indexed());
        let account = self.view.index().account;
        let lacks = |content: i64| {
            let key = (account, content);
            arena.as_ref().is_some_and(|arena| !arena.contains(key))
                || indexed.as_ref().is_some_and(|arena| !arena.contains(key))
        };
        let mut ids = Vec::new();
        let mut left = AHEAD;
        let mut hint = self.renderer.hint;
        for &(from, to) in &self.ranges {
            let to = to.min(from + left);
            for uid in self.uids.iter_from(from).take(to - from) {
                if let Some(row) = table.find_near(uid, &mut hint)
                    && lacks(row.content)
                {
                    ids.push(row.content);
                }
            }
            self.renderer.asked = to;
            left -= to - from;
            if left == 0 {
                break;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Render messages from memory until `out` is full. `true` when wire strings are needed.
    fn render_rows(&mut self, out: &mut Vec<u8>, max: usize) -> std::io::Result<bool> {
        let view = Arc::clone(&self.view);
        let contents = Arc::clone(&self.contents);
        let uids = Arc::clone(&self.uids);
        let items = Arc::clone(&self.renderer.items);
        while let Some((from, to)) = self.ranges.front().copied() {
            let mut position = from;
            let mut lacking = None;
            {
                let table = view.index().read();
                let mut arena = items.needs_contents().then(|| contents.lock());
                let mut indexed = items.needs_indexed().then(|| contents.indexed());
                for uid in uids.iter_from(from).take(to - from) {
                    if out.len() >= max {
                        break;
                    }
                    let made = Made {
                        strings: Strings::Cached(arena.as_deref_mut()),
                        indexed: indexed.as_deref_mut(),
                    };
                    match self.renderer.render(
                        out,
                        &table,
                        position,
                        uid,
                        made,
                        Sections::default(),
                    ) {
                        Ok(()) => {}
                        Err(Skip::Missing) => self.missing.push(uid),
                        Err(Skip::Contents) => {
                            lacking = Some((uid, table.find(uid).copied()));
                            break;
                        }
                    }
                    position += 1;
                }
            }
            self.advance(position - from);
            match lacking {
                Some(_) if position >= self.renderer.asked => return Ok(true),
                // The database has them not, or the cache is too small: made anew.
                Some((uid, row)) => {
                    self.describe(out, position, uid, row)?;
                    self.advance(1);
                }
                None if out.len() >= max => break,
                None => {}
            }
        }
        Ok(false)
    }

    fn describe(
        &mut self,
        out: &mut Vec<u8>,
        position: usize,
        uid: u32,
        row: Option<Row>,
    ) -> std::io::Result<()> {
        let view = Arc::clone(&self.view);
        let file = match row {
            Some(row) => self.files.open(view.index(), &row)?,
            None => None,
        };
        let Some(mut file) = file else {
            self.missing.push(uid);
            return Ok(());
        };
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        let description = esp_mime::describe(&data);
        let contents = Arc::clone(&self.contents);
        let table = view.index().read();
        let mut indexed = contents.indexed();
        let made = Made {
            strings: Strings::Now(&description),
            indexed: Some(&mut indexed),
        };
        let rendered = self
            .renderer
            .render(out, &table, position, uid, made, Sections::default());
        if rendered.is_err() {
            self.missing.push(uid);
        }
        Ok(())
    }

    /// Render one message with items from its file.
    fn render_file(&mut self, may_wait: bool) -> std::io::Result<Rendered> {
        let Some((position, _)) = self.ranges.front().copied() else {
            return Ok(Rendered::Done);
        };
        let view = Arc::clone(&self.view);
        let index = view.index();
        let items = Arc::clone(&self.renderer.items);
        let uid = self.uids.get(position).unwrap_or(0);
        let row = index.read().find(uid).copied();
        if let Some(row) = row
            && items.changed_since.is_some_and(|since| row.modseq <= since)
        {
            self.advance(1);
            return Ok(Rendered::Done);
        }
        let key = row.map(|row| (index.account, row.content));
        let lacks =
            key.is_some_and(|key| items.needs_contents() && !self.contents.lock().contains(key));
        let unindexed =
            key.is_some_and(|key| items.needs_indexed() && !self.contents.indexed().contains(key));
        if (lacks || unindexed) && position >= self.renderer.asked {
            return Ok(Rendered::NeedsContents);
        }
        let mut source = if may_wait {
            self.advance(1);
            let file = match row {
                Some(row) => self.files.open(index, &row)?,
                None => None,
            };
            let Some(file) = file else {
                self.missing.push(uid);
                return Ok(Rendered::Done);
            };
            Source::new(file)?
        } else {
            let cached = row
                .and_then(|row| Files::open_cached(index, &row))
                .and_then(|file| Source::cached(file, CACHED_OCTETS));
            let Some(source) = cached else {
                return Ok(Rendered::NeedsDisk);
            };
            self.advance(1);
            source
        };
        let wanted = items.items.iter().filter_map(|item| match item {
            FetchItem::Section(section) => Some(section),
            _ => None,
        });
        let values = source.values(&wanted.collect::<Vec<_>>(), &index.parts, uid)?;
        if values
            .iter()
            .any(|value| matches!(value, Value::UnknownEncoding))
        {
            self.undecodable.push(uid);
            return Ok(Rendered::Done);
        }
        let described = if lacks {
            source.read_whole()?;
            Some(esp_mime::describe(&source.data))
        } else {
            None
        };
        let mut out = Vec::new();
        let mut pieces = VecDeque::new();
        let sections = Sections {
            values: values.into(),
            pieces: Some(&mut pieces),
        };
        let contents = Arc::clone(&self.contents);
        // The table before the cache, as everywhere: a writer that waits between two readers must not stop both.
        let table = index.read();
        let mut arena = contents.lock();
        let mut indexed = contents.indexed();
        let made = Made {
            strings: match &described {
                Some(description) => Strings::Now(description),
                None => Strings::Cached(Some(&mut arena)),
            },
            indexed: Some(&mut indexed),
        };
        if self
            .renderer
            .render(&mut out, &table, position, uid, made, sections)
            .is_err()
        {
            // Gone, or forgotten by the cache, between two looks; the client asks again.
            self.missing.push(uid);
            return Ok(Rendered::Done);
        }
        self.pieces.extend(pieces);
        self.pieces.push_back(Piece::Octets(out));
        Ok(Rendered::Done)
    }
}

/// Where wire strings come from.
enum Strings<'a> {
    Cached(Option<&'a mut Arena<3>>),
    Now(&'a esp_mime::Description),
}

/// What is known of a message's octets without reading them.
struct Made<'a> {
    strings: Strings<'a>,
    indexed: Option<&'a mut Arena<2>>,
}

/// What indexing made of a message.
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

/// What the message's octets gave, in the order of the items.
#[derive(Default)]
struct Sections<'a> {
    values: VecDeque<Value>,
    pieces: Option<&'a mut VecDeque<Piece>>,
}

impl Renderer {
    /// Append one response; what is too large for it goes to the pieces. Nothing is left of one that is skipped.
    fn render(
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
                    out.extend_from_slice(strings[1]);
                }
                FetchItem::Body => {
                    name(out, b"BODY ");
                    out.extend_from_slice(strings[2]);
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
        // RFC 3501 §6.4.5: the response says that the flag is set now.
        let set_now = row.flags & flags::SEEN != 0 && self.unseen.binary_search(&uid).is_ok();
        if set_now {
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
        self.recent
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&uid))
    }
}

impl Sections<'_> {
    fn write_next(&mut self, out: &mut Vec<u8>, form: Form) {
        match self.values.pop_front() {
            None | Some(Value::Nil) if form == Form::DecodedSize => out.push(b'0'),
            None | Some(Value::Nil | Value::UnknownEncoding) => out.extend_from_slice(b"NIL"),
            Some(Value::Size(size)) => write_number(out, size),
            Some(Value::Octets(piece)) => {
                // RFC 3516 §4.2: a literal8 where a literal could not hold the octets.
                if form == Form::Decoded && piece.has_nul() {
                    out.push(b'~');
                }
                out.push(b'{');
                write_number(out, piece.len());
                out.extend_from_slice(b"}\r\n");
                match (piece, &mut self.pieces) {
                    (piece, _)
                        if piece
                            .in_memory()
                            .is_some_and(|octets| octets.len() <= 65_536) =>
                    {
                        out.extend_from_slice(piece.in_memory().unwrap_or_default());
                    }
                    (piece, Some(pieces)) => {
                        pieces.push_back(Piece::Octets(std::mem::take(out)));
                        pieces.push_back(piece);
                    }
                    (_, None) => {}
                }
            }
        }
    }
}
