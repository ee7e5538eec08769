//! What a session was told: its messages in their order, and up to where it knows their flags.
//!
//! In: sets as a client names messages. Out: positions in the session's own numbering (RFC 3501 §2.3.1.2), and
//! responses that use it.

use super::RangeError;
use crate::flags;
use crate::index::{Row, Table};
use crate::set::{self, SequenceSet};
use crate::uids::UidList;
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Known {
    /// Messages the session knows, in their order.
    pub(crate) uids: Arc<UidList>,
    /// The index's version with exactly these messages; older while an expunge is held back.
    pub(super) messages_version: u64,
    /// The version of the index looked at last.
    pub(super) version: u64,
    /// Flag changes up to this mod-sequence were told.
    pub(super) told: i64,
    /// Everything was told up to here; with CONDSTORE no less than `told`, without it less while an expunge is held
    /// back.
    pub(super) complete: i64,
    /// Changes told ahead of `told`: UID and mod-sequence.
    pub(super) ahead: HashMap<u32, i64>,
    pub(super) keywords: usize,
    /// UIDs with `\Recent`: rising, disjoint ranges.
    pub(crate) recent: Vec<(u32, u32)>,
    /// Whether it takes `\Recent` away from other sessions.
    pub(super) takes_recent: bool,
    pub(crate) saved: Vec<(u32, u32)>,
    pub(crate) condstore: bool,
    pub(crate) qresync: bool,
    /// Whether the session must not see sequence numbers (RFC 9586).
    pub(crate) uidonly: bool,
    /// Whether the session speaks IMAP4rev2: nothing is recent, and every FETCH has UID.
    pub(crate) imap4rev2: bool,
}

impl Known {
    pub(crate) fn is_recent(&self, uid: u32) -> bool {
        set::contains(&self.recent, uid)
    }

    /// Flag changes up to this mod-sequence were told.
    pub(crate) fn told(&self) -> i64 {
        self.told
    }

    pub(super) fn recent_count(&self) -> usize {
        self.recent
            .iter()
            .map(|(first, last)| self.uids.count(*first, *last))
            .sum()
    }

    /// Ranges of positions `(from, to)`, rising, `to` excluded, for a command about these messages.
    ///
    /// # Errors
    /// `RangeError` for sequence numbers beyond EXISTS.
    pub(crate) fn positions(
        &self,
        set: &SequenceSet,
        uid: bool,
    ) -> Result<Vec<(usize, usize)>, RangeError> {
        let exists = u32::try_from(self.uids.len()).unwrap_or(u32::MAX);
        // RFC 9051 §9, seq-number: in an empty mailbox `*`, and so `1:*`, is beyond EXISTS as well.
        let beyond = |&(first, last): &(u32, u32)| {
            let star = |number: u32| if number == 0 { exists } else { number };
            exists == 0 || star(first).max(star(last)) > exists
        };
        if !uid && !set.saved() && set.ranges().iter().any(beyond) {
            return Err(RangeError);
        }
        Ok(self.present(set, uid))
    }

    /// The same for those messages of a set that exist.
    pub(crate) fn present(&self, set: &SequenceSet, uid: bool) -> Vec<(usize, usize)> {
        let by_uid = |(first, last): &(u32, u32)| {
            let from = self
                .uids
                .position(*first)
                .unwrap_or_else(|position| position);
            let to = self
                .uids
                .position(*last)
                .map_or_else(|position| position, |position| position + 1);
            (from, to)
        };
        let count = self.uids.len();
        let by_number = |(first, last): &(u32, u32)| {
            (
                (*first as usize).saturating_sub(1),
                (*last as usize).min(count),
            )
        };
        let mut ranges: Vec<(usize, usize)> = if set.saved() {
            self.saved.iter().map(by_uid).collect()
        } else if uid {
            let largest = self.uids.last().unwrap_or(0);
            set.resolve(largest).iter().map(by_uid).collect()
        } else {
            let exists = u32::try_from(count).unwrap_or(u32::MAX);
            set.resolve(exists).iter().map(by_number).collect()
        };
        ranges.retain(|(from, to)| from < to);
        ranges
    }

    /// Append `* n EXISTS`, and RECENT for sessions that use it.
    pub(super) fn write_exists(&self, out: &mut Vec<u8>) {
        let _ = write!(out, "* {} EXISTS\r\n", self.uids.len());
        if !self.imap4rev2 {
            self.write_recent(out);
        }
    }

    /// Append `* n RECENT`.
    pub(super) fn write_recent(&self, out: &mut Vec<u8>) {
        let _ = write!(out, "* {} RECENT\r\n", self.recent_count());
    }

    /// Append `* n FETCH (FLAGS …)`.
    pub(super) fn write_flags(
        &self,
        out: &mut Vec<u8>,
        table: &Table,
        uid: u32,
        row: &Row,
        with: Told,
    ) {
        let Ok(position) = self.uids.position(uid) else {
            return;
        };
        if self.uidonly {
            let _ = write!(out, "* {uid} UIDFETCH (");
        } else {
            let _ = write!(out, "* {} FETCH (", position + 1);
            // RFC 7162 §3.2.4: once CONDSTORE is enabled, UID and MODSEQ come together.
            if with.uid || self.imap4rev2 || self.condstore {
                let _ = write!(out, "UID {uid} ");
            }
        }
        if with.flags {
            out.extend_from_slice(b"FLAGS ");
            flags::write(out, row.flags, self.is_recent(uid), &table.keywords);
            if self.condstore {
                out.push(b' ');
            }
        }
        if self.condstore {
            let _ = write!(out, "MODSEQ ({})", row.modseq);
        }
        out.extend_from_slice(b")\r\n");
    }
}

/// What `write_flags` writes beside the number.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) uid: bool,
    pub(super) flags: bool,
}
