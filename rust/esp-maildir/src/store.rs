//! One root of Maildirs and the state all its deliveries share.

use crate::error::Failure;
use crate::folder::make_maildir;
use crate::pool::Pool;
use crate::spool::Spool;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// All Maildirs below one root. Any number of processes may have one on the same root.
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
}

pub(crate) struct Shared {
    root: OwnedFd,
    host: String,
    pub(crate) sync: bool,
    poisoned: AtomicBool,
    counter: AtomicU64,
    /// Whether the file system is known not to have `O_TMPFILE`.
    pub(crate) without_nameless: AtomicBool,
    /// Whether a nameless file must be linked through `/proc` (kernels before 6.10 without `CAP_DAC_READ_SEARCH`).
    pub(crate) link_through_proc: AtomicBool,
}

impl Store {
    /// Open the root, which must exist, with at most `threads` threads for its files.
    ///
    /// # Errors
    /// When `root` is no folder that may be read.
    pub fn open(root: &Path, threads: usize, sync: bool, host: &str) -> Result<Self, Failure> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty())
            .map_err(|error| Failure::new("open root", &root.to_string_lossy(), error))?;
        let shared = Shared {
            root,
            // As the Maildir paper says for what a file name, or its `:2,` part, cannot hold.
            host: host
                .replace('/', "\\057")
                .replace(':', "\\072")
                .replace(',', "\\054"),
            sync,
            poisoned: AtomicBool::new(false),
            counter: AtomicU64::new(0),
            without_nameless: AtomicBool::new(false),
            link_through_proc: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
            pool: Pool::new(threads.max(1)),
        })
    }

    /// Whether a sync failed: then every delivery is refused until the process is started anew.
    ///
    /// A failed sync is never tried again: the kernel may have marked the lost pages clean, so that the second try would
    /// report success (fsync(2), ERRORS).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.shared.is_poisoned()
    }

    /// A place for a large body to stream to.
    ///
    /// # Errors
    /// When the root cannot hold another file.
    pub fn spool(&self) -> Result<Spool, Failure> {
        Spool::open(self.shared.root(), &self.shared.unique())
    }

    /// Make the Maildir `folder` with all above it, durably. One that exists is no error.
    ///
    /// # Errors
    /// When a folder cannot be made, or its name would leave the root.
    pub fn make_folder(&self, folder: &str) -> Result<(), Failure> {
        self.shared.make_folder(folder)
    }
}

impl Shared {
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn make_folder(&self, folder: &str) -> Result<(), Failure> {
        if !crate::folder::is_below(folder) {
            return Err(Failure::internal("make folder", folder));
        }
        let made = make_maildir(self.root(), folder, self.sync);
        if let Err(Failure {
            reason: crate::Reason::Poisoned,
            ..
        }) = made
        {
            self.poisoned.store(true, Ordering::Release);
        }
        made
    }

    /// What a failed sync of `path` means, for it and for all that follow.
    pub(crate) fn sync_failed(&self, path: &str, error: Errno) -> Failure {
        if matches!(error, Errno::NOSPC | Errno::DQUOT) {
            // Delayed allocation (NFS) says so only now; this file is lost, the next one is judged for itself.
            return Failure::new("sync", path, error);
        }
        self.poisoned.store(true, Ordering::Release);
        Failure::poisoned(path, Some(error))
    }

    /// A name no other delivery on any host has: time, process, counter, host.
    pub(crate) fn unique(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        format!(
            "{}.M{:06}P{process}Q{count}.{}",
            now.as_secs(),
            now.subsec_micros(),
            self.host
        )
    }
}
