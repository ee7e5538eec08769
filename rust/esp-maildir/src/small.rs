//! Small messages: written to the journal, and to files that are synced later
//! (docs/adr/0009-a-journal-for-small-messages.md).
//!
//! It is known what their files will be before these exist, so the caller can do something else meanwhile
//! (docs/adr/0010-rows-beside-files.md).

use crate::deliver::{Body, Item, Results, Stored, Target, Written, base, place, work, writers};
use crate::error::Failure;
use crate::journal::{FOLDER, LARGEST_MESSAGE, Message, clock};
use crate::store::{Shared, Store};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// If there are more octets, threads inspect them, not the caller.
const MOST_INSPECTED: u64 = 1024 * 1024;

/// A message for which a file is still to be written; the names that the file will get are fixed.
struct Whole {
    unique: String,
    base: String,
    paths: Vec<String>,
    targets: Vec<Target>,
    octets: Vec<u8>,
    modified: i64,
}

/// Messages on their way to the disk.
pub struct Underway<D> {
    /// The messages as they will be on the disk: one for each item, in order.
    pub stored: Vec<Stored<D>>,
    /// Tells whether they are there.
    pub writing: Arc<Writing>,
}

/// The files of a delivery under way.
#[derive(Default)]
pub struct Writing {
    failures: Mutex<Option<Vec<Option<Failure>>>>,
    done: Condvar,
}

impl Writing {
    /// Wait until nothing is under way any more, and return for each message, in order, why it is not there, or `None`.
    #[must_use]
    pub fn failures(&self) -> Vec<Option<Failure>> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(failures) = &*failures {
                return failures.clone();
            }
            failures = self
                .done
                .wait(failures)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self, failures: Vec<Option<Failure>>) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = Some(failures);
        self.done.notify_all();
    }
}

impl Store {
    /// Deliver like [`Store::deliver`], but in a thread, and return at once. At the end that thread calls `then` with
    /// whether everything is durable.
    ///
    /// # Errors
    /// The items, if they cannot be delivered like this, and nothing was done: it is for messages that a journal takes.
    pub fn begin<B, D>(
        &self,
        items: Vec<Item<B>>,
        inspect: fn(&[u8]) -> D,
        then: impl FnOnce(bool) + Send + 'static,
    ) -> Result<Underway<D>, Vec<Item<B>>>
    where
        B: AsRef<[u8]>,
    {
        let octets: u64 = items.iter().map(Item::size).sum();
        if items.is_empty()
            || !self.shared.journal.is_ready()
            || self.is_poisoned()
            || octets > MOST_INSPECTED
            || !self.takes(&items)
        {
            return Err(items);
        }
        let inspected = catch_unwind(AssertUnwindSafe(|| {
            let inspected = items.iter().map(|item| inspected(item, inspect));
            inspected.collect::<Vec<_>>()
        }));
        let Ok(inspected) = inspected else {
            // `deliver` finds out which of them cannot be parsed.
            return Err(items);
        };
        let (whole, stored): (Vec<_>, Vec<_>) = items
            .into_iter()
            .zip(inspected)
            .map(|(item, inspected)| named(self.shared.unique(), item, inspected))
            .unzip();
        let writing = Arc::new(Writing::default());
        let told = Arc::clone(&writing);
        let store = self.clone();
        let job = Box::new(move || {
            let count = whole.len();
            let failures = catch_unwind(AssertUnwindSafe(|| store.write_small(whole)))
                .unwrap_or_else(|_| vec![Some(Failure::internal("write", ".")); count]);
            let durable = failures.iter().all(Option::is_none);
            // Set before `then` is called, so that code called by it does not have to wait.
            told.end(failures);
            then(durable);
        });
        if let Err(job) = self.writers.submit(job) {
            job();
        }
        Ok(Underway { stored, writing })
    }

    /// Whether a journal takes all of these, as long as it has room.
    pub(crate) fn takes<B: AsRef<[u8]>>(&self, items: &[Item<B>]) -> bool {
        self.shared.journaled && items.iter().all(is_small)
    }

    pub(crate) fn deliver_small<B, D>(
        &self,
        items: Vec<Item<B>>,
        inspect: fn(&[u8]) -> D,
    ) -> Vec<Result<Stored<D>, Failure>>
    where
        B: AsRef<[u8]> + Send + 'static,
        D: Send + 'static,
    {
        let octets = items.iter().map(Item::size).sum();
        let items = items
            .into_iter()
            .map(|item| (self.shared.unique(), item))
            .collect();
        let prepared = self
            .pool
            .map_with(writers(octets), items, move |(unique, item)| {
                let inspected = inspected(&item, inspect);
                named(unique, item, inspected)
            });
        let (whole, stored): (Vec<_>, Vec<_>) = prepared.into_iter().map(Option::unzip).unzip();
        let mut failures = self
            .write_small(whole.into_iter().flatten().collect())
            .into_iter();
        stored
            .into_iter()
            .map(|stored| {
                let stored = stored.ok_or_else(|| Failure::internal("parse", "."))?;
                match failures.next() {
                    Some(None) => Ok(stored),
                    Some(Some(failure)) => Err(failure),
                    None => Err(Failure::internal("deliver", ".")),
                }
            })
            .collect()
    }

    /// Make messages durable; returns for each, in order, why it is not, or `None`.
    fn write_small(&self, messages: Vec<Whole>) -> Vec<Option<Failure>> {
        if self.is_poisoned() {
            return messages
                .iter()
                .map(|_| Some(Failure::poisoned(".")))
                .collect();
        }
        let together = self.syncs_together(messages.len());
        let octets = messages
            .iter()
            .map(|message| work(message.octets.len() as u64, message.targets.len()));
        let threads = writers(octets.sum());
        let messages = Arc::new(messages);
        let noted = messages.iter().map(|message| Message {
            paths: &message.paths,
            modified: message.modified,
            octets: &message.octets,
        });
        let record = match self.shared.journal.begin(&self.shared, clock(), noted) {
            Ok(record) => record,
            Err(error) => {
                let failure = self.shared.sync_failed(FOLDER, error);
                return vec![Some(failure); messages.len()];
            }
        };
        let shared = Arc::clone(&self.shared);
        let written: Results = {
            let messages = Arc::clone(&messages);
            let numbers = (0..messages.len()).collect();
            let write = move |number: usize| shared.write_whole(messages.get(number)?);
            let written = self.pool.map_with(threads, numbers, write);
            let written = written.into_iter().map(Option::flatten);
            written
                .map(|done| done.unwrap_or_else(|| Err(Failure::internal("write", "."))))
                .collect()
        };
        // Without nameless files, it would not be noticed that a folder is on another file system.
        let elsewhere = self.shared.without_nameless.load(Ordering::Relaxed)
            || written.iter().flatten().any(Written::is_elsewhere);
        let kept = match record.filter(|_| !elsewhere && written.iter().any(Result::is_ok)) {
            Some(record) => match record.keep() {
                Ok(()) => written,
                Err(error) => {
                    let failure = self.shared.sync_failed(FOLDER, error);
                    self.shared.take_all_back(written, &failure)
                }
            },
            None => self.synced(written, together),
        };
        kept.into_iter()
            .map(|done| done.map(|written| self.shared.finish(&written)).err())
            .collect()
    }
}

impl Shared {
    fn write_whole(&self, message: &Whole) -> Option<Result<Written, Failure>> {
        let folder = &message.targets.first()?.folder;
        let size = message.octets.len() as u64;
        Some(
            self.write_source(folder, &message.unique, &message.octets)
                .and_then(|source| {
                    self.name(
                        source,
                        &message.base,
                        &message.targets,
                        size,
                        message.modified,
                    )
                }),
        )
    }
}

fn is_small<B: AsRef<[u8]>>(item: &Item<B>) -> bool {
    matches!(item.body, Body::Memory(_))
        && item.size() <= LARGEST_MESSAGE
        && !item.targets.is_empty()
        && item.targets.iter().all(|target| target.check().is_ok())
}

/// All octets of a message in memory, and the result of the inspection.
fn inspected<B: AsRef<[u8]>, D>(item: &Item<B>, inspect: fn(&[u8]) -> D) -> (Vec<u8>, D) {
    let body = match &item.body {
        Body::Memory(body) => body.as_ref(),
        Body::Spool(_) => &[],
    };
    let octets = [item.prefix.as_ref(), body].concat();
    let inspected = inspect(&octets);
    (octets, inspected)
}

fn named<B, D>(
    unique: String,
    item: Item<B>,
    (octets, inspected): (Vec<u8>, D),
) -> (Whole, Stored<D>) {
    let size = octets.len() as u64;
    let base = base(&unique, size);
    let paths: Vec<_> = item
        .targets
        .iter()
        .map(|target| place(target, &base))
        .collect();
    let stored = Stored {
        base: base.clone(),
        inspected,
        size,
        paths: paths.clone(),
    };
    let whole = Whole {
        unique,
        base,
        paths,
        targets: item.targets,
        octets,
        modified: item.modified,
    };
    (whole, stored)
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    const LONG: Duration = Duration::from_secs(60);

    fn item(octets: &'static [u8]) -> Item<&'static [u8]> {
        Item {
            prefix: b"",
            body: Body::Memory(octets),
            targets: vec![Target {
                folder: "a".to_owned(),
                letters: None,
            }],
            modified: 0,
        }
    }

    /// A store with one thread, and a journal that is in use.
    fn store(name: &str) -> (std::path::PathBuf, Store) {
        let name = format!("esp-small-{}-{name}", std::process::id());
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir(&root).unwrap();
        let store = Store::open(&root, 1, true, "mx", true).unwrap();
        let began = Instant::now();
        while !store.shared.journal.is_ready() {
            assert!(store.journal_failure().is_none() && began.elapsed() < LONG);
            assert!(
                store
                    .deliver(vec![item(b"x")], |_| ())
                    .iter()
                    .all(Result::is_ok)
            );
        }
        (root, store)
    }

    #[test]
    fn what_is_begun_waits_for_nothing_else_that_the_store_does() {
        let (root, store) = store("busy");
        let (release, blocked) = channel::<()>();
        let (running, runs) = channel();
        let busy = Box::new(move || {
            running.send(()).unwrap();
            let _ = blocked.recv_timeout(LONG);
        });
        assert!(store.pool.submit(busy).is_ok());
        runs.recv().unwrap();

        let (told, verdict) = channel();
        let then = move |durable| told.send(durable).unwrap();
        let Ok(underway) = store.begin(vec![item(b"y")], |octets| octets.len(), then) else {
            panic!("a small message, and a journal");
        };

        assert_eq!(underway.writing.failures(), [None]);
        assert!(verdict.recv().unwrap());
        // The thread is still busy.
        assert!(release.send(()).is_ok());
        assert_eq!(
            underway.stored.first().map(|stored| stored.inspected),
            Some(1)
        );
        store.close();
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn one_that_cannot_be_parsed_keeps_no_other_out() {
        let (root, store) = store("parse");
        let inspect = |octets: &[u8]| assert_ne!(octets, b"poison");
        let items = || vec![item(b"a"), item(b"poison"), item(b"b")];

        let Err(items) = store.begin(items(), inspect, |_| ()) else {
            panic!("one of them cannot be parsed");
        };
        let results = store.deliver(items, inspect);

        let there: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(there, [true, false, true]);
        store.close();
        std::fs::remove_dir_all(root).unwrap();
    }
}
