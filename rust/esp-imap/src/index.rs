//! The messages of one mailbox, shared by the sessions of a process.

use crate::copy::{CopyError, CopyReader};
use crate::heads::Heads;
use crate::parts::PartCache;
use crate::set::SequenceSet;
use crate::uids::UidList;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Columns that `MailboxIndex::feed` reads.
pub const ROW_COLUMNS: &str =
    "uid, content_id, modseq, flags, size, internal_date, saved_at, file, file_flags";

/// Rows in a block whose greatest mod-sequence is known.
const BLOCK: usize = 512;

/// What is known about a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) content: i64,
    pub(crate) modseq: i64,
    pub(crate) flags: i64,
    pub(crate) internal_date: i64,
    pub(crate) saved_at: i64,
    pub(crate) size: u64,
    /// Where its file name stands in `Table::names`: offset, length of the base, length of the letters + 1 or 0.
    name: (u32, u16, u8),
}

/// The rows, ordered by UID.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) account: i64,
    pub(crate) uids: Arc<UidList>,
    rows: Vec<Row>,
    /// Greatest mod-sequence of each `BLOCK` rows.
    block_modseq: Vec<i64>,
    names: Vec<u8>,
    /// Octets in `names` of rows that are gone or have another name.
    waste: usize,
    /// Rows gone that a view still knows, with the version that took them away.
    ghosts: BTreeMap<u32, (Row, u64)>,
    /// What sorting, threading and header searches look at.
    pub(crate) heads: Heads,
    pub(crate) modseq: i64,
    pub(crate) uidnext: u32,
    pub(crate) keywords: Arc<[String]>,
    /// Counts commits that changed something.
    pub(crate) version: u64,
    /// UIDs whose `\Recent` this process may give to one of its sessions (RFC 3501 §2.3.2).
    pub(crate) recent: Vec<(u32, u32)>,
    /// From here on nobody in any process has it; 0 when that is not known.
    pub(crate) unclaimed: u32,
    /// How many of its views would take it.
    pub(crate) takers: usize,
    /// How many views have which version's messages.
    views: BTreeMap<u64, usize>,
}

#[derive(Debug, Default)]
struct Pending {
    copy: CopyReader,
    rows: Vec<(u32, Row)>,
    names: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub struct MailboxIndex {
    /// `account.id`
    pub account: i64,
    /// `mailbox.id`
    pub mailbox: i64,
    /// UIDVALIDITY
    pub uidvalidity: u32,
    /// The Maildir folder.
    pub(crate) folder: PathBuf,
    /// Whether its files are known to be on a disk of this machine.
    pub(crate) on_local_disk: AtomicBool,
    pub(crate) parts: PartCache,
    table: RwLock<Table>,
    pending: Mutex<Pending>,
}

/// What `MailboxIndex::commit` is told of the mailbox.
#[derive(Debug, Clone, Copy, Default)]
pub struct MailboxState<'a> {
    /// Up to which mod-sequence all is told.
    pub modseq: i64,
    /// UIDNEXT
    pub uidnext: u32,
    /// Names of keywords, by their bits.
    pub keywords: &'a [String],
    /// Sequence-sets of UIDs that are gone.
    pub expunged: &'a [String],
    /// What was done to flags, in order: mod-sequence, bits kept, bits added, sequence-set of UIDs, parted by spaces.
    pub changed: &'a [String],
    /// All the mailbox has was fed, and other messages are gone.
    pub complete: bool,
}

/// Flags became `flags & kept | added`.
#[derive(Debug)]
struct Change {
    modseq: i64,
    kept: i64,
    added: i64,
    ranges: Vec<(u32, u32)>,
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (modseq, kept, added) = (number()?, number()?, number()?);
        let set = SequenceSet::parse(words.next()?.as_bytes()).ok()?;
        words.next().is_none().then(|| Self {
            modseq,
            kept,
            added,
            ranges: set.resolve(u32::MAX),
        })
    }
}

fn name_ends(name: (u32, u16, u8)) -> (usize, usize, usize) {
    let start = name.0 as usize;
    let base = start + usize::from(name.1);
    (start, base, base + usize::from(name.2).saturating_sub(1))
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row at a position.
    pub(crate) fn row(&self, position: usize) -> Option<&Row> {
        self.rows.get(position)
    }

    /// The row of a message, also of one that is gone but still known to a view.
    pub(crate) fn find(&self, uid: u32) -> Option<&Row> {
        match self.uids.position(uid) {
            Ok(position) => self.rows.get(position),
            Err(_) => self.ghosts.get(&uid).map(|(row, _)| row),
        }
    }

    /// As `find`, with the position that `uid` probably has; it is moved behind the row found.
    pub(crate) fn find_near(&self, uid: u32, hint: &mut usize) -> Option<&Row> {
        if self.uids.get(*hint) != Some(uid) {
            match self.uids.position(uid) {
                Ok(position) => *hint = position,
                Err(_) => return self.ghosts.get(&uid).map(|(row, _)| row),
            }
        }
        let row = self.rows.get(*hint);
        *hint += 1;
        row
    }

    /// Maildir base name, and letters if it is in `cur`.
    pub(crate) fn file(&self, row: &Row) -> (String, Option<String>) {
        let (start, base, end) = name_ends(row.name);
        let text = |from: usize, to: usize| {
            String::from_utf8_lossy(self.names.get(from..to).unwrap_or_default()).into_owned()
        };
        (text(start, base), (row.name.2 > 0).then(|| text(base, end)))
    }

    /// Positions of rows with a greater mod-sequence.
    pub(crate) fn changed_since(&self, modseq: i64) -> Vec<usize> {
        let mut positions = Vec::new();
        for (block, greatest) in self.block_modseq.iter().enumerate() {
            if *greatest <= modseq {
                continue;
            }
            let start = block * BLOCK;
            let rows = self.rows.iter().enumerate().skip(start).take(BLOCK);
            positions.extend(
                rows.filter(|(_, row)| row.modseq > modseq)
                    .map(|(at, _)| at),
            );
        }
        positions
    }

    fn rebuild_blocks(&mut self) {
        self.block_modseq = self
            .rows
            .chunks(BLOCK)
            .map(|rows| rows.iter().map(|row| row.modseq).max().unwrap_or(0))
            .collect();
    }

    fn take_name(&mut self, row: &mut Row, names: &[u8]) {
        let (start, _, end) = name_ends(row.name);
        row.name.0 = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names
            .extend_from_slice(names.get(start..end).unwrap_or_default());
    }

    /// Count the names of rows that are no longer in the table; all of them at once, since what is counted after the
    /// names were written anew would be counted although it is gone.
    fn drop_names(&mut self, rows: &[Row]) {
        for row in rows {
            let (start, _, end) = name_ends(row.name);
            self.waste += end - start;
        }
        if self.waste > 65_536 && self.waste * 2 > self.names.len() {
            let mut names = Vec::with_capacity(self.names.len().saturating_sub(self.waste));
            let ghosts = self.ghosts.values_mut().map(|(row, _)| row);
            for row in self.rows.iter_mut().chain(ghosts) {
                let (start, _, end) = name_ends(row.name);
                row.name.0 = u32::try_from(names.len()).unwrap_or(u32::MAX);
                names.extend_from_slice(self.names.get(start..end).unwrap_or_default());
            }
            self.names = names;
            self.waste = 0;
        }
    }

    fn apply(&mut self, mut rows: Vec<(u32, Row)>, names: &[u8]) -> bool {
        if rows.is_empty() {
            return false;
        }
        if !rows.is_sorted_by_key(|(uid, _)| *uid) {
            rows.sort_by_key(|(uid, _)| *uid);
        }
        rows.dedup_by_key(|(uid, _)| *uid);
        let last = self.uids.last().unwrap_or(0);
        let split = rows.partition_point(|(uid, _)| *uid <= last);
        let added = rows.split_off(split);
        let mut dropped = Vec::new();
        let mut between = Vec::new();
        for (uid, mut row) in rows {
            let Ok(position) = self.uids.position(uid) else {
                between.push((uid, row));
                continue;
            };
            self.take_name(&mut row, names);
            if let Some(old) = self.rows.get_mut(position) {
                dropped.push(std::mem::replace(old, row));
            }
            if let Some(greatest) = self.block_modseq.get_mut(position / BLOCK) {
                *greatest = (*greatest).max(row.modseq);
            }
        }
        self.drop_names(&dropped);
        if !between.is_empty() {
            // UIDs are given under the mailbox's lock, so this is a repaired mailbox at most; views see it as a change
            // of all that stands behind.
            let mut all: Vec<(u32, Row)> =
                self.uids.iter().zip(self.rows.iter().copied()).collect();
            for (uid, mut row) in between {
                self.take_name(&mut row, names);
                all.push((uid, row));
            }
            all.sort_by_key(|(uid, _)| *uid);
            self.uids = Arc::new(
                UidList::default().append(&all.iter().map(|(uid, _)| *uid).collect::<Vec<_>>()),
            );
            self.rows = all.into_iter().map(|(_, row)| row).collect();
            self.rebuild_blocks();
        }
        if !added.is_empty() {
            let uids: Vec<u32> = added.iter().map(|(uid, _)| *uid).collect();
            if self.rows.is_empty() {
                self.rows.reserve_exact(added.len());
                self.names.reserve_exact(names.len());
            }
            for (_, mut row) in added {
                self.take_name(&mut row, names);
                if self.rows.len().is_multiple_of(BLOCK) {
                    self.block_modseq.push(row.modseq);
                } else if let Some(greatest) = self.block_modseq.last_mut() {
                    *greatest = (*greatest).max(row.modseq);
                }
                self.rows.push(row);
            }
            self.uids = Arc::new(self.uids.append(&uids));
        }
        true
    }

    /// Do to flags what was done to them in the database; not where a row has come from there since.
    fn change(&mut self, change: &Change) -> bool {
        let mut any = false;
        for &(first, last) in &change.ranges {
            let from = self
                .uids
                .position(first)
                .unwrap_or_else(|position| position);
            let to = self
                .uids
                .position(last)
                .map_or_else(|position| position, |position| position + 1);
            let rows = self.rows.get_mut(from..to).unwrap_or_default();
            for (position, row) in (from..).zip(rows) {
                if row.modseq >= change.modseq {
                    continue;
                }
                row.flags = row.flags & change.kept | change.added;
                row.modseq = change.modseq;
                if let Some(greatest) = self.block_modseq.get_mut(position / BLOCK) {
                    *greatest = (*greatest).max(change.modseq);
                }
                any = true;
            }
        }
        any
    }

    fn expunge(&mut self, ranges: &[(u32, u32)]) -> bool {
        let mut gone: Vec<u32> = Vec::new();
        for &(first, last) in ranges {
            let from = self
                .uids
                .position(first)
                .unwrap_or_else(|position| position);
            gone.extend(self.uids.iter_from(from).take_while(|uid| *uid <= last));
        }
        if gone.is_empty() {
            return false;
        }
        let version = self.version + 1;
        let keep = !self.views.is_empty();
        let mut dropped = Vec::new();
        let mut uids = self.uids.iter();
        let (ghosts, gone_uids) = (&mut self.ghosts, &gone);
        self.rows.retain(|row| {
            let Some(uid) = uids.next() else { return true };
            if gone_uids.binary_search(&uid).is_err() {
                return true;
            }
            if keep {
                ghosts.insert(uid, (*row, version));
            } else {
                dropped.push(*row);
            }
            false
        });
        drop(uids);
        self.uids = Arc::new(self.uids.without(&gone));
        self.rebuild_blocks();
        self.drop_names(&dropped);
        true
    }

    /// A view that had the messages of version `from` has those of `to` now; `None` for one that begins or ends.
    pub(crate) fn move_view(&mut self, from: Option<u64>, to: Option<u64>) {
        if let Some(to) = to {
            *self.views.entry(to).or_default() += 1;
        }
        if let Some(from) = from
            && let Some(count) = self.views.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                self.views.remove(&from);
            }
        }
        let oldest = self.views.keys().next().copied().unwrap_or(u64::MAX);
        if self.ghosts.values().any(|(_, version)| *version <= oldest) {
            let mut dropped = Vec::new();
            self.ghosts.retain(|_, (row, version)| {
                let keep = *version > oldest;
                if !keep {
                    dropped.push(*row);
                }
                keep
            });
            self.drop_names(&dropped);
        }
    }
}

impl MailboxIndex {
    /// An empty index.
    #[must_use]
    pub fn new(account: i64, mailbox: i64, folder: PathBuf, uidvalidity: u32) -> Self {
        Self {
            account,
            mailbox,
            uidvalidity,
            folder,
            on_local_disk: AtomicBool::new(false),
            parts: PartCache::default(),
            table: RwLock::new(Table {
                account,
                ..Table::default()
            }),
            pending: Mutex::default(),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take octets of a COPY stream of `ROW_COLUMNS`.
    ///
    /// # Errors
    /// `CopyError` when they are none; what was fed is dropped.
    pub fn feed(&self, octets: &[u8]) -> Result<(), CopyError> {
        let mut pending = self.pending();
        let Pending { copy, rows, names } = &mut *pending;
        let result = copy.feed(octets, 9, |mut fields| {
            let uid = u32::try_from(fields.i64()?).map_err(|_| CopyError("uid is out of range"))?;
            let content = fields.i64()?;
            let modseq = fields.i64()?;
            let flags = fields.i64()?;
            let size = u64::try_from(fields.i64()?).map_err(|_| CopyError("size is negative"))?;
            let internal_date = fields.time()?.ok_or(CopyError("internal_date is NULL"))?;
            let saved_at = fields.time()?.ok_or(CopyError("saved_at is NULL"))?;
            let base = fields.required()?;
            let letters = fields.octets()?;
            let start = u32::try_from(names.len()).map_err(|_| CopyError("too many rows"))?;
            let lengths = (
                u16::try_from(base.len()),
                u8::try_from(letters.map_or(0, |letters| letters.len() + 1)),
            );
            let (Ok(base_length), Ok(letters_length)) = lengths else {
                return Err(CopyError("a file name is too long"));
            };
            names.extend_from_slice(base);
            names.extend_from_slice(letters.unwrap_or_default());
            rows.push((
                uid,
                Row {
                    content,
                    modseq,
                    flags,
                    internal_date,
                    saved_at,
                    size,
                    name: (start, base_length, letters_length),
                },
            ));
            Ok(())
        });
        if result.is_err() {
            *pending = Pending::default();
        }
        result
    }

    /// Make what was fed visible.
    ///
    /// # Errors
    /// `CopyError` when the stream is not complete, a text of `expunged` is no set, or one of `changed` no change.
    pub fn commit(&self, state: MailboxState<'_>) -> Result<(), CopyError> {
        let MailboxState {
            modseq,
            uidnext,
            keywords,
            expunged,
            changed,
            complete,
        } = state;
        let mut pending = std::mem::take(&mut *self.pending());
        if pending.copy.incomplete() {
            return Err(CopyError("it is cut"));
        }
        let mut ranges = expunged_ranges(expunged)?;
        let changes = changed
            .iter()
            .map(|text| Change::parse(text).ok_or(CopyError("changed is no change")))
            .collect::<Result<Vec<_>, _>>()?;
        for (_, row) in &mut pending.rows {
            // It was read a moment later than `modseq`. What came between will come again, and is done a second time
            // without harm; but nobody may be told of a mod-sequence before all below it (RFC 7162 §3.2).
            row.modseq = row.modseq.min(modseq);
        }
        let mut table = self.write();
        if complete && table.uids.len() > 0 {
            let fed: HashSet<u32> = pending.rows.iter().map(|(uid, _)| *uid).collect();
            let gone = table.uids.iter().filter(|uid| !fed.contains(uid));
            ranges.extend(crate::set::ranges_of(gone));
            crate::set::normalise(&mut ranges);
        }
        let mut changed = table.apply(pending.rows, &pending.names);
        for change in &changes {
            changed |= table.change(change);
        }
        if table.expunge(&ranges) {
            let messages = table.rows.len();
            table.heads.shrink(messages);
            changed = true;
        }
        if *table.keywords != *keywords {
            table.keywords = keywords.to_vec().into();
            changed = true;
        }
        table.modseq = table.modseq.max(modseq);
        table.uidnext = table.uidnext.max(uidnext);
        if changed {
            table.version += 1;
        }
        Ok(())
    }

    /// Drop what was fed since the last commit.
    pub fn abandon(&self) {
        *self.pending() = Pending::default();
    }

    /// Take a COPY stream of `HEAD_COLUMNS`.
    ///
    /// # Errors
    /// `CopyError` when it is none.
    pub fn load_heads(&self, octets: &[u8]) -> Result<(), CopyError> {
        self.write().heads.load(octets)
    }

    /// Whether a view would take `\Recent`.
    #[must_use]
    pub fn takes_recent(&self) -> bool {
        self.read().takers > 0
    }

    /// Let views take `\Recent` of UIDs from `first` to `last`, each of one UID once: no other process has it.
    pub fn grant_recent(&self, first: u32, last: u32) {
        let mut table = self.write();
        table.recent.push((first, last));
        crate::set::normalise(&mut table.recent);
        table.unclaimed = last.saturating_add(1);
    }

    /// Read-only views may show `\Recent` from `first` on: nobody has taken it yet.
    pub fn leave_recent(&self, first: u32) {
        self.write().unclaimed = first;
    }

    /// UIDNEXT
    #[must_use]
    pub fn uidnext(&self) -> u32 {
        self.read().uidnext
    }

    /// Up to which mod-sequence the index is complete.
    #[must_use]
    pub fn modseq(&self) -> i64 {
        self.read().modseq
    }

    /// Names of the mailbox's keywords.
    #[must_use]
    pub fn keywords(&self) -> Arc<[String]> {
        Arc::clone(&self.read().keywords)
    }

    /// How many messages there are.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.read().len()
    }

    /// How many views there are.
    #[must_use]
    pub fn views(&self) -> usize {
        self.read().views.values().sum()
    }

    /// About how many octets of memory it takes.
    #[must_use]
    pub fn octets(&self) -> usize {
        let table = self.read();
        table.rows.capacity() * size_of::<Row>()
            + table.names.capacity()
            + table.uids.len() * size_of::<u32>()
            + table.ghosts.len() * size_of::<(u32, Row, u64)>()
            + table.heads.memory()
    }

    /// Bits of keywords that the mailbox has, and the others.
    #[must_use]
    pub fn keyword_bits(&self, keywords: &[String]) -> (i64, Vec<String>) {
        let table = self.read();
        let mut bits = 0;
        let mut others = Vec::new();
        for keyword in keywords {
            match keyword_bit(&table.keywords, keyword) {
                0 => others.push(keyword.clone()),
                bit => bits |= bit,
            }
        }
        (bits, others)
    }
}

/// UIDs of rows of `expunged`, as rising ranges.
pub(crate) fn expunged_ranges(texts: &[String]) -> Result<Vec<(u32, u32)>, CopyError> {
    let mut ranges = Vec::new();
    for text in texts {
        let set =
            SequenceSet::parse(text.as_bytes()).map_err(|_| CopyError("expunged is no set"))?;
        ranges.extend(set.resolve(u32::MAX));
    }
    crate::set::normalise(&mut ranges);
    Ok(ranges)
}

/// The bit of a keyword, 0 when the mailbox has it not.
pub(crate) fn keyword_bit(keywords: &[String], keyword: &str) -> i64 {
    keywords
        .iter()
        .position(|known| known.eq_ignore_ascii_case(keyword))
        .map(|position| position + crate::flags::FIRST_KEYWORD_BIT)
        .filter(|bit| *bit < 63)
        .map_or(0, |bit| 1 << bit)
}
