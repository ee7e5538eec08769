//! What one session knows of its mailbox: its view over an index that all sessions share.
//!
//! In: the index, and what the client has enabled. Out: the messages that the session means, and the responses that
//! bring it up to date (`sync`). The session has not yet been told of anything else in the index (`known`).

mod known;
mod store;
mod sync;

pub(crate) use known::Known;
pub use store::StorePlan;
pub use sync::Sync;

use crate::flags;
use crate::index::{MailboxIndex, Table};
use crate::set::SequenceSet;
use crate::uids::UidList;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use sync::write_flag_responses;

/// A sequence number beyond EXISTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeError;

impl std::fmt::Display for RangeError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("There is no message with this sequence number")
    }
}

impl std::error::Error for RangeError {}

/// The view; see the module.
#[derive(Debug)]
pub struct View {
    index: Arc<MailboxIndex>,
    /// Whether it was opened by EXAMINE.
    pub read_only: bool,
    /// Bits of flags that the session may change (RFC 4314 §4).
    settable: AtomicI64,
    known: Mutex<Known>,
}

/// Take `\Recent` of messages up to `last`, for the first view that asks.
fn take_recent(table: &mut Table, last: u32) -> Vec<(u32, u32)> {
    let mut taken = Vec::new();
    table.recent.retain_mut(|(first, end)| {
        if *first <= last {
            taken.push((*first, last.min(*end)));
            *first = last.saturating_add(1);
        }
        *first <= *end
    });
    taken
}

impl View {
    /// A view that knows everything in the index, and may change all flags.
    ///
    /// Unless it is read-only it takes `\Recent` from [`MailboxIndex::grant_recent`]; a read-only view takes nothing
    /// from others, and shows it on UIDs from `recent_from` on.
    #[must_use]
    pub fn new(index: Arc<MailboxIndex>, read_only: bool, recent_from: u32) -> Self {
        let known = {
            let mut table = index.write();
            let version = table.version;
            table.move_view(None, Some(version));
            let last = table.uids.last().unwrap_or(0);
            let recent = if read_only {
                Vec::from_iter((recent_from <= last).then_some((recent_from, last)))
            } else {
                table.takers += 1;
                take_recent(&mut table, last)
            };
            Known {
                uids: Arc::clone(&table.uids),
                messages_version: version,
                version,
                told: table.modseq,
                complete: table.modseq,
                ahead: HashMap::new(),
                keywords: table.keywords.len(),
                recent,
                takes_recent: !read_only,
                saved: Vec::new(),
                condstore: false,
                qresync: false,
                uidonly: false,
                imap4rev2: false,
            }
        };
        Self {
            index,
            read_only,
            settable: AtomicI64::new(-1),
            known: Mutex::new(known),
        }
    }

    /// The bits of flags that may be changed here; none after EXAMINE.
    #[must_use]
    pub fn settable(&self) -> i64 {
        if self.read_only {
            0
        } else {
            self.settable.load(Ordering::Relaxed)
        }
    }

    /// Allow other bits, and return the responses that say so; empty if nothing changed.
    #[must_use]
    pub fn permit(&self, settable: i64) -> Vec<u8> {
        let mut out = Vec::new();
        let before = self.settable();
        self.settable.store(settable, Ordering::Relaxed);
        if self.settable() != before {
            write_flag_responses(&mut out, &self.index.read(), self.settable());
        }
        out
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index behind it.
    #[must_use]
    pub fn index(&self) -> &Arc<MailboxIndex> {
        &self.index
    }

    /// From now on, FETCH responses with flags have MODSEQ, and those about changes UID as well.
    pub fn enable_condstore(&self) {
        let mut known = self.known();
        known.condstore = true;
        known.told = known.complete;
    }

    /// From now on, use VANISHED instead of EXPUNGE.
    pub fn enable_qresync(&self) {
        self.enable_condstore();
        self.known().qresync = true;
    }

    /// From now on nothing is `\Recent`, and unsolicited FETCH responses have UID (RFC 9051 §7.5.2, appendix E).
    pub fn enable_imap4rev2(&self) {
        let mut known = self.known();
        known.imap4rev2 = true;
        known.recent.clear();
        self.leave_recent(&mut known);
    }

    /// Take no more `\Recent`.
    fn leave_recent(&self, known: &mut Known) {
        if std::mem::take(&mut known.takes_recent) {
            self.index.write().takers -= 1;
        }
    }

    /// The last UID the session knows, or 0.
    #[must_use]
    pub fn last_uid(&self) -> u32 {
        self.known().uids.last().unwrap_or(0)
    }

    /// From now on, use UIDFETCH and VANISHED instead of FETCH and EXPUNGE.
    pub fn enable_uidonly(&self) {
        self.known().uidonly = true;
    }

    /// How many messages the session knows.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.known().uids.len()
    }

    /// How many of them are recent.
    #[must_use]
    pub fn recent(&self) -> usize {
        self.known().recent_count()
    }

    /// The mod-sequence up to which the session was told everything.
    #[must_use]
    pub fn told_modseq(&self) -> i64 {
        self.known().told
    }

    /// The messages that the session knows, and those of them that are expunged already.
    pub(crate) fn expunged(&self) -> (Arc<UidList>, Vec<u32>) {
        let known = Arc::clone(&self.known().uids);
        let table = self.index.read();
        let gone = if Arc::ptr_eq(&known, &table.uids) {
            Vec::new()
        } else {
            known.missing_in(&table.uids)
        };
        (known, gone)
    }

    /// Keep UIDs as `$`.
    pub fn save(&self, uids: &[u32]) {
        let mut ranges: Vec<(u32, u32)> = uids.iter().map(|uid| (*uid, *uid)).collect();
        ranges.sort_unstable();
        crate::set::normalise(&mut ranges);
        self.known().saved = ranges;
    }

    /// The UIDs of existing messages that a set names.
    ///
    /// # Errors
    /// `RangeError` for sequence numbers beyond EXISTS.
    pub fn uids(&self, set: &SequenceSet, uid: bool) -> Result<Vec<u32>, RangeError> {
        let known = self.known();
        let positions = known.positions(set, uid)?;
        let table = self.index.read();
        let same = Arc::ptr_eq(&known.uids, &table.uids);
        Ok(positions
            .into_iter()
            .flat_map(|(from, to)| known.uids.iter_from(from).take(to - from))
            .filter(|uid| same || table.uids.contains(*uid))
            .collect())
    }

    /// Whether a set names a message that is expunged.
    #[must_use]
    pub fn has_vanished(&self, set: &SequenceSet, uid: bool) -> bool {
        let known = self.known();
        let table = self.index.read();
        if Arc::ptr_eq(&known.uids, &table.uids) {
            return false;
        }
        known.positions(set, uid).is_ok_and(|positions| {
            positions
                .into_iter()
                .flat_map(|(from, to)| known.uids.iter_from(from).take(to - from))
                .any(|uid| !table.uids.contains(uid))
        })
    }

    /// UIDs with `\Deleted`, of all messages or of a set of UIDs.
    #[must_use]
    pub fn deleted(&self, set: Option<&SequenceSet>) -> Vec<u32> {
        let known = self.known();
        let positions = match set {
            Some(set) => known.positions(set, true).unwrap_or_default(),
            None => vec![(0, known.uids.len())],
        };
        let table = self.index.read();
        let mut hint = 0;
        positions
            .into_iter()
            .flat_map(|(from, to)| known.uids.iter_from(from).take(to - from))
            .filter(|uid| {
                table
                    .find_near(*uid, &mut hint)
                    .is_some_and(|row| row.flags & flags::DELETED != 0)
            })
            .filter(|uid| table.uids.contains(*uid))
            .collect()
    }

    /// Note that the current flags of these messages were told.
    pub(crate) fn told(&self, told: impl Iterator<Item = (u32, i64)>) {
        let mut known = self.known();
        let from = known.told;
        known
            .ahead
            .extend(told.filter(|(_, modseq)| *modseq > from));
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut known = self.known();
        self.leave_recent(&mut known);
        let version = known.messages_version;
        drop(known);
        self.index.write().move_view(Some(version), None);
    }
}
