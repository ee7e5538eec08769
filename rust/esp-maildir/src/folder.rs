//! Folders: which paths are allowed, and how folders are made.

use crate::error::Failure;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

const FOLDER_MODE: Mode = Mode::from_raw_mode(0o700);

/// Whether `path` stays below the root from which it is opened.
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

/// Make the Maildir `folder` and what is missing above it; returns every folder on the way, the deepest first.
pub(crate) fn make_maildir(root: BorrowedFd<'_>, folder: &str) -> Result<Vec<String>, Failure> {
    let mut levels: Vec<String> = folder
        .match_indices('/')
        .filter_map(|(at, _)| folder.get(..at))
        .map(str::to_owned)
        .collect();
    levels.push(folder.to_owned());
    levels.extend(["tmp", "new", "cur"].map(|part| format!("{folder}/{part}")));
    for level in &levels {
        match mkdirat(root, level, FOLDER_MODE) {
            Err(Errno::EXIST) | Ok(()) => {}
            Err(error) => return Err(Failure::new("make folder", level, error)),
        }
    }
    levels.reverse();
    levels.push(".".to_owned());
    Ok(levels)
}
