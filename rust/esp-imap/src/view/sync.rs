//! What the session is told, and when: the state at SELECT, then the changes.
//!
//! In: what may be told at this moment (RFC 3501 §7.4.1, RFC 5465 §3.1). Out: EXISTS, EXPUNGE or VANISHED, and FETCH,
//! in the order that makes them right (RFC 3501 §5.2, RFC 7162 §3.2, RFC 9586).

use super::known::{Known, Told};
use super::{View, take_recent};
use crate::flags;
use crate::index::Table;
use crate::resync::write_vanished;
use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

/// What `View::sync` has to leave out or to add.
#[derive(Debug, Clone, Default)]
pub struct Sync {
    /// Whether expunges may be told.
    pub expunges: bool,
    /// Messages that came and went are kept for a later call (RFC 5465 §3.1).
    pub hold_messages: bool,
    /// Flag changes are kept for a later call, except for those of `announce` and `silent`.
    pub hold_flags: bool,
    /// Whether FETCH responses have UID.
    pub uid: bool,
    /// UIDs whose flags are told in any case.
    pub announce: Vec<u32>,
    /// UIDs changed by `.SILENT`.
    pub silent: Vec<u32>,
    /// The last mod-sequence of that change: all those after `silent_after` up to it belong to it.
    pub silent_modseq: i64,
    /// The mailbox's mod-sequence just before it.
    pub silent_after: i64,
}

impl View {
    /// Whether `sync` has something to look at.
    #[must_use]
    pub fn pending(&self) -> bool {
        let known = self.known();
        let table = self.index.read();
        known.version != table.version
            || known.messages_version != table.version
            || known.told < table.modseq
    }

    /// The untagged responses of SELECT.
    #[must_use]
    pub fn opening(&self) -> Vec<u8> {
        let known = self.known();
        let table = self.index.read();
        let mut out = Vec::with_capacity(512);
        write_flag_responses(&mut out, &table, self.settable());
        known.write_exists(&mut out);
        // RFC 9051 appendix E: UNSEEN is deprecated, like RECENT. Besides, it is a sequence number (RFC 9586 §3).
        if !known.imap4rev2 && !known.uidonly {
            let mut hint = 0;
            let unseen = known.uids.iter().position(|uid| {
                table
                    .find_near(uid, &mut hint)
                    .is_some_and(|row| row.flags & flags::SEEN == 0)
            });
            if let Some(position) = unseen {
                let _ = write!(out, "* OK [UNSEEN {}] First unseen\r\n", position + 1);
            }
        }
        let _ = write!(
            out,
            "* OK [UIDVALIDITY {}] UIDs valid\r\n* OK [UIDNEXT {}] Predicted next UID\r\n* OK [HIGHESTMODSEQ {}] Highest\r\n",
            self.index.uidvalidity, table.uidnext, known.complete
        );
        out
    }

    /// Bring the view to the index's state; returns the responses that tell the session.
    #[must_use]
    pub fn sync(&self, sync: &Sync) -> Vec<u8> {
        let mut guard = self.known();
        let known = &mut *guard;
        let mut out = Vec::new();
        {
            let table = self.index.read();
            let no_messages = sync.hold_messages
                || (known.version == table.version
                    && (known.messages_version == table.version || !sync.expunges));
            let no_flags = sync.hold_flags || known.told >= table.modseq;
            if no_messages && no_flags && sync.announce.is_empty() && sync.silent.is_empty() {
                return out;
            }
        }
        let mut table = self.index.write();
        let last = known.uids.last().unwrap_or(0);
        let news = known.version != table.version || known.messages_version != table.version;
        if news && !sync.hold_messages {
            self.sync_messages(known, &mut table, sync.expunges, &mut out);
            known.version = table.version;
        }
        // RFC 7162 §3.2: a client that was told a mod-sequence believes that it knows everything below. While an
        // expunge is held back, nothing newer is told except what was asked for: a client that resumes there would
        // never learn of the expunge. With CONDSTORE alone as well, since the client may use QRESYNC in its next
        // session.
        let behind = known.messages_version != table.version;
        let hold = sync.hold_flags || (known.condstore && behind);
        self.sync_flags(known, &table, sync, last, hold, &mut out);
        if !hold {
            known.told = known.told.max(table.modseq);
            if !behind {
                known.complete = known.told;
            }
            let told = known.told;
            known.ahead.retain(|_, modseq| *modseq > told);
        }
        out
    }

    fn sync_messages(
        &self,
        known: &mut Known,
        table: &mut Table,
        expunges: bool,
        out: &mut Vec<u8>,
    ) {
        let last = known.uids.last().unwrap_or(0);
        let gone = known.uids.missing_in(&table.uids);
        if expunges && !gone.is_empty() {
            if known.qresync || known.uidonly {
                write_vanished(out, "", &crate::set::ranges_of(gone.iter().copied()));
            } else {
                // From the end, so that each number is right when it is told.
                for uid in gone.iter().rev() {
                    if let Ok(position) = known.uids.position(*uid) {
                        let _ = write!(out, "* {} EXPUNGE\r\n", position + 1);
                    }
                }
            }
        }
        if known.keywords != table.keywords.len() {
            known.keywords = table.keywords.len();
            write_flag_responses(out, table, self.settable());
        }
        let from = table
            .uids
            .position(last)
            .map_or_else(|position| position, |position| position + 1);
        let added: Vec<u32> = table.uids.iter_from(from).collect();
        if expunges || gone.is_empty() {
            known.uids = Arc::clone(&table.uids);
            table.move_view(Some(known.messages_version), Some(table.version));
            known.messages_version = table.version;
        } else if !added.is_empty() {
            known.uids = Arc::new(known.uids.append(&added));
        }
        if let (Some(first), Some(last)) = (added.first(), added.last()) {
            if known.takes_recent {
                known.recent.extend(take_recent(table, *last));
            } else if !known.imap4rev2 && (1..=*last).contains(&table.unclaimed) {
                known.recent.push((table.unclaimed.max(*first), *last));
            }
            crate::set::normalise(&mut known.recent);
            known.write_exists(out);
        } else if expunges && gone.iter().any(|uid| known.is_recent(*uid)) {
            // EXPUNGE lowers EXISTS by itself, but not RECENT (RFC 3501 §7.3.2, §7.4.1).
            known.write_recent(out);
        }
    }

    fn sync_flags(
        &self,
        known: &mut Known,
        table: &Table,
        sync: &Sync,
        last: u32,
        hold: bool,
        out: &mut Vec<u8>,
    ) {
        let changed = if hold {
            Vec::new()
        } else {
            table.changed_since(known.told)
        };
        let mut tell: Vec<u32> = changed
            .into_iter()
            .filter_map(|position| {
                let uid = table.uids.get(position)?;
                let row = table.row(position)?;
                // New messages are told by EXISTS; clients ask for their flags.
                (uid <= last && known.ahead.get(&uid).is_none_or(|told| *told < row.modseq))
                    .then_some(uid)
            })
            .collect();
        let silent: HashSet<u32> = sync.silent.iter().copied().collect();
        tell.extend_from_slice(&sync.announce);
        tell.extend_from_slice(&sync.silent);
        tell.sort_unstable();
        tell.dedup();
        // The client does not know what others changed before the silent change, so it cannot know the result (RFC 3501
        // §6.4.6: told regardless of .SILENT), unless it has said that it does not want to (RFC 5465 §5).
        let reckoned = sync.hold_flags || known.told >= sync.silent_after;
        let mut hint = 0;
        for uid in tell {
            let Some(row) = table.find_near(uid, &mut hint) else {
                continue;
            };
            let own =
                reckoned && sync.silent_after < row.modseq && row.modseq <= sync.silent_modseq;
            let hushed = silent.contains(&uid) && (own || row.modseq <= known.told);
            if hushed && !known.condstore {
                continue;
            }
            let told = Told {
                uid: sync.uid,
                flags: !hushed,
            };
            known.write_flags(out, table, uid, row, told);
            if hold {
                known.ahead.insert(uid, row.modseq);
            }
        }
    }
}

pub(super) fn write_flag_responses(out: &mut Vec<u8>, table: &Table, settable: i64) {
    let all = (1 << (flags::FIRST_KEYWORD_BIT + table.keywords.len()).min(63)) - 1;
    let mut list = Vec::new();
    flags::write(&mut list, all, false, &table.keywords);
    out.extend_from_slice(b"* FLAGS ");
    out.extend_from_slice(&list);
    // RFC 4314 §5.1.1: PERMANENTFLAGS reflects the rights of the session's user.
    list.clear();
    flags::write(&mut list, all & settable, false, &table.keywords);
    // RFC 3501 §7.1: `\*` promises that new keywords can be created.
    let next = table.keywords.len() + flags::FIRST_KEYWORD_BIT;
    if next < 63 && settable >> next & 1 == 1 {
        list.pop();
        list.extend_from_slice(if list.len() > 1 { b" \\*)" } else { b"\\*)" });
    }
    out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
    out.extend_from_slice(&list);
    out.extend_from_slice(b"] Flags that are kept\r\n");
}
