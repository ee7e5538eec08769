//! One root of Maildirs, and the state that all its deliveries share.

use crate::error::Failure;
use crate::folder::{is_below, make_maildir, open_folder};
use crate::journal::Journal;
use crate::pool::Pool;
use crate::spool::Spool;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fsync, open, syncfs};
use rustix::io::Errno;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Another program writes much to the same file system if one syncfs(2) takes so long, for it waits for that too.
const SLOW: Duration = Duration::from_millis(250);
/// For so long, files are then synced one by one.
const APART: Duration = Duration::from_secs(30);

/// How many deliveries at once are begun in a process with a journal.
const WRITERS: usize = 2;

/// All Maildirs below one root. Any number of processes may open the same root. Clones share their state.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Arc<Pool>,
    /// For deliveries begun by `begin`, which must not wait behind thousands of links: mailboxes are locked meanwhile.
    pub(crate) writers: Arc<Pool>,
    _last: Arc<Last>,
}

/// Has the journal closed when the last clone of the store is dropped; the journal's own thread keeps only the rest.
struct Last(Arc<Shared>);

pub(crate) struct Shared {
    root: OwnedFd,
    host: String,
    pub(crate) sync: bool,
    /// Whether small messages are written to a journal first; this requires that syncfs(2) reports failed writes.
    pub(crate) journaled: bool,
    pub(crate) journal: Journal,
    poisoned: AtomicBool,
    counter: AtomicU64,
    /// The time of the latest name, microseconds since 1970.
    named_at: AtomicU64,
    /// Whether the file system is known not to have `O_TMPFILE`.
    pub(crate) without_nameless: AtomicBool,
    apart_for_ever: bool,
    /// Locked during syncfs(2): of two calls at once, only one is told that something could not be written.
    syncing: Mutex<()>,
    /// Until when files are synced one by one, because syncing all together was slow.
    apart_until: Mutex<Option<Instant>>,
    /// Whether a nameless file must be linked through `/proc` (kernels before 6.10 without `CAP_DAC_READ_SEARCH`).
    pub(crate) link_through_proc: AtomicBool,
}

impl Store {
    /// Open the root, which must exist, with at most `threads` threads for its files; `journal` is for a process that
    /// delivers all the time, and calls [`Store::close`] at the end.
    ///
    /// # Errors
    /// When `root` is not a folder that may be read.
    pub fn open(
        root: &Path,
        threads: usize,
        sync: bool,
        host: &str,
        journal: bool,
    ) -> Result<Self, Failure> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty())
            .map_err(|error| Failure::new("open root", &root.to_string_lossy(), error))?;
        // Before 5.8, syncfs(2) did not report files that could not be written.
        let apart_for_ever = !kernel_is_at_least(5, 8);
        let shared = Shared {
            root,
            // The Maildir paper says how to write what a file name, or its `:2,` part, cannot contain.
            host: host
                .replace('/', "\\057")
                .replace(':', "\\072")
                .replace(',', "\\054"),
            sync,
            journaled: journal && sync && !apart_for_ever,
            journal: Journal::default(),
            poisoned: AtomicBool::new(false),
            counter: AtomicU64::new(0),
            named_at: AtomicU64::new(0),
            without_nameless: AtomicBool::new(false),
            link_through_proc: AtomicBool::new(false),
            apart_for_ever,
            syncing: Mutex::new(()),
            apart_until: Mutex::new(None),
        };
        let shared = Arc::new(shared);
        Ok(Self {
            pool: Arc::new(Pool::new(threads.max(1))),
            writers: Arc::new(Pool::new(WRITERS)),
            _last: Arc::new(Last(Arc::clone(&shared))),
            shared,
        })
    }

    /// Whether a sync has failed: then every delivery is refused until the process is started again.
    ///
    /// A failed sync is never tried again: the kernel may have marked the lost pages clean, so that another try would
    /// report success (fsync(2), ERRORS).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.shared.is_poisoned()
    }

    /// Why there is no journal, although one was wanted and there was mail for it.
    #[must_use]
    pub fn journal_failure(&self) -> Option<&Failure> {
        self.shared.journal.failure()
    }

    /// Sync what is only in the journal, and remove it. From now on deliveries are synced at once.
    pub fn close(&self) {
        self.shared.journal.close(true);
    }

    /// A file for a large body to be written to.
    ///
    /// # Errors
    /// When the root cannot hold another file.
    pub fn spool(&self) -> Result<Spool, Failure> {
        Spool::open(self.shared.root(), &self.shared.unique())
    }

    /// Make the Maildir `folder` with all folders above it, durably. An existing one is no error.
    ///
    /// # Errors
    /// When a folder cannot be made, or its name would leave the root.
    pub fn make_folder(&self, folder: &str) -> Result<(), Failure> {
        self.shared.make_folder(folder)
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.0.journal.close(false);
    }
}

/// Make everything that was written to the file system of `path` durable, whichever process wrote it.
///
/// # Errors
/// When `path` cannot be opened; from Linux 5.8 on, also when something could not be written.
pub fn sync_file_system(path: &Path) -> Result<(), Failure> {
    let failure = |operation| move |error| Failure::new(operation, &path.to_string_lossy(), error);
    let opened =
        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failure("open"))?;
    syncfs(opened).map_err(failure("sync file system"))
}

impl Shared {
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether a batch is better synced by one syncfs(2): for that, no other program may be writing much.
    pub(crate) fn syncs_together(&self) -> bool {
        if self.apart_for_ever {
            return false;
        }
        let mut apart_until = self
            .apart_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if apart_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        *apart_until = None;
        true
    }

    /// Sync the whole file system: octets, names and folders of everything written before the call.
    pub(crate) fn sync_together(&self) -> Result<(), Failure> {
        let started = Instant::now();
        let one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_poisoned() {
            return Err(Failure::poisoned("."));
        }
        syncfs(self.root()).map_err(|error| self.sync_failed(".", error))?;
        drop(one);
        if started.elapsed() > SLOW {
            *self
                .apart_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + APART);
        }
        Ok(())
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn make_folder(&self, folder: &str) -> Result<(), Failure> {
        if !is_below(folder) {
            return Err(Failure::internal("make folder", folder));
        }
        let levels = make_maildir(self.root(), folder)?;
        if self.sync {
            // Even if they existed already: another thread may have made one a moment ago, and not have come to its own
            // sync yet.
            levels
                .iter()
                .try_for_each(|level| self.sync_folder(level))?;
        }
        Ok(())
    }

    /// Make the names in a folder durable.
    pub(crate) fn sync_folder(&self, folder: &str) -> Result<(), Failure> {
        let opened = open_folder(self.root(), folder)
            .map_err(|error| Failure::new("open folder", folder, error))?;
        fsync(opened).map_err(|error| self.sync_failed(folder, error))
    }

    /// What a failed sync of `path` means, for this file and for all later ones.
    pub(crate) fn sync_failed(&self, path: &str, error: Errno) -> Failure {
        if matches!(error, Errno::NOSPC | Errno::DQUOT) {
            // Delayed allocation (NFS) reports this only now; this file is lost, and the next one is judged on its own.
            return Failure::new("sync", path, error);
        }
        self.poison();
        Failure::sync(path, error)
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// A name that no other delivery on any host has: time, process, counter, host.
    ///
    /// Each is later than the one before by at least a microsecond, even if the clock was not: readers that order
    /// messages by name compare seconds and microseconds and stop there (mbsync 1.4).
    pub(crate) fn unique(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(0));
        let later = |last: u64| now.max(last.saturating_add(1));
        let last = self
            .named_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(later(last))
            });
        let at = later(last.unwrap_or_else(|last| last));
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        format!(
            "{}.M{:06}P{process}Q{count}.{}",
            at / 1_000_000,
            at % 1_000_000,
            self.host
        )
    }
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}
