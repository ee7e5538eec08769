//! Existing files: found, read, renamed, removed.

use crate::error::Failure;
use crate::folder::{is_below, open_folder};
use crate::store::Store;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, fstat, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::{Errno, pread};
use std::collections::{HashMap, HashSet};

/// A message file as it is in its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `tmp`, `new` or `cur`.
    pub part: &'static str,
    /// Name without `:2,…`.
    pub base: String,
    /// Letters after `:2,`; `None` without that part.
    pub letters: Option<String>,
    /// Octets, as the file system counts them.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified: i64,
    /// When the name or the inode last changed, nanoseconds since 1970: no earlier than the last link was made.
    pub changed: i64,
    /// Inode, the same for links of one message.
    pub inode: u64,
}

/// A file whose name is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Name without `:2,…`.
    pub base: String,
    /// The letters that it is known to have; `None` in `new`.
    pub from: Option<String>,
    /// The letters that it is to have; `None` for `new`.
    pub to: Option<String>,
}

fn name(base: &str, letters: Option<&str>) -> String {
    match letters {
        None => format!("new/{base}"),
        Some(letters) => format!("cur/{base}:2,{letters}"),
    }
}

/// Split the name of a file into base and letters; another program's info (`:1,`) counts as no letters.
fn parse(file: &str) -> (&str, Option<&str>) {
    match file.split_once(":2,") {
        Some((base, letters)) => (base, Some(letters)),
        None => (file.split_once(':').map_or(file, |(base, _)| base), None),
    }
}

/// The files in a part of a folder, without hidden ones; empty if there is no such part.
pub(crate) fn names(
    folder: BorrowedFd<'_>,
    part: &str,
) -> rustix::io::Result<Vec<(String, FileType)>> {
    let opened = match open_folder(folder, part) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        result => result?,
    };
    let mut found = Vec::new();
    for entry in Dir::new(opened)? {
        let entry = entry?;
        // A name that is not UTF-8 was not made by us.
        if let Ok(file) = entry.file_name().to_str()
            && !file.starts_with('.')
        {
            found.push((file.to_owned(), entry.file_type()));
        }
    }
    Ok(found)
}

/// Where the file `base` is now, `new/…` or `cur/…`.
fn find(folder: BorrowedFd<'_>, base: &str) -> rustix::io::Result<String> {
    for part in ["cur", "new"] {
        for (file, _) in names(folder, part)? {
            if parse(&file).0 == base {
                return Ok(format!("{part}/{file}"));
            }
        }
    }
    Err(Errno::NOENT)
}

impl Store {
    fn folder(&self, operation: &'static str, folder: &str) -> Result<OwnedFd, Failure> {
        if !is_below(folder) {
            return Err(Failure::internal(operation, folder));
        }
        open_folder(self.shared.root(), folder)
            .map_err(|error| Failure::new(operation, folder, error))
    }

    /// All message files of a Maildir, including those in `tmp`.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be read.
    pub fn scan(&self, folder: &str) -> Result<Vec<Entry>, Failure> {
        let opened = self.folder("scan", folder)?;
        let mut entries = Vec::new();
        for part in ["tmp", "new", "cur"] {
            let failure = |error| Failure::new("scan", &format!("{folder}/{part}"), error);
            for (file, _) in names(opened.as_fd(), part).map_err(failure)? {
                let status =
                    match statat(&opened, format!("{part}/{file}"), AtFlags::SYMLINK_NOFOLLOW) {
                        // Renamed or removed since it was listed.
                        Err(Errno::NOENT) => continue,
                        result => result.map_err(failure)?,
                    };
                if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
                    continue;
                }
                let (base, letters) = parse(&file);
                entries.push(Entry {
                    part,
                    base: base.to_owned(),
                    letters: letters.map(str::to_owned),
                    size: u64::try_from(status.st_size).unwrap_or_default(),
                    modified: status.st_mtime * 1_000_000_000
                        + i64::try_from(status.st_mtime_nsec).unwrap_or_default(),
                    changed: status.st_ctime * 1_000_000_000
                        + i64::try_from(status.st_ctime_nsec).unwrap_or_default(),
                    inode: status.st_ino,
                });
            }
        }
        Ok(entries)
    }

    /// Read `length` octets from `offset`, fewer at the end of the file; `None` reads all.
    ///
    /// The name is tried as given; if another program has changed its letters, the folder is searched.
    ///
    /// # Errors
    /// [`crate::Reason::Missing`] when the message is gone.
    pub fn read(
        &self,
        folder: &str,
        base: &str,
        letters: Option<&str>,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Vec<u8>, Failure> {
        let opened = self.folder("read", folder)?;
        if base.contains('/') {
            return Err(Failure::internal("read", base));
        }
        let failure = |error| Failure::new("read", &format!("{folder}/{base}"), error);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = |path: &str| openat(&opened, path, flags, Mode::empty());
        let file = match open(&name(base, letters)) {
            // Twice: it may be renamed again between the search and the open.
            Err(Errno::NOENT) => find(opened.as_fd(), base)
                .and_then(|path| open(&path))
                .or_else(|_| find(opened.as_fd(), base).and_then(|path| open(&path))),
            result => result,
        };
        let file = file.map_err(failure)?;
        let size = u64::try_from(fstat(&file).map_err(failure)?.st_size).unwrap_or_default();
        let wanted = size.saturating_sub(offset).min(length.unwrap_or(u64::MAX));
        read_at(&file, offset, wanted).map_err(failure)
    }

    /// Rename files of one Maildir to their new letters; returns for each whether it has them now.
    ///
    /// Not synced: the flags are in the database, and names may follow later.
    ///
    /// # Errors
    /// When the folder does not exist.
    pub fn rename(
        &self,
        folder: &str,
        renames: &[Rename],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let opened = self.folder("rename", folder)?;
        let mut listed: Option<HashMap<String, String>> = None;
        let mut rename = |change: &Rename| {
            let letters = change.to.as_deref();
            if change.base.contains('/')
                || !letters
                    .unwrap_or_default()
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric())
            {
                return Err(Failure::internal("rename", &change.base));
            }
            let to = name(&change.base, letters);
            let from = name(&change.base, change.from.as_deref());
            let renamed = match move_file(opened.as_fd(), &from, &to) {
                Err(Errno::NOENT) => {
                    let found = listed
                        .get_or_insert_with(|| list(opened.as_fd()))
                        .get(&change.base);
                    found.map_or(Err(Errno::NOENT), |from| {
                        move_file(opened.as_fd(), from, &to)
                    })
                }
                result => result,
            };
            renamed.map_err(|error| {
                Failure::new("rename", &format!("{folder}/{}", change.base), error)
            })
        };
        Ok(renames.iter().map(&mut rename).collect())
    }

    /// Remove files by path below the root, whatever letters they have by now; returns the failures.
    ///
    /// A missing file is no failure.
    pub fn unlink(&self, paths: &[String]) -> Vec<Failure> {
        let root = self.shared.root();
        let mut listed = Listed::default();
        let mut failures = Vec::new();
        for path in paths {
            let removed = match Name::of(path) {
                None => Err(Errno::INVAL),
                Some(name) => match unlinkat(root, path, AtFlags::empty()) {
                    Err(Errno::NOENT) => listed
                        .path(root, &name)
                        .map_or(Ok(()), |found| unlinkat(root, found, AtFlags::empty())),
                    result => result,
                },
            };
            if let Err(error) = removed
                && error != Errno::NOENT
            {
                failures.push(Failure::new("unlink", path, error));
            }
        }
        failures
    }
}

/// The path of a message file below the root: `<folder>/<part>/<base>:2,<letters>`.
pub(crate) struct Name<'a> {
    pub(crate) folder: &'a str,
    pub(crate) base: &'a str,
    pub(crate) letters: Option<&'a str>,
}

impl<'a> Name<'a> {
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let (rest, file) = path.rsplit_once('/')?;
        let (folder, _part) = rest.rsplit_once('/')?;
        let (base, letters) = parse(file);
        is_below(path).then_some(Self {
            folder,
            base,
            letters,
        })
    }
}

/// Maildirs that were searched because files there have other letters by now.
#[derive(Default)]
pub(crate) struct Listed {
    /// The only base names that will be asked for; if empty, any.
    wanted: HashSet<String>,
    /// Where the files are, by folder and base.
    folders: HashMap<String, HashMap<String, String>>,
}

impl Listed {
    /// For few files of folders that may have a hundred thousand others.
    pub(crate) fn only(wanted: HashSet<String>) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// The path of a file by now, as far as known.
    fn path(&mut self, root: BorrowedFd<'_>, name: &Name<'_>) -> Option<String> {
        let Self { wanted, folders } = self;
        let names = folders.entry(name.folder.to_owned()).or_insert_with(|| {
            let mut names = open_folder(root, name.folder)
                .map(|opened| list(opened.as_fd()))
                .unwrap_or_default();
            if !wanted.is_empty() {
                names.retain(|base, _| wanted.contains(base));
                names.shrink_to_fit();
            }
            names
        });
        let found = names.get(name.base)?;
        Some(format!("{}/{found}", name.folder))
    }

    /// Open a message file under the name that it has by now, and return that name; `None` if it is gone.
    pub(crate) fn open(
        &mut self,
        root: BorrowedFd<'_>,
        path: &str,
        name: &Name<'_>,
    ) -> rustix::io::Result<Option<(OwnedFd, String)>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut there = path.to_owned();
        let mut opened = openat(root, &there, flags, Mode::empty());
        // It may be renamed again after its folder was searched: then the folder is searched once more.
        for again in [false, true] {
            if !matches!(opened, Err(Errno::NOENT)) {
                break;
            }
            if again {
                self.folders.remove(name.folder);
            }
            let Some(found) = self.path(root, name) else {
                return Ok(None);
            };
            there = found;
            opened = openat(root, &there, flags, Mode::empty());
        }
        match opened {
            Err(Errno::NOENT) => Ok(None),
            result => result.map(|file| Some((file, there))),
        }
    }
}

/// Read `wanted` octets from `offset`, fewer at the end of the file.
pub(crate) fn read_at(file: &OwnedFd, offset: u64, wanted: u64) -> rustix::io::Result<Vec<u8>> {
    let mut octets = vec![0; usize::try_from(wanted).map_err(|_| Errno::FBIG)?];
    let mut filled = 0;
    while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    octets.truncate(filled);
    Ok(octets)
}

fn list(folder: BorrowedFd<'_>) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for part in ["new", "cur"] {
        for (file, _) in names(folder, part).unwrap_or_default() {
            found.insert(parse(&file).0.to_owned(), format!("{part}/{file}"));
        }
    }
    found
}

fn move_file(folder: BorrowedFd<'_>, from: &str, to: &str) -> rustix::io::Result<()> {
    if from == to {
        return statat(folder, from, AtFlags::SYMLINK_NOFOLLOW).map(drop);
    }
    match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        // Not every file system supports it; base names are unique, so nothing is lost without it.
        Err(Errno::INVAL | Errno::NOSYS) => renameat(folder, from, folder, to),
        result => result,
    }
}
