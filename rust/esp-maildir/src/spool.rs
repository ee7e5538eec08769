//! A large body being received: a file without a name on the mail file system.

use crate::error::Failure;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::{Errno, write};

pub(crate) const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

/// A file that has no name until it is delivered; dropping it leaves nothing behind, and neither does a crash.
#[derive(Debug)]
pub struct Spool {
    pub(crate) file: OwnedFd,
    /// Whether the file can still be given a name.
    pub(crate) linkable: bool,
    size: u64,
}

impl Spool {
    pub(crate) fn open(root: BorrowedFd<'_>, name: &str) -> Result<Self, Failure> {
        match open_nameless(root, ".") {
            Ok(file) => {
                return Ok(Self {
                    file,
                    linkable: true,
                    size: 0,
                });
            }
            Err(error) if is_unsupported(error) => {}
            Err(error) => return Err(Failure::new("open spool", ".", error)),
        }
        let path = format!(".spool-{name}");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let failure = |error| Failure::new("open spool", &path, error);
        let file = openat(root, &path, flags, FILE_MODE).map_err(failure)?;
        unlinkat(root, &path, AtFlags::empty()).map_err(failure)?;
        Ok(Self {
            file,
            linkable: false,
            size: 0,
        })
    }

    /// Append `octets`.
    ///
    /// # Errors
    /// [`crate::Reason::Full`] when the disk is full; the spool can then only be dropped.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        write_all(self.file.as_fd(), octets)
            .map_err(|error| Failure::new("write", "spool", error))?;
        self.size += octets.len() as u64;
        Ok(())
    }

    /// Octets written.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

pub(crate) fn open_nameless(root: BorrowedFd<'_>, folder: &str) -> rustix::io::Result<OwnedFd> {
    openat(
        root,
        folder,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        FILE_MODE,
    )
}

/// What kernels and file systems without `O_TMPFILE` answer (open(2), BUGS: `EISDIR` before Linux 3.11).
pub(crate) fn is_unsupported(error: Errno) -> bool {
    matches!(
        error,
        Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS
    )
}

pub(crate) fn write_all(file: BorrowedFd<'_>, mut octets: &[u8]) -> rustix::io::Result<()> {
    while !octets.is_empty() {
        match write(file, octets) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => octets = octets.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
