//! The rows of one mailbox's messages, ordered by UID, and those expunged but still known to a session.

use super::change::Change;
use super::names::{Name, Names};
use crate::heads::Heads;
use crate::uids::UidList;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows in a block, for which the greatest mod-sequence is stored.
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
    pub(super) name: Name,
}

/// The rows, ordered by UID.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) account: i64,
    pub(crate) uids: Arc<UidList>,
    rows: Vec<Row>,
    /// Greatest mod-sequence of each `BLOCK` rows.
    block_modseq: Vec<i64>,
    names: Names,
    /// Expunged rows that a view still knows, each with the version that removed it.
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
    /// From here on no session in any process has it; 0 if that is unknown.
    pub(crate) unclaimed: u32,
    /// How many of the index's views would take it.
    pub(crate) takers: usize,
    /// How many views have the messages of which version.
    views: BTreeMap<u64, usize>,
}

impl Table {
    pub(super) fn new(account: i64) -> Self {
        Self {
            account,
            ..Self::default()
        }
    }

    /// How many views there are.
    pub(super) fn views(&self) -> usize {
        self.views.values().sum()
    }

    /// About how many octets of memory it takes.
    pub(super) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.names.memory()
            + self.uids.len() * size_of::<u32>()
            + self.ghosts.len() * size_of::<(u32, Row, u64)>()
            + self.heads.memory()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row at a position.
    #[inline]
    pub(crate) fn row(&self, position: usize) -> Option<&Row> {
        self.rows.get(position)
    }

    /// The row of a message, even if it is expunged but still known to a view.
    pub(crate) fn find(&self, uid: u32) -> Option<&Row> {
        match self.uids.position(uid) {
            Ok(position) => self.rows.get(position),
            Err(_) => self.ghosts.get(&uid).map(|(row, _)| row),
        }
    }

    /// Like `find`, with the position that `uid` probably has; this is moved behind the row found.
    #[inline]
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
        let text = |octets| String::from_utf8_lossy(octets).into_owned();
        let (base, letters) = self.name(row);
        (text(base), letters.map(text))
    }

    /// The same as octets.
    pub(super) fn name(&self, row: &Row) -> (&[u8], Option<&[u8]>) {
        self.names.read(row.name)
    }

    /// All rows, by UID.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u32, &Row)> {
        self.uids.iter().zip(&self.rows)
    }

    /// Positions of rows with a mod-sequence greater than this.
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

    /// Count the names of rows that are no longer in the table as unused. All of them at once: a name counted after the
    /// names were rewritten would be counted although it is no longer there.
    fn drop_names(&mut self, rows: &[Row]) {
        for row in rows {
            self.names.drop(row.name);
        }
        if self.names.is_wasteful() {
            let ghosts = self.ghosts.values_mut().map(|(row, _)| row);
            let rows = self.rows.iter_mut().chain(ghosts);
            self.names.rewrite(rows.map(|row| &mut row.name));
        }
    }

    /// Take rows, and their names from `names`; tell whether there were any.
    pub(super) fn apply(&mut self, mut rows: Vec<(u32, Row)>, names: &Names) -> bool {
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
            self.names.adopt(&mut row.name, names);
            if let Some(old) = self.rows.get_mut(position) {
                dropped.push(std::mem::replace(old, row));
            }
            if let Some(greatest) = self.block_modseq.get_mut(position / BLOCK) {
                *greatest = (*greatest).max(row.modseq);
            }
        }
        self.drop_names(&dropped);
        if !between.is_empty() {
            // UIDs are assigned under the mailbox's lock, so this can only be a repaired mailbox; views see it as a
            // change of everything after it.
            let mut all: Vec<(u32, Row)> =
                self.uids.iter().zip(self.rows.iter().copied()).collect();
            for (uid, mut row) in between {
                self.names.adopt(&mut row.name, names);
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
                self.names.reserve(names);
            }
            for (_, mut row) in added {
                self.names.adopt(&mut row.name, names);
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

    /// Apply a change of flags that was made in the database, except to rows that were read after it.
    pub(super) fn change(&mut self, change: &Change) -> bool {
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

    /// Remove messages; views that know them can still find their rows. Tell whether any was there.
    pub(super) fn expunge(&mut self, ranges: &[(u32, u32)]) -> bool {
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
        self.heads.shrink(self.rows.iter().map(|row| row.content));
        true
    }

    /// Note that a view has moved from the messages of version `from` to those of `to`; `None` when it begins or ends.
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
