//! The messages of one mailbox, shared by the sessions of a process: updated from the database by `feed` and `commit`,
//! read by all.

mod change;
mod kept;
mod names;
mod table;

pub(crate) use change::expunged_ranges;
pub use kept::KeptError;
pub(crate) use table::{Row, Table};

use crate::copy::{CopyError, CopyReader};
use crate::flags::keyword_bit;
use crate::parts::PartCache;
use change::Change;
use names::Names;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Columns that `MailboxIndex::feed` reads.
pub const ROW_COLUMNS: &str =
    "uid, content_id, modseq, flags, size, internal_date, saved_at, file, file_flags";

#[derive(Debug, Default)]
struct Pending {
    copy: CopyReader,
    rows: Vec<(u32, Row)>,
    names: Names,
}

/// The index; see the module.
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

/// What `MailboxIndex::commit` is told about the mailbox.
#[derive(Debug, Clone, Copy, Default)]
pub struct MailboxState<'a> {
    /// The mod-sequence up to which this tells everything.
    pub modseq: i64,
    /// UIDNEXT
    pub uidnext: u32,
    /// Names of keywords, by their bits.
    pub keywords: &'a [String],
    /// Sequence-sets of expunged UIDs.
    pub expunged: &'a [String],
    /// Changes of flags, in order: mod-sequence, bits kept, bits added, sequence-set of UIDs, separated by spaces.
    pub changed: &'a [String],
    /// Every message of the mailbox was fed, so all others are gone.
    pub complete: bool,
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
            table: RwLock::new(Table::new(account)),
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
    /// `CopyError` when they are not; what was fed is dropped.
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
            let name = names.add(fields.required()?, fields.octets()?)?;
            rows.push((
                uid,
                Row {
                    content,
                    modseq,
                    flags,
                    internal_date,
                    saved_at,
                    size,
                    name,
                },
            ));
            Ok(())
        });
        if result.is_err() {
            *pending = Pending::default();
        }
        result
    }

    /// All rows as octets for `feed_kept`, with the mod-sequence up to which they tell everything and UIDNEXT.
    #[must_use]
    pub fn keep(&self) -> (Vec<u8>, i64, u32) {
        let table = self.read();
        (kept::write(&table), table.modseq, table.uidnext)
    }

    /// Take octets that `keep` returned, instead of a COPY stream.
    ///
    /// # Errors
    /// `KeptError` when they are something else, or of another version.
    pub fn feed_kept(&self, octets: &[u8]) -> Result<(), KeptError> {
        let (rows, names) = kept::read(octets)?;
        *self.pending() = Pending {
            rows,
            names,
            ..Pending::default()
        };
        Ok(())
    }

    /// The greatest mod-sequence of what was fed since the last commit.
    #[must_use]
    pub fn fed_modseq(&self) -> i64 {
        let pending = self.pending();
        let modseqs = pending.rows.iter().map(|(_, row)| row.modseq);
        modseqs.max().unwrap_or_default()
    }

    /// Make what was fed visible.
    ///
    /// # Errors
    /// `CopyError` when the stream is incomplete, a text of `expunged` is not a set, or one of `changed` not a change.
    pub fn commit(&self, state: MailboxState<'_>) -> Result<(), CopyError> {
        let MailboxState {
            modseq,
            uidnext,
            keywords,
            expunged,
            changed,
            complete,
        } = state;
        let pending = std::mem::take(&mut *self.pending());
        if pending.copy.incomplete() {
            return Err(CopyError("it is cut"));
        }
        let mut ranges = expunged_ranges(expunged)?;
        let changes = changed
            .iter()
            .map(|text| Change::parse(text).ok_or(CopyError("changed is no change")))
            .collect::<Result<Vec<_>, _>>()?;
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
        changed |= table.expunge(&ranges);
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
    /// `CopyError` when it is not such a stream.
    pub fn load_heads(&self, octets: &[u8]) -> Result<(), CopyError> {
        self.write().heads.load(octets)
    }

    /// Whether a view would take `\Recent`.
    #[must_use]
    pub fn takes_recent(&self) -> bool {
        self.read().takers > 0
    }

    /// Let views take `\Recent` of UIDs from `first` to `last`, each UID once: no other process has it.
    pub fn grant_recent(&self, first: u32, last: u32) {
        let mut table = self.write();
        table.recent.push((first, last));
        crate::set::normalise(&mut table.recent);
        table.unclaimed = last.saturating_add(1);
    }

    /// Let read-only views show `\Recent` from `first` on: no session has taken it yet.
    pub fn leave_recent(&self, first: u32) {
        self.write().unclaimed = first;
    }

    /// UIDNEXT
    #[must_use]
    pub fn uidnext(&self) -> u32 {
        self.read().uidnext
    }

    /// The mod-sequence up to which the index is complete.
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
        self.read().views()
    }

    /// About how many octets of memory it takes.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.read().memory()
    }

    /// The bits of those keywords that the mailbox has, and the other keywords.
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
