//! Threads that wait for the disk. They start when first needed, so that a process that delivers nothing has none.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Lock a mutex. No holder can panic half-way through a change, so the data of a poisoned one are still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

pub(crate) struct Pool {
    shared: Arc<Shared>,
    limit: usize,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            shared: Arc::default(),
            limit,
        }
    }

    /// Have a thread do the job.
    ///
    /// # Errors
    /// The job itself, if there is no thread and none can be started.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut queue = lock(&self.shared.queue);
        if queue.idle <= queue.jobs.len() && queue.threads < self.limit {
            let shared = Arc::clone(&self.shared);
            let spawned = thread::Builder::new()
                .name("maildir".to_owned())
                .spawn(move || work(&shared));
            queue.threads += usize::from(spawned.is_ok());
        }
        if queue.threads == 0 {
            return Err(job);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Apply `apply` to each item in parallel; `None` for an item whose call panicked. The caller's thread takes part.
    pub(crate) fn map<T, R, F>(&self, items: Vec<T>, apply: F) -> Vec<Option<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        self.map_with(self.limit, items, apply)
    }

    /// Like `map`, with at most so many threads, including the caller's.
    pub(crate) fn map_with<T, R, F>(
        &self,
        threads: usize,
        items: Vec<T>,
        apply: F,
    ) -> Vec<Option<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        let count = items.len();
        let batch = Arc::new(Batch {
            slots: items
                .into_iter()
                .map(|item| Mutex::new(Slot::Waiting(item)))
                .collect(),
            next: AtomicUsize::new(0),
            left: Mutex::new(count),
            done: Condvar::new(),
            apply,
        });
        for _ in 1..count.min(threads).min(self.limit) {
            let batch = Arc::clone(&batch);
            // If no thread can be had, the caller does everything.
            drop(self.submit(Box::new(move || batch.work())));
        }
        batch.work();
        let mut left = lock(&batch.left);
        while *left > 0 {
            left = batch
                .done
                .wait(left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(left);
        batch
            .slots
            .iter()
            .map(|slot| lock(slot).take_result())
            .collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.arrived.notify_all();
    }
}

fn work(shared: &Shared) {
    let mut queue = lock(&shared.queue);
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            job();
            queue = lock(&shared.queue);
        } else if queue.closed {
            return;
        } else {
            queue.idle += 1;
            queue = shared
                .arrived
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

enum Slot<T, R> {
    Waiting(T),
    Done(R),
    Empty,
}

impl<T, R> Slot<T, R> {
    fn take_item(&mut self) -> Option<T> {
        match std::mem::replace(self, Self::Empty) {
            Self::Waiting(item) => Some(item),
            Self::Done(_) | Self::Empty => None,
        }
    }

    fn take_result(&mut self) -> Option<R> {
        match std::mem::replace(self, Self::Empty) {
            Self::Done(result) => Some(result),
            Self::Waiting(_) | Self::Empty => None,
        }
    }
}

struct Batch<T, R, F> {
    slots: Vec<Mutex<Slot<T, R>>>,
    next: AtomicUsize,
    left: Mutex<usize>,
    done: Condvar,
    apply: F,
}

impl<T, R, F: Fn(T) -> R> Batch<T, R, F> {
    fn work(&self) {
        while let Some(slot) = self.slots.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let item = lock(slot).take_item();
            let result =
                item.and_then(|item| catch_unwind(AssertUnwindSafe(|| (self.apply)(item))).ok());
            if let Some(result) = result {
                *lock(slot) = Slot::Done(result);
            }
            let mut left = lock(&self.left);
            *left -= 1;
            if *left == 0 {
                self.done.notify_all();
            }
        }
    }
}
