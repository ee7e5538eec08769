//! From octets to durable files, many at once.
//!
//! A message is written to a nameless file (`O_TMPFILE`), linked into every target folder, then synced. So half a
//! message never has a name while the machine stays up, and after a power cut a torn one has no row in the database,
//! since its sync never returned. Small messages are written to a journal, and their files synced later (`small`). The
//! files of any other batch are synced by one syncfs(2), which covers their folders too; a few files, or files for
//! which that is unsafe or slow, are synced one by one. The decisions and their figures:
//! docs/adr/0004-durable-delivery.md and 0009-a-journal-for-small-messages.md.

use crate::error::Failure;
use crate::folder::is_below;
use crate::journal::Kept;
use crate::map::Mapped;
use crate::spool::{FILE_MODE, Spool, is_unsupported, open_nameless, write_all};
use crate::store::{Shared, Store};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, OFlags, Timespec, Timestamps, copy_file_range, fsync, futimens, linkat, openat,
    unlinkat,
};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

/// Octets that are written and parsed in about half a millisecond.
const WORTH_A_THREAD: u64 = 256 * 1024;
/// Making and naming a file takes as long as writing so many octets.
const FILE: u64 = 24 * 1024;
/// Each further name takes as long as writing so many octets.
const NAME: u64 = 5 * 1024;

/// From so many messages on, one syncfs(2) is cheaper than a sync of each file and folder, even beside other writers.
pub(crate) const TOGETHER: usize = 4;

/// One message for any number of folders.
pub struct Item<B> {
    /// Header lines to stand before the body.
    pub prefix: B,
    /// The message as it came.
    pub body: Body<B>,
    /// Where it goes.
    pub targets: Vec<Target>,
    /// Modification time of the file, nanoseconds since 1970: the message's internal date.
    pub modified: i64,
}

impl<B: AsRef<[u8]>> Item<B> {
    pub(crate) fn size(&self) -> u64 {
        let body = match &self.body {
            Body::Memory(octets) => octets.as_ref().len() as u64,
            Body::Spool(spool) => spool.size(),
        };
        self.prefix.as_ref().len() as u64 + body
    }
}

/// Where the octets are.
pub enum Body<B> {
    /// In memory.
    Memory(B),
    /// In a file already.
    Spool(Spool),
}

/// One Maildir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The Maildir's path below the root.
    pub folder: String,
    /// Letters after `:2,` of a file in `cur`; `None` puts the file in `new`.
    pub letters: Option<String>,
}

/// A message that is on the disk.
#[derive(Clone, Debug)]
pub struct Stored<D> {
    /// File name without its `:2,` part, the same in every folder.
    pub base: String,
    /// The result of the inspection.
    pub inspected: D,
    /// Octets.
    pub size: u64,
    /// One path below the root for each target, in order.
    pub paths: Vec<String>,
}

/// A message's file with all its names.
pub(crate) struct Written {
    paths: Vec<String>,
    files: Vec<OwnedFd>,
    temporary: Option<String>,
}

impl Written {
    /// Whether some of its names are a copy, perhaps on another file system.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.files.len() > 1
    }
}

/// One result for each message, in order.
pub(crate) type Results = Vec<Result<Written, Failure>>;

/// What links are made from.
pub(crate) enum Source {
    Nameless(OwnedFd),
    Named(OwnedFd, String),
}

impl Source {
    fn file(&self) -> BorrowedFd<'_> {
        match self {
            Self::Nameless(file) | Self::Named(file, _) => file.as_fd(),
        }
    }
}

impl Store {
    /// Write every item durably into all its folders; `inspect` sees each message's octets once.
    ///
    /// An item succeeds in all its folders or in none.
    pub fn deliver<B, D>(
        &self,
        items: Vec<Item<B>>,
        inspect: fn(&[u8]) -> D,
    ) -> Vec<Result<Stored<D>, Failure>>
    where
        B: AsRef<[u8]> + Send + 'static,
        D: Send + 'static,
    {
        if self.is_poisoned() {
            return items.iter().map(|_| Err(Failure::poisoned("."))).collect();
        }
        if self.takes(&items) {
            return self.deliver_small(items, inspect);
        }
        let together = self.syncs_together(items.len());
        let work = items
            .iter()
            .map(|item| work(item.size(), item.targets.len()));
        let threads = if together || !self.shared.sync {
            writers(work.sum())
        } else {
            usize::MAX
        };
        // Named before threads get them: names show the order in which messages came.
        let named = items
            .into_iter()
            .map(|item| (self.shared.unique(), item))
            .collect();
        let shared = Arc::clone(&self.shared);
        let written = self.pool.map_with(threads, named, move |(unique, item)| {
            shared.write(&unique, item, inspect)
        });
        let (stored, written): (Vec<_>, Results) = written
            .into_iter()
            .map(|done| match done {
                Some(Ok((stored, written))) => (Some(stored), Ok(written)),
                Some(Err(failure)) => (None, Err(failure)),
                None => (None, Err(Failure::internal("parse", "."))),
            })
            .unzip();
        self.synced(written, together)
            .into_iter()
            .zip(stored)
            .map(|(done, stored)| {
                self.shared.finish(&done?);
                stored.ok_or_else(|| Failure::internal("deliver", "."))
            })
            .collect()
    }

    /// Whether the files of so many messages are synced by one syncfs(2).
    pub(crate) fn syncs_together(&self, messages: usize) -> bool {
        self.shared.sync && messages >= TOGETHER && self.shared.syncs_together()
    }

    /// Sync what was written.
    pub(crate) fn synced(&self, written: Results, together: bool) -> Results {
        if !self.shared.sync || written.iter().all(Result::is_err) {
            written
        } else if together && !written.iter().flatten().any(Written::is_elsewhere) {
            match self.shared.sync_together() {
                Ok(()) => written,
                Err(failure) => self.shared.take_all_back(written, &failure),
            }
        } else {
            self.sync_apart(written)
        }
    }

    /// Sync every file, then every folder that got a name.
    fn sync_apart(&self, written: Results) -> Results {
        let shared = Arc::clone(&self.shared);
        let synced = self
            .pool
            .map(written, move |written: Result<Written, Failure>| {
                let written = written?;
                match written.files.iter().try_for_each(fsync) {
                    Ok(()) => Ok(written),
                    Err(error) => {
                        let path = written.paths.first().map_or(".", String::as_str);
                        let failure = shared.sync_failed(path, error);
                        Err(shared.take_back(&written, failure))
                    }
                }
            });
        let synced: Vec<_> = synced
            .into_iter()
            .map(|done| done.unwrap_or_else(|| Err(Failure::internal("sync", "."))))
            .collect();
        let broken = self.sync_folders(&synced);
        synced
            .into_iter()
            .map(|done| {
                let written = done?;
                match written
                    .paths
                    .iter()
                    .find_map(|path| broken.get(parent(path)))
                {
                    Some(failure) => Err(self.shared.take_back(&written, failure.clone())),
                    None => Ok(written),
                }
            })
            .collect()
    }

    /// Sync each folder that got a name, once; return those where that failed.
    fn sync_folders(&self, written: &[Result<Written, Failure>]) -> HashMap<String, Failure> {
        let folders: BTreeSet<&str> = written
            .iter()
            .flatten()
            .flat_map(|written| &written.paths)
            .map(|path| parent(path))
            .collect();
        let shared = Arc::clone(&self.shared);
        let folders: Vec<String> = folders.into_iter().map(str::to_owned).collect();
        let synced = self.pool.map(folders.clone(), move |folder: String| {
            shared.sync_folder(&folder)
        });
        let failures = synced.into_iter().map(|done| match done {
            Some(Ok(())) => None,
            Some(Err(failure)) => Some(failure),
            None => Some(Failure::internal("sync", ".")),
        });
        folders
            .into_iter()
            .zip(failures)
            .filter_map(|(folder, failure)| Some((folder, failure?)))
            .collect()
    }
}

/// The work of writing a message, expressed in octets.
pub(crate) fn work(size: u64, targets: usize) -> u64 {
    let more = u64::try_from(targets.saturating_sub(1)).unwrap_or(u64::MAX);
    (FILE + size).saturating_add(more.saturating_mul(NAME))
}

/// How many threads write and parse so much if none of them waits for the disk: no more than there are cores, and
/// no thread is woken for less work than waking costs.
pub(crate) fn writers(octets: u64) -> usize {
    // Determined once: the answer takes a dozen system calls.
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    let worth = usize::try_from(octets / WORTH_A_THREAD).unwrap_or(usize::MAX);
    worth.clamp(1, *CORES)
}

pub(crate) fn base(unique: &str, size: u64) -> String {
    format!("{unique},S={size}")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| folder)
}

impl Target {
    /// # Errors
    /// When the path would leave the root, or the letters are not valid.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let letters = self.letters.as_deref().unwrap_or_default();
        if is_below(&self.folder) && letters.bytes().all(|letter| letter.is_ascii_alphanumeric()) {
            Ok(())
        } else {
            Err(Failure::internal("deliver", &self.folder))
        }
    }
}

pub(crate) fn place(target: &Target, base: &str) -> String {
    match &target.letters {
        None => format!("{}/new/{base}", target.folder),
        Some(letters) => format!("{}/cur/{base}:2,{letters}", target.folder),
    }
}

impl Shared {
    fn write<B: AsRef<[u8]>, D>(
        &self,
        unique: &str,
        item: Item<B>,
        inspect: fn(&[u8]) -> D,
    ) -> Result<(Stored<D>, Written), Failure> {
        let Some(first) = item.targets.first() else {
            return Err(Failure::internal("deliver to no folder", "."));
        };
        item.targets.iter().try_for_each(Target::check)?;
        let prefix = item.prefix.as_ref();
        let failure = |error| Failure::new("write", &first.folder, error);
        let (source, size, inspected) = match item.body {
            Body::Spool(spool) if spool.linkable && prefix.is_empty() => {
                let size = spool.size();
                let inspected = inspect(Mapped::new(&spool.file, size).map_err(failure)?.octets());
                (Source::Nameless(spool.file), size, inspected)
            }
            Body::Spool(spool) => {
                let source = self.create(&first.folder, unique)?;
                let copied = write_all(source.file(), prefix)
                    .and_then(|()| copy(&spool.file, source.file(), spool.size()));
                let size = prefix.len() as u64 + spool.size();
                let mapped = copied.and_then(|()| Mapped::new(source.file(), size));
                let mapped = mapped.map_err(|error| self.abandon(&source, failure(error)))?;
                let inspected = inspect(mapped.octets());
                (source, size, inspected)
            }
            Body::Memory(body) => {
                let joined;
                let octets = if prefix.is_empty() {
                    body.as_ref()
                } else {
                    joined = [prefix, body.as_ref()].concat();
                    &joined
                };
                let inspected = inspect(octets);
                let source = self.write_source(&first.folder, unique, octets)?;
                (source, octets.len() as u64, inspected)
            }
        };
        let base = base(unique, size);
        let written = self.name(source, &base, &item.targets, size, item.modified)?;
        let stored = Stored {
            base,
            inspected,
            size,
            paths: written.paths.clone(),
        };
        Ok((stored, written))
    }

    /// Make a file of octets in memory; it has no name yet.
    pub(crate) fn write_source(
        &self,
        folder: &str,
        unique: &str,
        octets: &[u8],
    ) -> Result<Source, Failure> {
        let source = self.create(folder, unique)?;
        write_all(source.file(), octets)
            .map_err(|error| self.abandon(&source, Failure::new("write", folder, error)))?;
        Ok(source)
    }

    /// Set a file's time, and give it all its names.
    pub(crate) fn name(
        &self,
        source: Source,
        base: &str,
        targets: &[Target],
        size: u64,
        modified: i64,
    ) -> Result<Written, Failure> {
        let stamp = timestamps(modified);
        let failure = |error| Failure::new("write", base, error);
        futimens(source.file(), &stamp).map_err(|error| self.abandon(&source, failure(error)))?;
        let mut paths = Vec::with_capacity(targets.len());
        let mut copies = Vec::new();
        for target in targets {
            let path = place(target, base);
            match self.link(&source, target, &path, size, &stamp) {
                Ok(copy) => {
                    copies.extend(copy);
                    paths.push(path);
                }
                Err(failure) => {
                    self.undo(&paths, None);
                    return Err(self.abandon(&source, failure));
                }
            }
        }
        let (file, temporary) = match source {
            Source::Nameless(file) => (file, None),
            Source::Named(file, path) => (file, Some(path)),
        };
        copies.push(file);
        Ok(Written {
            paths,
            files: copies,
            temporary,
        })
    }

    fn create(&self, folder: &str, unique: &str) -> Result<Source, Failure> {
        if !self.without_nameless.load(Ordering::Relaxed) {
            match open_nameless(self.root(), ".") {
                Ok(file) => return Ok(Source::Nameless(file)),
                Err(error) if is_unsupported(error) => {
                    self.without_nameless.store(true, Ordering::Relaxed)
                }
                Err(error) => return Err(Failure::new("create", folder, error)),
            }
        }
        let path = format!("{folder}/tmp/{unique}");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let create = || openat(self.root(), &path, flags, FILE_MODE);
        let file = match create() {
            Err(Errno::NOENT) => {
                self.make_folder(folder)?;
                create()
            }
            result => result,
        };
        file.map(|file| Source::Named(file, path.clone()))
            .map_err(|error| Failure::new("create", &path, error))
    }

    /// Give `source` the name `path`. If that is not possible (another mount, too many links) the folder gets a copy,
    /// which is returned, since it needs a sync of its own.
    fn link(
        &self,
        source: &Source,
        target: &Target,
        path: &str,
        size: u64,
        stamp: &Timestamps,
    ) -> Result<Option<OwnedFd>, Failure> {
        let failure = |error| Failure::new("link", path, error);
        match self.try_link(source, path) {
            Ok(()) => return Ok(None),
            Err(Errno::NOENT) => {
                self.make_folder(&target.folder)?;
                match self.try_link(source, path) {
                    Ok(()) => return Ok(None),
                    Err(Errno::XDEV | Errno::MLINK) => {}
                    Err(error) => return Err(failure(error)),
                }
            }
            Err(Errno::XDEV | Errno::MLINK) => {}
            Err(error) => return Err(failure(error)),
        }
        let temporary = format!("{}/tmp/{}", target.folder, self.unique());
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = openat(self.root(), &temporary, flags, FILE_MODE).map_err(failure)?;
        let named = copy(source.file(), file.as_fd(), size)
            .and_then(|()| futimens(&file, stamp))
            .and_then(|()| linkat(self.root(), &temporary, self.root(), path, AtFlags::empty()));
        let _ = unlinkat(self.root(), &temporary, AtFlags::empty());
        named.map(|()| Some(file)).map_err(failure)
    }

    /// Link a file that has names already, and return the new path; if a copy is needed, it is durable.
    pub(crate) fn link_opened(
        &self,
        file: OwnedFd,
        target: &Target,
        base: &str,
        size: u64,
        modified: i64,
    ) -> Result<String, Failure> {
        let path = place(target, base);
        let copy = self.link(
            &Source::Nameless(file),
            target,
            &path,
            size,
            &timestamps(modified),
        )?;
        if let Some(copy) = copy.filter(|_| self.sync)
            && let Err(error) = fsync(copy)
        {
            self.undo(std::slice::from_ref(&path), None);
            return Err(self.sync_failed(&path, error));
        }
        Ok(path)
    }

    /// linkat(2) refuses a name that is taken, so nothing is ever overwritten.
    fn try_link(&self, source: &Source, path: &str) -> rustix::io::Result<()> {
        let file = match source {
            Source::Named(_, temporary) => {
                return linkat(self.root(), temporary, self.root(), path, AtFlags::empty());
            }
            Source::Nameless(file) => file,
        };
        if !self.link_through_proc.load(Ordering::Relaxed) {
            // ENOENT may mean the folder or the missing right: trying the second way shows which.
            match linkat(file, c"", self.root(), path, AtFlags::EMPTY_PATH) {
                Err(Errno::NOENT) => {}
                result => return result,
            }
        }
        let numbered = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        linkat(CWD, numbered, self.root(), path, AtFlags::SYMLINK_FOLLOW)
            .inspect(|()| self.link_through_proc.store(true, Ordering::Relaxed))
    }

    fn abandon(&self, source: &Source, failure: Failure) -> Failure {
        if let Source::Named(_, path) = source {
            self.undo(&[], Some(path));
        }
        failure
    }

    /// Remove names again. What cannot be removed is an orphan, for the janitor.
    pub(crate) fn undo(&self, paths: &[String], temporary: Option<&str>) {
        for path in paths.iter().map(String::as_str).chain(temporary) {
            let _ = unlinkat(self.root(), path, AtFlags::empty());
        }
    }

    fn take_back(&self, written: &Written, failure: Failure) -> Failure {
        self.undo(&written.paths, written.temporary.as_deref());
        failure
    }

    pub(crate) fn take_all_back(&self, written: Results, failure: &Failure) -> Results {
        written
            .into_iter()
            .map(|done| done.and_then(|written| Err(self.take_back(&written, failure.clone()))))
            .collect()
    }

    /// Write a message again under names that it should have; if a copy is needed, it is durable.
    pub(crate) fn write_again(
        &self,
        unique: String,
        message: &Kept,
        targets: Vec<Target>,
    ) -> Result<(), Failure> {
        let item = Item {
            prefix: [].as_slice(),
            body: Body::Memory(message.octets.as_slice()),
            targets,
            modified: message.modified,
        };
        let (stored, written) = self.write(&unique, item, |_| ())?;
        if written.is_elsewhere()
            && let Err(error) = written.files.iter().try_for_each(fsync)
        {
            let failure = Failure::new("sync", &stored.base, error);
            return Err(self.take_back(&written, failure));
        }
        self.finish(&written);
        Ok(())
    }

    pub(crate) fn finish(&self, written: &Written) {
        self.undo(&[], written.temporary.as_deref());
    }
}

fn timestamps(nanoseconds: i64) -> Timestamps {
    const SECOND: i64 = 1_000_000_000;
    let time = Timespec {
        tv_sec: nanoseconds.div_euclid(SECOND),
        tv_nsec: nanoseconds.rem_euclid(SECOND),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Copy `size` octets from the start of `from` to the current position of `to`.
fn copy(from: impl AsFd, to: BorrowedFd<'_>, size: u64) -> rustix::io::Result<()> {
    let mut offset = 0;
    while offset < size {
        let length = usize::try_from(size - offset).unwrap_or(usize::MAX);
        match copy_file_range(&from, Some(&mut offset), to, None, length) {
            Ok(0) => return Err(Errno::IO),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let rest = Mapped::new(&from, size)?;
                let start = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
                return write_all(to, rest.octets().get(start..).unwrap_or_default());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
