//! What one session knows of its mailbox.

use crate::StoreMode;
use crate::flags;
use crate::index::{MailboxIndex, Row, Table};
use crate::resync::write_vanished;
use crate::set::SequenceSet;
use crate::uids::UidList;
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A sequence number beyond EXISTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeError;

impl std::fmt::Display for RangeError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("There is no message with this sequence number")
    }
}

impl std::error::Error for RangeError {}

#[derive(Debug)]
pub(crate) struct Known {
    /// Messages the session knows, in their order.
    pub(crate) uids: Arc<UidList>,
    /// The index's version with just these messages; older while an expunge is held back.
    messages_version: u64,
    /// The index's version last looked at.
    version: u64,
    /// Flag changes up to here were told.
    told: i64,
    /// Told ahead of `told`: UID and mod-sequence.
    ahead: HashMap<u32, i64>,
    keywords: usize,
    /// UIDs with `\Recent`, ranges.
    pub(crate) recent: Vec<(u32, u32)>,
    recent_taken: u32,
    pub(crate) saved: Vec<(u32, u32)>,
    pub(crate) condstore: bool,
    pub(crate) qresync: bool,
    /// Whether the session must not see sequence numbers (RFC 9586).
    pub(crate) uidonly: bool,
    /// Whether the session speaks IMAP4rev2: nothing is recent, and every FETCH has UID.
    imap4rev2: bool,
}

/// See the module.
#[derive(Debug)]
pub struct View {
    index: Arc<MailboxIndex>,
    /// Whether it was opened by EXAMINE.
    pub read_only: bool,
    /// Bits of flags that the session may change (RFC 4314 §4).
    settable: AtomicI64,
    known: Mutex<Known>,
}

/// What `View::sync` is to leave out and to add.
#[derive(Debug, Clone, Default)]
pub struct Sync {
    /// Whether expunges may be told.
    pub expunges: bool,
    /// Messages that came and went are kept for a later call (RFC 5465 §3.1).
    pub hold_messages: bool,
    /// Flag changes are kept for a later call, but for those of `announce` and `silent`.
    pub hold_flags: bool,
    /// Whether FETCH responses have UID.
    pub uid: bool,
    /// UIDs whose flags are told in any case.
    pub announce: Vec<u32>,
    /// UIDs changed by `.SILENT`.
    pub silent: Vec<u32>,
    /// The mod-sequence of that change.
    pub silent_modseq: i64,
    /// The mailbox's mod-sequence just before it.
    pub silent_after: i64,
}

/// What a STORE would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorePlan {
    /// Messages named and not refused.
    pub uids: Vec<u32>,
    /// Those of them whose flags become others.
    pub changing: Vec<u32>,
    /// Refused by UNCHANGEDSINCE.
    pub modified: Vec<u32>,
    /// The same as sequence numbers.
    pub modified_numbers: Vec<u32>,
    /// Whether some message named is gone.
    pub vanished: bool,
}

impl Known {
    pub(crate) fn is_recent(&self, uid: u32) -> bool {
        self.recent
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&uid))
    }

    /// Flag changes up to here were told.
    pub(crate) fn told(&self) -> i64 {
        self.told
    }

    fn recent_count(&self) -> usize {
        self.recent
            .iter()
            .map(|(first, last)| self.uids.count(*first, *last))
            .sum()
    }

    /// Ranges of positions `(from, to)`, rising, `to` excluded.
    pub(crate) fn positions(
        &self,
        set: &SequenceSet,
        uid: bool,
    ) -> Result<Vec<(usize, usize)>, RangeError> {
        let count = self.uids.len();
        let by_uid = |ranges: &[(u32, u32)]| {
            ranges
                .iter()
                .map(|(first, last)| {
                    let from = self
                        .uids
                        .position(*first)
                        .unwrap_or_else(|position| position);
                    let to = self
                        .uids
                        .position(*last)
                        .map_or_else(|position| position, |position| position + 1);
                    (from, to)
                })
                .filter(|(from, to)| from < to)
                .collect::<Vec<_>>()
        };
        if set.saved() {
            return Ok(by_uid(&self.saved));
        }
        if uid {
            return Ok(by_uid(&set.resolve(self.uids.last().unwrap_or(0))));
        }
        let exists = u32::try_from(count).unwrap_or(u32::MAX);
        // A range that begins inside may end beyond: the client has not seen an EXPUNGE yet. `1:*` of nothing is nothing.
        let beyond = |&(first, last): &(u32, u32)| {
            let star = |number: u32| if number == 0 { exists } else { number };
            let all = first == 0 || last == 0;
            star(first).min(star(last)) > exists && !(all && exists == 0)
        };
        if set.ranges().iter().any(beyond) {
            return Err(RangeError);
        }
        Ok(set
            .resolve(exists)
            .into_iter()
            .map(|(first, last)| {
                (
                    (first as usize).saturating_sub(1),
                    (last as usize).min(count),
                )
            })
            .filter(|(from, to)| from < to)
            .collect())
    }

    /// Append `* n EXISTS`, and RECENT for those who know it.
    fn write_exists(&self, out: &mut Vec<u8>) {
        let _ = write!(out, "* {} EXISTS\r\n", self.uids.len());
        if !self.imap4rev2 {
            let _ = write!(out, "* {} RECENT\r\n", self.recent_count());
        }
    }

    /// Append `* n FETCH (FLAGS …)`.
    fn write_flags(&self, out: &mut Vec<u8>, table: &Table, uid: u32, row: &Row, with: Told) {
        let Ok(position) = self.uids.position(uid) else {
            return;
        };
        if self.uidonly {
            let _ = write!(out, "* {uid} UIDFETCH (");
        } else {
            let _ = write!(out, "* {} FETCH (", position + 1);
            // RFC 7162 §3.2.4: who enabled QRESYNC gets UID and MODSEQ together.
            if with.uid || self.imap4rev2 || self.qresync {
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

#[derive(Clone, Copy)]
struct Told {
    uid: bool,
    flags: bool,
}

fn write_flag_responses(out: &mut Vec<u8>, table: &Table, settable: i64) {
    let all = (1 << (flags::FIRST_KEYWORD_BIT + table.keywords.len()).min(63)) - 1;
    let mut list = Vec::new();
    flags::write(&mut list, all, false, &table.keywords);
    out.extend_from_slice(b"* FLAGS ");
    out.extend_from_slice(&list);
    // RFC 4314 §5.1.1: they reflect the rights of the one who asks.
    list.clear();
    flags::write(&mut list, all & settable, false, &table.keywords);
    // RFC 3501 §7.1: `\*` promises that a new keyword can be made.
    let next = table.keywords.len() + flags::FIRST_KEYWORD_BIT;
    if next < 63 && settable >> next & 1 == 1 {
        list.pop();
        list.extend_from_slice(if list.len() > 1 { b" \\*)" } else { b"\\*)" });
    }
    out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
    out.extend_from_slice(&list);
    out.extend_from_slice(b"] Flags that are kept\r\n");
}

/// Give a view the `\Recent` of messages from `first` to `last`.
fn take_recent(table: &mut Table, read_only: bool, first: u32, last: u32) -> Option<(u32, u32)> {
    let first = first.max(table.recent_taken.saturating_add(1));
    if first > last {
        return None;
    }
    if !read_only {
        table.recent_taken = last;
    }
    Some((first, last))
}

impl View {
    /// A view that knows all the index holds, and may change all flags.
    #[must_use]
    pub fn new(index: Arc<MailboxIndex>, read_only: bool, recent_from: u32) -> Self {
        let known = {
            let mut table = index.write();
            let version = table.version;
            table.move_view(None, Some(version));
            let last = table.uids.last().unwrap_or(0);
            let recent = take_recent(&mut table, read_only, recent_from, last);
            Known {
                uids: Arc::clone(&table.uids),
                messages_version: version,
                version,
                told: table.modseq,
                ahead: HashMap::new(),
                keywords: table.keywords.len(),
                recent_taken: recent
                    .filter(|_| !read_only)
                    .map_or(0, |(_, last)| last.saturating_add(1)),
                recent: recent.into_iter().collect(),
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

    /// Allow other bits, and return the responses that say so; none where nothing changed.
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

    /// From now on flags come with MODSEQ.
    pub fn enable_condstore(&self) {
        self.known().condstore = true;
    }

    /// From now on VANISHED instead of EXPUNGE.
    pub fn enable_qresync(&self) {
        let mut known = self.known();
        known.condstore = true;
        known.qresync = true;
    }

    /// From now on nothing is `\Recent`, and what is told by itself has UID (RFC 9051 §7.5.2, appendix E).
    pub fn enable_imap4rev2(&self) {
        let mut known = self.known();
        known.imap4rev2 = true;
        known.recent.clear();
    }

    /// The last UID the session knows, or 0.
    #[must_use]
    pub fn last_uid(&self) -> u32 {
        self.known().uids.last().unwrap_or(0)
    }

    /// From now on UIDFETCH and VANISHED instead of FETCH and EXPUNGE.
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

    /// The UID behind the last one taken as recent.
    #[must_use]
    pub fn recent_taken(&self) -> u32 {
        self.known().recent_taken
    }

    /// Up to which mod-sequence the session was told everything.
    #[must_use]
    pub fn told_modseq(&self) -> i64 {
        self.known().told
    }

    /// Whether `sync` has something to look at.
    #[must_use]
    pub fn pending(&self) -> bool {
        let known = self.known();
        let table = self.index.read();
        known.version != table.version
            || known.messages_version != table.version
            || known.told < table.modseq
    }

    /// The messages the session knows, and those of them that are gone already.
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

    /// The untagged responses of SELECT.
    #[must_use]
    pub fn opening(&self) -> Vec<u8> {
        let known = self.known();
        let table = self.index.read();
        let mut out = Vec::with_capacity(512);
        write_flag_responses(&mut out, &table, self.settable());
        known.write_exists(&mut out);
        // RFC 9051 appendix E: UNSEEN is deprecated as RECENT is. It is a sequence number (RFC 9586 §3), too.
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
            self.index.uidvalidity, table.uidnext, table.modseq
        );
        out
    }

    /// Bring the view to the index's state; the responses that tell the session.
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
        // RFC 7162 §3.2: a client that has heard of a mod-sequence believes to know all below it. While an expunge is
        // held back, nothing newer is told but what was asked for, or who resumes there would never hear of it.
        let hold = sync.hold_flags || (known.qresync && known.messages_version != table.version);
        self.sync_flags(known, &table, sync, last, hold, &mut out);
        if !hold {
            known.told = known.told.max(table.modseq);
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
                // From the end, so that each number is right at its time.
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
            if let Some(range) = take_recent(table, self.read_only, *first, *last) {
                if !known.imap4rev2 {
                    known.recent.push(range);
                    crate::set::normalise(&mut known.recent);
                }
                if !self.read_only {
                    known.recent_taken = last.saturating_add(1);
                }
            }
            known.write_exists(out);
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
        // What others changed before the silent change, and the client does not know, it cannot reckon with
        // (RFC 3501 §6.4.6: told regardless of .SILENT).
        let reckoned = known.told >= sync.silent_after;
        let mut hint = 0;
        for uid in tell {
            let Some(row) = table.find_near(uid, &mut hint) else {
                continue;
            };
            let own = reckoned && row.modseq == sync.silent_modseq;
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

    /// Positions a set names, as UIDs that are there.
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

    /// Whether a set names a message that is gone.
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

    /// What a STORE would do.
    ///
    /// # Errors
    /// `RangeError` for sequence numbers beyond EXISTS.
    pub fn store(
        &self,
        set: &SequenceSet,
        uid: bool,
        mode: StoreMode,
        bits: i64,
        unchanged_since: Option<i64>,
    ) -> Result<StorePlan, RangeError> {
        let known = self.known();
        let positions = known.positions(set, uid)?;
        let table = self.index.read();
        let same = Arc::ptr_eq(&known.uids, &table.uids);
        let mut plan = StorePlan::default();
        let mut hint = 0;
        let settable = self.settable();
        let bits = bits & settable;
        for (from, to) in positions {
            for (position, uid) in (from..to).zip(known.uids.iter_from(from)) {
                if !same && !table.uids.contains(uid) {
                    plan.vanished = true;
                    continue;
                }
                let Some(row) = table.find_near(uid, &mut hint) else {
                    continue;
                };
                if unchanged_since.is_some_and(|modseq| row.modseq > modseq) {
                    plan.modified.push(uid);
                    plan.modified_numbers
                        .push(u32::try_from(position + 1).unwrap_or(u32::MAX));
                    continue;
                }
                plan.uids.push(uid);
                let after = match mode {
                    StoreMode::Replace => (row.flags & !settable) | bits,
                    StoreMode::Add => row.flags | bits,
                    StoreMode::Remove => row.flags & !bits,
                };
                if after != row.flags {
                    plan.changing.push(uid);
                }
            }
        }
        Ok(plan)
    }

    /// The flags of these messages have been told as they are now.
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
        let version = self.known().messages_version;
        self.index.write().move_view(Some(version), None);
    }
}
