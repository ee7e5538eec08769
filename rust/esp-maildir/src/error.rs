//! What can go wrong with a file, and what it means for later deliveries.

use rustix::io::Errno;
use std::fmt;

/// What a failure means for a caller that wants to deliver again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No room on the disk, or the disk quota of our user is used up (`errno` tells which).
    Full,
    /// A sync failed, now or earlier: what the kernel still remembers is unknown, so nothing is accepted any more.
    Poisoned,
    /// The file, or its folder, does not exist.
    Missing,
    /// Any other error; it concerns this item alone.
    Failed,
}

/// A failed operation on a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it means.
    pub reason: Reason,
    /// What was tried: `write`, `link`, `sync` …
    pub operation: &'static str,
    /// The path, below the root.
    pub path: String,
    /// The system's error number; 0 if the error is not the system's.
    pub errno: i32,
}

impl Failure {
    pub(crate) fn new(operation: &'static str, path: &str, errno: Errno) -> Self {
        let reason = match errno {
            Errno::NOSPC | Errno::DQUOT => Reason::Full,
            Errno::NOENT => Reason::Missing,
            _ => Reason::Failed,
        };
        Self {
            reason,
            operation,
            path: path.to_owned(),
            errno: errno.raw_os_error(),
        }
    }

    /// A sync failed, with this error.
    pub(crate) fn sync(path: &str, errno: Errno) -> Self {
        Self {
            reason: Reason::Poisoned,
            operation: "sync",
            path: path.to_owned(),
            errno: errno.raw_os_error(),
        }
    }

    /// A sync failed earlier.
    pub(crate) fn poisoned(path: &str) -> Self {
        Self::sync(path, Errno::IO)
    }

    pub(crate) fn internal(operation: &'static str, path: &str) -> Self {
        Self {
            reason: Reason::Failed,
            operation,
            path: path.to_owned(),
            errno: 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            path,
            errno,
            ..
        } = self;
        if *errno == 0 {
            write!(f, "{operation} {path}: refused")
        } else {
            write!(
                f,
                "{operation} {path}: {}",
                std::io::Error::from_raw_os_error(*errno)
            )
        }
    }
}

impl std::error::Error for Failure {}
