//! Small messages made durable by one write, before their own files are: docs/adr/0009-a-journal-for-small-messages.md.
//!
//! The journal is one file for each process that delivers, of a fixed size and filled with zeros beforehand, so that a
//! record costs one fdatasync(2) of data alone, however many messages it has. Their Maildir files are made meanwhile
//! but not synced. A thread syncs all of them at once when half of the journal is full or its oldest record is `AGE`
//! old; then that half is written again from its beginning. `recover` restores what a crash leaves.

use crate::error::Failure;
use crate::files::names;
use crate::folder::open_folder;
use crate::spool::{FILE_MODE, write_all};
use crate::store::Shared;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fdatasync, flock,
    fstatvfs, fsync, futimens, mkdirat, openat, statat, syncfs, unlinkat,
};
use rustix::io::{Errno, pwrite};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where journals are, below the root: hidden, as no domain is.
pub(crate) const FOLDER: &str = ".journal";
/// Locked by a process that makes a journal, or restores journals that were left.
const LOCK: &str = ".journal/lock";

/// Larger messages are written only once, and synced.
pub(crate) const LARGEST_MESSAGE: u64 = 32 * 1024;

const MAGIC: [u8; 8] = *b"ESPJRNL1";
/// Records begin at a page, so that no page is written twice.
const PAGE: usize = 4096;
const HALF: usize = 16 * 1024 * 1024;
const SIZE: usize = PAGE + 2 * HALF;
/// Magic, epoch, length and checksum.
const HEADER: usize = 24;
/// Files are synced when their record is so old.
const AGE: Duration = Duration::from_secs(10);
/// If the disk was so busy that files are not synced after this time, no more messages are left for later.
const LATE: Duration = Duration::from_secs(30);
/// Seconds. A file changed so recently may still wait for its sync, whatever journals say: clocks differ, and are set
/// back.
const RECENT: i64 = 120;
/// Only a disk with room for so many journals gets one.
const ROOM: u64 = 16;

/// A message to be written to a journal.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Its names below the root.
    pub(crate) paths: &'a [String],
    pub(crate) modified: i64,
    pub(crate) octets: &'a [u8],
}

/// A message as it is in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its names below the root.
    pub paths: Vec<String>,
    /// Modification time, nanoseconds since 1970.
    pub modified: i64,
    /// All of it.
    pub octets: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Journal {
    state: Mutex<State>,
    changed: Condvar,
    failure: OnceLock<Failure>,
    /// Whether it is made and in use, for callers that must not wait for the state.
    ready: AtomicBool,
}

#[derive(Default)]
struct State {
    phase: Phase,
    thread: Option<JoinHandle<()>>,
    /// Where the next record goes.
    half: usize,
    at: usize,
    /// Incremented with each half that is begun; it is in each record, and tells old records from new ones. Begins at
    /// random: the rest of an older message must not pass for a record, whatever its sender wrote.
    epoch: u64,
    /// When the first record of this half was written.
    since: Option<Begun>,
    /// The same for the other half, while its files are still to be synced.
    due: Option<Begun>,
    closing: bool,
}

#[derive(Clone, Copy)]
struct Begun {
    at: Instant,
    /// When the first files were made, seconds since 1970.
    clock: i64,
}

#[derive(Default)]
enum Phase {
    #[default]
    Unused,
    /// It is being made, no longer kept, or not possible.
    Without,
    Ready(OwnedFd),
}

impl State {
    /// Begin the other half; the files of this one are due for a sync.
    fn turn(&mut self) {
        self.half = 1 - self.half;
        self.at = 0;
        self.epoch += 1;
        self.due = self.since.take();
    }
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether messages are written to it, as long as it has room. Does not wait.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Why there is no journal, although there should be. Does not wait.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Write a record of messages whose files the caller will make, from `began` on: until that is done no other record
    /// begins, and no files are synced. `None` if there is no journal or no room; then nothing was done.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) fn begin<'a>(
        &self,
        shared: &Arc<Shared>,
        began: i64,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> Result<Option<Record<'_>>, Errno> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Unused) && !state.closing {
            self.start(shared, &mut state);
        }
        let oldest = state.due.or(state.since);
        let late = oldest.is_some_and(|begun| begun.at.elapsed() > LATE);
        if state.closing || late || !matches!(state.phase, Phase::Ready(_)) {
            return Ok(None);
        }
        let mut record = encoded(messages);
        let length = record.len();
        if state.at + length > HALF {
            if state.due.is_some() || length > HALF {
                return Ok(None);
            }
            state.turn();
            self.changed.notify_one();
        }
        seal(&mut record, state.epoch);
        let Phase::Ready(file) = &state.phase else {
            return Ok(None);
        };
        if state.since.is_none() && state.due.is_none() {
            mark(file, began)?;
        }
        let at = PAGE + state.half * HALF + state.at;
        write_at(file, at, &record)?;
        start_writing(file, at, length)?;
        Ok(Some(Record {
            journal: self,
            state,
            length,
            began,
        }))
    }

    /// Sync what is still to be synced, and remove the journal; with `wait`, return only when that is done.
    pub(crate) fn close(&self, wait: bool) {
        let thread = {
            let mut state = self.lock();
            state.closing = true;
            self.ready.store(false, Ordering::Relaxed);
            state.thread.take()
        };
        self.changed.notify_one();
        if let Some(thread) = thread.filter(|_| wait) {
            // It cannot panic; if it did, the journal would be left for the next start.
            let _ = thread.join();
        }
    }

    /// Wait until files are due for a sync, and return the first epoch whose files are not; `None` when closed.
    fn next_due(&self) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if state.due.is_some() {
                break;
            }
            let left = state
                .since
                .map(|begun| AGE.saturating_sub(begun.at.elapsed()));
            state = match left {
                Some(left) if left.is_zero() || state.closing => {
                    state.turn();
                    break;
                }
                Some(left) => self
                    .changed
                    .wait_timeout(state, left)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state),
                None if state.closing => return None,
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
        Some(state.epoch)
    }

    /// Note that all files of epochs before this one are durable.
    fn synced(&self, epoch: u64) {
        let mut state = self.lock();
        state.due = None;
        if let Phase::Ready(file) = &state.phase {
            // Not synced itself; if it cannot be written, more has to be looked at after a crash, which does no harm.
            let _ = write_at(file, MAGIC.len(), &epoch.to_le_bytes());
            // If this fails, more is synced with copies.
            let _ = mark(file, state.since.map_or(0, |begun| begun.clock));
        }
    }

    fn start(&self, shared: &Arc<Shared>, state: &mut State) {
        state.phase = Phase::Without;
        state.epoch = RandomState::new().hash_one(FOLDER) >> 1;
        let moved = Arc::clone(shared);
        let started = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(&moved));
        match started {
            Ok(thread) => state.thread = Some(thread),
            Err(_) => self.fail(Failure::internal("start a thread", FOLDER)),
        }
    }

    fn fail(&self, failure: Failure) {
        // The first failure is the one that counts.
        let _ = self.failure.set(failure);
    }
}

/// Messages that are written down but not durable yet; if it is dropped before `keep`, it is as if never written.
pub(crate) struct Record<'a> {
    journal: &'a Journal,
    state: MutexGuard<'a, State>,
    length: usize,
    began: i64,
}

impl Record<'_> {
    /// Make the messages durable; their files have their names.
    ///
    /// # Errors
    /// When that failed: it is unknown what is durable.
    pub(crate) fn keep(mut self) -> Result<(), Errno> {
        let Phase::Ready(file) = &self.state.phase else {
            return Err(Errno::BADF);
        };
        fdatasync(file)?;
        self.state.at += self.length;
        if self.state.since.is_none() {
            self.state.since = Some(Begun {
                at: Instant::now(),
                clock: self.began,
            });
            self.journal.changed.notify_one();
        }
        Ok(())
    }
}

/// Have the disk begin to write octets that fdatasync(2) will wait for.
fn start_writing(file: &OwnedFd, at: usize, length: usize) -> rustix::io::Result<()> {
    let (Ok(at), Ok(length)) = (i64::try_from(at), i64::try_from(length)) else {
        return Err(Errno::FBIG);
    };
    // SAFETY: the call takes numbers only, and the descriptor is open.
    #[allow(unsafe_code)]
    let done =
        unsafe { libc::sync_file_range(file.as_raw_fd(), at, length, libc::SYNC_FILE_RANGE_WRITE) };
    if done == 0 {
        return Ok(());
    }
    match Errno::from_io_error(&std::io::Error::last_os_error()) {
        Some(error @ (Errno::IO | Errno::NOSPC | Errno::DQUOT)) => Err(error),
        // If this is not possible, fdatasync(2) does it all.
        _ => Ok(()),
    }
}

fn run(shared: &Shared) {
    let journal = &shared.journal;
    let (path, root) = match make(shared) {
        Ok(made) => made,
        Err(failure) => return journal.fail(failure),
    };
    while let Some(epoch) = journal.next_due() {
        if let Err(error) = syncfs(&root).and_then(|()| still_there(&root, &path)) {
            // The journal stays: its messages are restored at the next start.
            journal.fail(Failure::sync(&path, error));
            return shared.poison();
        }
        journal.synced(epoch);
    }
    // If it cannot be removed, it is looked through at the next start.
    let _ = unlinkat(&root, &path, AtFlags::empty());
}

/// Check that a journal has its name: without, it would not be found after a crash.
fn still_there(root: &OwnedFd, path: &str) -> rustix::io::Result<()> {
    statat(root, path, AtFlags::SYMLINK_NOFOLLOW).map(drop)
}

/// Make an empty journal that is ours as long as its file is open; returns its path, and the root opened again.
fn make(shared: &Shared) -> Result<(String, OwnedFd), Failure> {
    let root = shared.root();
    let failure = |error| Failure::new("make journal", FOLDER, error);
    let disk = fstatvfs(root).map_err(failure)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM * SIZE as u64 {
        return Err(failure(Errno::NOSPC));
    }
    match mkdirat(root, FOLDER, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failure(error)),
    }
    let path = format!("{FOLDER}/{}", shared.unique());
    let failed = |error| {
        let _ = unlinkat(root, &path, AtFlags::empty());
        failure(error)
    };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = {
        // Otherwise another process could take it, between the two calls, for a journal that was left.
        let _alone = alone(shared).map_err(failure)?;
        let file = openat(root, &path, flags, FILE_MODE).map_err(failure)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(failed)?;
        file
    };
    fill(shared, &file).map_err(failed)?;
    // syncfs(2) reports an error to each opened file once: our report must not go to somebody else.
    let root = open_folder(root, ".").map_err(failed)?;
    // A process that sees the mark finds the journal locked.
    let mut state = shared.journal.lock();
    mark(&file, 0).map_err(failed)?;
    state.phase = Phase::Ready(file);
    shared
        .journal
        .ready
        .store(!state.closing, Ordering::Relaxed);
    drop(state);
    Ok((path, root))
}

fn fill(shared: &Shared, file: &OwnedFd) -> rustix::io::Result<()> {
    let zeros = vec![0; 1024 * 1024];
    let mut first = vec![0; PAGE];
    if let Some(magic) = first.get_mut(..MAGIC.len()) {
        magic.copy_from_slice(&MAGIC);
    }
    write_all(file.as_fd(), &first)?;
    for _ in 0..(2 * HALF / zeros.len()) {
        write_all(file.as_fd(), &zeros)?;
    }
    fsync(file)?;
    for folder in [FOLDER, "."] {
        fsync(open_folder(shared.root(), folder)?)?;
    }
    Ok(())
}

/// Record in a journal's access time since when files wait for their sync; 0 if none do.
fn mark(file: &OwnedFd, since: i64) -> rustix::io::Result<()> {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    futimens(
        file,
        &Timestamps {
            last_access: time(since, 0),
            last_modification: time(0, UTIME_OMIT),
        },
    )
}

/// Seconds since 1970.
pub(crate) fn clock() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// The paths of all journals, below the root.
///
/// # Errors
/// When the journals cannot be searched for.
pub(crate) fn journals(shared: &Shared) -> rustix::io::Result<Vec<String>> {
    let names = names(shared.root(), FOLDER)?.into_iter();
    let paths = names.map(|(name, _)| format!("{FOLDER}/{name}"));
    Ok(paths.filter(|path| path != LOCK).collect())
}

/// Since when files of any process may wait for their sync, by the clock; also those of journals that were left.
///
/// # Errors
/// When the journals cannot be looked at.
pub(crate) fn waiting_since(shared: &Shared) -> rustix::io::Result<Option<i64>> {
    let mut marks = Vec::new();
    for path in journals(shared)? {
        match statat(shared.root(), path, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            status => marks.push(status?.st_atime),
        }
    }
    Ok(marks.into_iter().filter(|mark| *mark != 0).min())
}

/// Whether the octets of a file that was last changed at `changed` may be durable in a journal only.
pub(crate) fn may_wait(changed: i64, now: i64, waiting_since: Option<i64>) -> bool {
    // One second, since the clock of the kernel's file times is a little behind.
    changed.saturating_add(RECENT) > now || waiting_since.is_some_and(|since| changed >= since - 1)
}

/// Wait until no other process makes or restores journals, and keep others out while the file is open.
pub(crate) fn alone(shared: &Shared) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let lock = openat(shared.root(), LOCK, flags, FILE_MODE)?;
    loop {
        match flock(&lock, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            result => return result.map(|()| lock),
        }
    }
}

fn write_at(file: &OwnedFd, mut at: usize, mut octets: &[u8]) -> rustix::io::Result<()> {
    while !octets.is_empty() {
        match pwrite(file, octets, at as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                octets = octets.get(count..).unwrap_or_default();
                at += count;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A record without its header; whole pages.
fn encoded<'a>(messages: impl Iterator<Item = Message<'a>>) -> Vec<u8> {
    let mut record = vec![0; HEADER];
    for message in messages {
        record.extend(message.modified.to_le_bytes());
        record.extend(counted(message.paths.len()));
        for path in message.paths {
            record.extend(counted(path.len()));
            record.extend(path.as_bytes());
        }
        record.extend(counted(message.octets.len()));
        record.extend(message.octets);
    }
    record.resize(record.len().next_multiple_of(PAGE), 0);
    record
}

/// No count comes near the limit, for a record is smaller than half a journal.
fn counted(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

/// Write the header of a record.
fn seal(record: &mut [u8], epoch: u64) {
    let Some((header, body)) = record.split_first_chunk_mut::<HEADER>() else {
        return;
    };
    let length = counted(body.len());
    let sum = checksum(epoch, body).to_le_bytes();
    let parts: [&[u8]; 4] = [&MAGIC, &epoch.to_le_bytes(), &length, &sum];
    header.copy_from_slice(&parts.concat());
}

fn checksum(epoch: u64, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&epoch.to_le_bytes());
    sum.update(body);
    sum.finalize()
}

/// Return the messages of a journal whose files may not be durable, in order: for each half, those before the first
/// torn record. Octets that are not a journal have none.
#[must_use]
pub fn kept_messages(journal: &[u8]) -> Vec<Kept> {
    let mut messages = Vec::new();
    let Some((header, halves)) = journal.split_at_checked(PAGE) else {
        return messages;
    };
    let mut header = Reader(header);
    if header.take(MAGIC.len()) != Some(&MAGIC) {
        return messages;
    }
    let synced = header.long().unwrap_or_default();
    for half in halves.chunks(HALF) {
        let mut left = Reader(half);
        let mut epoch = None;
        while let Some((of, body)) = record(&mut left) {
            // Records of an earlier use of this half may follow the last one.
            if *epoch.get_or_insert(of) != of || of < synced {
                break;
            }
            let mut body = Reader(body);
            while let Some(message) = body.message() {
                messages.push(message);
            }
        }
    }
    messages
}

/// Take the next record, if there is one and it is complete: its epoch and its messages.
fn record<'a>(left: &mut Reader<'a>) -> Option<(u64, &'a [u8])> {
    let magic = left.take(MAGIC.len())?;
    let epoch = left.long()?;
    let length = left.count()?;
    let sum = u32::from_le_bytes(*left.take(4)?.first_chunk()?);
    let body = left.take(length)?;
    (magic == MAGIC && sum == checksum(epoch, body)).then_some((epoch, body))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(length)?;
        self.0 = left;
        Some(taken)
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(*self.take(4)?.first_chunk()?)).ok()
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    /// The next message of a record; `None` at its end, which is filled with zeros.
    fn message(&mut self) -> Option<Kept> {
        let modified = i64::from_le_bytes(*self.take(8)?.first_chunk()?);
        let paths = (0..self.count()?)
            .map(|_| {
                let length = self.count()?;
                Some(std::str::from_utf8(self.take(length)?).ok()?.to_owned())
            })
            .collect::<Option<Vec<_>>>()?;
        let length = self.count()?;
        let octets = self.take(length)?.to_vec();
        (!paths.is_empty()).then_some(Kept {
            paths,
            modified,
            octets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::may_wait;

    #[test]
    fn a_file_may_wait_when_a_journal_says_so_and_when_it_is_new() {
        let now = 1_000_000;
        for (changed, waiting_since, waits) in [
            (now - 10, None, true),
            (now - 119, None, true),
            (now - 121, None, false),
            (now + 3600, None, true),
            // Its sync takes long, or the clock was set forward since.
            (now - 5000, Some(now - 5000), true),
            (now - 5001, Some(now - 5000), true),
            (now - 5002, Some(now - 5000), false),
            (now - 4000, Some(now - 5000), true),
            // The clock was set back since.
            (now - 10, Some(now + 3600), true),
        ] {
            assert_eq!(may_wait(changed, now, waiting_since), waits, "{changed}");
        }
    }
}
