//! Restoring to the Maildirs what a crash left in journals.
//!
//! A journal is left when no process has its lock any more. If the machine stayed up, its messages are in their files,
//! which the kernel had; after a power cut some are missing or torn. The database knows which of these should exist,
//! and under which names by now.

use crate::deliver::Target;
use crate::error::Failure;
use crate::files::{Listed, Name, read_at};
use crate::journal::{FOLDER, Kept, alone, journals, kept_messages};
use crate::store::{Shared, Store};
use rustix::fd::OwnedFd;
use rustix::fs::{
    Advice, AtFlags, FlockOperation, Mode, OFlags, fadvise, flock, fstat, openat, syncfs, unlinkat,
};
use rustix::io::Errno;
use std::sync::Arc;

/// Journals that no process writes to any more. While this object exists, no process makes or looks for journals.
pub struct LeftJournals {
    shared: Arc<Shared>,
    journals: Vec<(String, Result<OwnedFd, Failure>)>,
    _alone: Option<OwnedFd>,
}

impl Store {
    /// Take all journals that were left; waits while another process has them.
    ///
    /// # Errors
    /// When the journals cannot be searched for.
    pub fn left_journals(&self) -> Result<LeftJournals, Failure> {
        let shared = Arc::clone(&self.shared);
        let failure = |error| Failure::new("look for journals", FOLDER, error);
        let (alone, paths) = match alone(&shared) {
            // No process has ever made one; those made from now on are not left ones.
            Err(Errno::NOENT) => (None, Vec::new()),
            alone => (
                Some(alone.map_err(failure)?),
                journals(&shared).map_err(failure)?,
            ),
        };
        let mut left = Vec::new();
        for path in paths {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = match openat(shared.root(), &path, flags, Mode::empty()) {
                // Its process has ended in good order since it was listed.
                Err(Errno::NOENT) => continue,
                result => result.and_then(|file| {
                    flock(&file, FlockOperation::NonBlockingLockExclusive).map(|()| file)
                }),
            };
            match file {
                Err(Errno::WOULDBLOCK) => {}
                // The error is returned when the journal is to be read: it must not keep the others from being used.
                file => {
                    let file = file.map_err(|error| Failure::new("open journal", &path, error));
                    left.push((path, file));
                }
            }
        }
        Ok(LeftJournals {
            shared,
            journals: left,
            _alone: alone,
        })
    }
}

impl LeftJournals {
    /// How many journals there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.journals.len()
    }

    /// The messages of one journal that are not complete in all their folders, each with the names where it is not.
    /// Torn files are removed. A file that cannot be looked at counts as incomplete: `restore` shows whether it can be
    /// written.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn missing(&self, number: usize) -> Result<Vec<Kept>, Failure> {
        let Some((path, file)) = self.journals.get(number) else {
            return Err(Failure::internal("read journal", FOLDER));
        };
        let file = file.as_ref().map_err(Clone::clone)?;
        let failure = |error| Failure::new("read journal", path, error);
        let size = u64::try_from(fstat(file).map_err(failure)?.st_size).unwrap_or_default();
        let mut messages = kept_messages(&read_at(file, 0, size).map_err(failure)?);
        let bases = messages
            .iter()
            .flat_map(|message| &message.paths)
            .filter_map(|path| Name::of(path))
            .map(|name| name.base.to_owned());
        let mut listed = Listed::only(bases.collect());
        for message in &mut messages {
            let Kept { paths, octets, .. } = message;
            let shared = &self.shared;
            paths.retain(|path| {
                !shared
                    .is_whole(path, octets, &mut listed)
                    .unwrap_or_default()
            });
        }
        messages.retain(|message| !message.paths.is_empty());
        Ok(messages)
    }

    /// Write a message again, as one file under each of `paths`, which are missing.
    ///
    /// # Errors
    /// When it could not be written completely.
    pub fn restore(&self, message: &Kept, paths: &[String]) -> Result<(), Failure> {
        let mut base = None;
        let mut targets = Vec::with_capacity(paths.len());
        for path in paths {
            let Some(name) = Name::of(path) else {
                return Err(Failure::internal("restore", path));
            };
            if *base.get_or_insert(name.base) != name.base {
                return Err(Failure::internal("restore", path));
            }
            targets.push(Target {
                folder: name.folder.to_owned(),
                letters: name.letters.map(str::to_owned),
            });
        }
        // The base is composed again, from the same parts.
        let size = format!(",S={}", message.octets.len());
        let Some(unique) = base.and_then(|base| base.strip_suffix(&size)) else {
            return Err(Failure::internal("restore", base.unwrap_or(".")));
        };
        self.shared.write_again(unique.to_owned(), message, targets)
    }

    /// Make durable what was in the journals, and remove them.
    ///
    /// # Errors
    /// When something could not be written; the journals are left again.
    pub fn forget(&self) -> Result<(), Failure> {
        if self.journals.is_empty() {
            return Ok(());
        }
        let failure = |error| Failure::new("sync file system", FOLDER, error);
        syncfs(self.shared.root()).map_err(failure)?;
        for (path, _) in &self.journals {
            unlinkat(self.shared.root(), path, AtFlags::empty()).map_err(failure)?;
        }
        Ok(())
    }
}

impl Shared {
    /// Whether a message is on the disk as it should be; a different file of that name is removed.
    fn is_whole(&self, path: &str, octets: &[u8], listed: &mut Listed) -> Result<bool, Failure> {
        let failure = |error| Failure::new("read", path, error);
        let Some(name) = Name::of(path) else {
            return Err(Failure::internal("read", path));
        };
        let Some((file, there)) = listed.open(self.root(), path, &name).map_err(failure)? else {
            return Ok(false);
        };
        // What the kernel only believes to have written has to be read from the disk.
        fadvise(&file, 0, None, Advice::DontNeed).map_err(failure)?;
        // One octet more than there should be.
        if read_at(&file, 0, octets.len() as u64 + 1).is_ok_and(|read| read == octets) {
            return Ok(true);
        }
        unlinkat(self.root(), &there, AtFlags::empty()).map_err(failure)?;
        Ok(false)
    }
}
