//! Existing messages linked into another folder.

use crate::deliver::{TOGETHER, Target};
use crate::error::Failure;
use crate::files::{Listed, Name};
use crate::folder::is_below;
use crate::journal::{FOLDER as JOURNALS, clock, may_wait, waiting_since};
use crate::store::{Shared, Store};
use rustix::fs::{AtFlags, fstat, fsync, statat};
use std::collections::BTreeSet;

impl Store {
    /// New base names for messages of these sizes, to be used with `link`.
    #[must_use]
    pub fn names(&self, sizes: &[u64]) -> Vec<String> {
        let name = |size| format!("{},S={size}", self.shared.unique());
        sizes.iter().map(name).collect()
    }

    /// Link message files into `folder`, durably, each under the base name given for it; returns for each whether its
    /// source exists. The octets are shared with the source.
    ///
    /// # Errors
    /// When nothing could be linked.
    pub fn link(
        &self,
        sources: &[String],
        folder: &str,
        bases: &[String],
        letters: &[Option<String>],
    ) -> Result<Vec<bool>, Failure> {
        if self.shared.is_poisoned() {
            return Err(Failure::poisoned(folder));
        }
        let mut paths = Vec::with_capacity(sources.len());
        let linked = self
            .shared
            .link_all(sources, folder, bases, letters, &mut paths);
        let linked = linked.and_then(|Linked { there, recent }| {
            if recent {
                self.shared.sync_together()?;
            } else {
                self.shared.sync_parents(&paths)?;
            }
            Ok(there)
        });
        if linked.is_err() {
            self.shared.undo(&paths, None);
        }
        linked
    }
}

struct Linked {
    /// For each source, whether it exists.
    there: Vec<bool>,
    /// Whether the octets of some source may not be durable yet, and have to be.
    recent: bool,
}

impl Shared {
    fn link_all(
        &self,
        sources: &[String],
        folder: &str,
        bases: &[String],
        letters: &[Option<String>],
        paths: &mut Vec<String>,
    ) -> Result<Linked, Failure> {
        let mut listed = Listed::default();
        let mut there = Vec::with_capacity(sources.len());
        let mut recent = false;
        let now = clock();
        let waiting_since = if self.sync {
            waiting_since(self)
                .map_err(|error| Failure::new("look for journals", JOURNALS, error))?
        } else {
            None
        };
        let together = sources.len() >= TOGETHER && self.syncs_together() && self.is_here(folder);
        for ((source, base), letters) in sources.iter().zip(bases).zip(letters) {
            let target = Target {
                folder: folder.to_owned(),
                letters: letters.clone(),
            };
            target.check()?;
            if base.contains('/') || !is_below(base) {
                return Err(Failure::internal("link", base));
            }
            let failure = |error| Failure::new("open", source, error);
            let Some(name) = Name::of(source) else {
                return Err(Failure::internal("link", source));
            };
            let Some((opened, _)) = listed.open(self.root(), source, &name).map_err(failure)?
            else {
                there.push(false);
                continue;
            };
            let status = fstat(&opened).map_err(failure)?;
            let size = u64::try_from(status.st_size).unwrap_or_default();
            let modified = status.st_mtime * 1_000_000_000
                + i64::try_from(status.st_mtime_nsec).unwrap_or_default();
            if self.sync && may_wait(status.st_ctime, now, waiting_since) {
                if together {
                    recent = true;
                } else {
                    fsync(&opened).map_err(|error| self.sync_failed(source, error))?;
                }
            }
            let path = self.link_opened(opened, &target, base, size, modified)?;
            paths.push(path);
            there.push(true);
        }
        Ok(Linked { there, recent })
    }

    /// Whether a sync of the root's file system makes names in a folder durable: the folder may be on another one.
    fn is_here(&self, folder: &str) -> bool {
        let here = fstat(self.root()).map(|root| root.st_dev);
        let there = statat(self.root(), folder, AtFlags::SYMLINK_NOFOLLOW).map(|at| at.st_dev);
        here.is_ok() && here == there
    }

    /// Sync the folders of `paths`; the octets are durable already.
    fn sync_parents(&self, paths: &[String]) -> Result<(), Failure> {
        if !self.sync {
            return Ok(());
        }
        let folders: BTreeSet<&str> = paths
            .iter()
            .filter_map(|path| path.rsplit_once('/'))
            .map(|(folder, _)| folder)
            .collect();
        folders
            .into_iter()
            .try_for_each(|folder| self.sync_folder(folder))
    }
}
