//! Message files of one Maildir folder, found even after they were renamed.

use crate::flags;
use crate::index::{MailboxIndex, Row};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FsWord, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A listing of the folder; made while files are renamed, it may lack some or have old names.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    made: Option<HashMap<String, PathBuf>>,
    /// How many missing names were looked for again.
    again: usize,
}

/// Missing names are looked for again, but only a few: if there are many, most files are really gone.
const MOST_AGAIN: usize = 8;

/// `f_type` (statfs(2)) of ext2 to ext4, XFS, Btrfs, F2FS and tmpfs: they open a file whose name is in memory without
/// asking anybody. A network's (NFS, CephFS), FUSE's and whatever may be in front of these has to ask for each `open`.
const LOCAL: [FsWord; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994];

/// Opens message files; remembers one listing of the folder.
#[derive(Debug, Default)]
pub(crate) struct Files {
    listing: Listing,
    /// The Maildir folder: opening a file relative to it is faster than by its whole path.
    folder: Option<OwnedFd>,
}

/// Letters of Maildir for a flag set, in the order of the alphabet.
fn letters(bits: i64) -> String {
    [
        (flags::DRAFT, 'D'),
        (flags::FLAGGED, 'F'),
        (flags::ANSWERED, 'R'),
        (flags::SEEN, 'S'),
        (flags::DELETED, 'T'),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .map(|(_, letter)| letter)
    .collect()
}

fn try_open(path: &Path) -> std::io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn list(folder: &Path) -> HashMap<String, PathBuf> {
    let mut listing = HashMap::new();
    for part in ["new", "cur"] {
        let Ok(entries) = std::fs::read_dir(folder.join(part)) else {
            continue;
        };
        for entry in entries.flatten() {
            if let Ok(name) = entry.file_name().into_string() {
                let base = name.split(':').next().unwrap_or_default().to_owned();
                listing.insert(base, entry.path());
            }
        }
    }
    listing
}

/// The file with a base name in a Maildir folder, or `None` if there is none any more.
///
/// It may have been renamed since its letters were `known`: either by a worker, to the letters of the flags
/// (`expected`), or by another program; then the folder is listed, once for each `listing`.
///
/// # Errors
/// Those of the file system, except that there is no such file.
pub(crate) fn open_named(
    folder: &Path,
    base: &str,
    known: Option<&str>,
    expected: Option<&str>,
    listing: &mut Listing,
) -> std::io::Result<Option<File>> {
    let cur = |letters: &str| folder.join("cur").join(format!("{base}:2,{letters}"));
    let first = match known {
        Some(letters) => cur(letters),
        None => folder.join("new").join(base),
    };
    if let Some(file) = try_open(&first)? {
        return Ok(Some(file));
    }
    if let Some(letters) = expected
        && let Some(file) = try_open(&cur(letters))?
    {
        return Ok(Some(file));
    }
    // Two more attempts: the file may be renamed again after the listing, which may be as old as the command, or while
    // it is made, so that it may lack the file.
    let mut anew = 0;
    loop {
        let made = listing.made.get_or_insert_with(|| {
            anew += 1;
            list(folder)
        });
        match made.get(base) {
            Some(path) => {
                if let Some(file) = try_open(path)? {
                    return Ok(Some(file));
                }
            }
            None if listing.again == MOST_AGAIN => return Ok(None),
            None => listing.again += 1,
        }
        if anew == 2 {
            return Ok(None);
        }
        listing.made = None;
    }
}

/// Open a file if the kernel can do so without reading the disk. Then opening and reading write nothing either:
/// otherwise a new access time would have to wait for the file system's journal.
fn open_cached(path: &Path) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOATIME;
    let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED)?;
    Ok(file.into())
}

impl Files {
    /// The file of a message, or `None` if that needs the disk or a listing; and always `None` until `open` has found
    /// that the mailbox is on a disk of this machine.
    pub(crate) fn open_cached(index: &MailboxIndex, row: &Row) -> Option<File> {
        if !index.on_local_disk.load(Ordering::Relaxed) {
            return None;
        }
        let (base, known) = index.read().file(row);
        let cur = |letters: &str| index.folder.join("cur").join(format!("{base}:2,{letters}"));
        let first = match known {
            Some(letters) => cur(&letters),
            None => index.folder.join("new").join(&*base),
        };
        // As in `open_named`: a worker may have renamed it. If a name does not exist, the kernel mostly cannot tell so
        // without the disk. Other obstacles are found by the caller that may wait.
        open_cached(&first)
            .or_else(|_| open_cached(&cur(&letters(row.flags))))
            .ok()
    }

    /// The file of a message, or `None` if there is none any more.
    ///
    /// # Errors
    /// Those of the file system, except that there is no such file.
    pub(crate) fn open(
        &mut self,
        index: &MailboxIndex,
        row: &Row,
    ) -> std::io::Result<Option<File>> {
        let (base, known) = index.read().file(row);
        let name = match &known {
            Some(letters) => format!("cur/{base}:2,{letters}"),
            None => format!("new/{base}"),
        };
        let found = match self.open_below(&index.folder, &name)? {
            Some(file) => Some(file),
            None => open_named(
                &index.folder,
                &base,
                known.as_deref(),
                Some(&letters(row.flags)),
                &mut self.listing,
            )?,
        };
        if let Some(file) = &found
            && !index.on_local_disk.load(Ordering::Relaxed)
            && rustix::fs::fstatfs(file).is_ok_and(|disk| LOCAL.contains(&disk.f_type))
        {
            index.on_local_disk.store(true, Ordering::Relaxed);
        }
        Ok(found)
    }

    fn open_below(&mut self, folder: &Path, name: &str) -> std::io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = match self.folder.take() {
            Some(opened) => Ok(opened),
            None => rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty()),
        };
        let file = opened.and_then(|opened| {
            rustix::fs::openat(self.folder.insert(opened), name, flags, Mode::empty())
        });
        match file {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_listing_lacks_is_looked_for_again_some_times() {
        let folder = std::env::temp_dir().join(format!("esp-files-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("cur")).unwrap();
        let mut listing = Listing {
            made: Some(HashMap::new()),
            again: 0,
        };
        std::fs::write(folder.join("cur/1.host:2,FS"), b"one").unwrap();
        let mut open = |base: &str| open_named(&folder, base, None, Some("S"), &mut listing);
        assert!(open("1.host").unwrap().is_some());
        std::fs::rename(
            folder.join("cur/1.host:2,FS"),
            folder.join("cur/1.host:2,FRS"),
        )
        .unwrap();
        assert!(open("1.host").unwrap().is_some());
        for _ in 0..MOST_AGAIN {
            assert!(open("2.host").unwrap().is_none());
        }
        std::fs::write(folder.join("cur/2.host:2,FS"), b"two").unwrap();
        assert!(open("2.host").unwrap().is_none());
        assert!(open("1.host").unwrap().is_some());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
