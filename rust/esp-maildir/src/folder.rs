//! Folders: which paths are allowed, and how they come into being.

use crate::error::Failure;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fsync, mkdirat, openat};
use rustix::io::Errno;

const FOLDER_MODE: Mode = Mode::from_raw_mode(0o700);

/// Whether `path` stays below the root it is opened from.
pub(crate) fn is_below(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && path.split('/').all(|part| !part.is_empty() && part != "..")
}

pub(crate) fn open_folder(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    openat(
        root,
        path,
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
}

fn make(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<()> {
    match mkdirat(root, path, FOLDER_MODE) {
        Err(Errno::EXIST) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Make the Maildir `folder` and what is missing above it; when `durable`, it survives a power cut.
///
/// Every level is synced even when it was there already: another thread may have made it a moment ago and not have
/// come to its own sync.
pub(crate) fn make_maildir(
    root: BorrowedFd<'_>,
    folder: &str,
    durable: bool,
) -> Result<(), Failure> {
    let mut levels: Vec<&str> = folder
        .match_indices('/')
        .filter_map(|(at, _)| folder.get(..at))
        .collect();
    levels.push(folder);
    for level in &levels {
        make(root, level).map_err(|error| Failure::new("make folder", level, error))?;
    }
    for part in ["tmp", "new", "cur"] {
        let path = format!("{folder}/{part}");
        make(root, &path).map_err(|error| Failure::new("make folder", &path, error))?;
    }
    if durable {
        let sync = |path: &str| -> rustix::io::Result<()> { fsync(open_folder(root, path)?) };
        for part in ["tmp", "new", "cur"] {
            let path = format!("{folder}/{part}");
            sync(&path).map_err(|error| sync_failure(&path, error))?;
        }
        for level in levels.iter().rev() {
            sync(level).map_err(|error| sync_failure(level, error))?;
        }
        fsync(root.as_fd()).map_err(|error| sync_failure(".", error))?;
    }
    Ok(())
}

fn sync_failure(path: &str, error: Errno) -> Failure {
    match error {
        // Not the sync but the open failed: somebody removed it again.
        Errno::NOENT | Errno::NFILE | Errno::MFILE => Failure::new("open folder", path, error),
        Errno::NOSPC | Errno::DQUOT => Failure::new("sync", path, error),
        _ => Failure::poisoned(path, Some(error)),
    }
}
