//! Recipients that were asked about a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::path::Path;

/// Recipients remembered at once; a process that serves more asks more often.
const CAPACITY: usize = 20_000;

/// What is known about recipients, by path, each for a limited time.
#[derive(Debug)]
pub struct Known<R>(Mutex<HashMap<Path, Entry<R>>>);

#[derive(Debug)]
struct Entry<R> {
    value: Arc<R>,
    room: u64,
    until: Instant,
}

impl<R> Default for Known<R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<R> Known<R> {
    /// What is known about a recipient that has room for `size` octets.
    #[must_use]
    pub fn get(&self, path: &Path, size: u64, now: Instant) -> Option<Arc<R>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(path)
            .filter(|entry| now < entry.until && size <= entry.room)
            .map(|entry| Arc::clone(&entry.value))
    }

    /// Remember a recipient that has room for `room` octets.
    pub fn put(&self, path: Path, value: Arc<R>, room: u64, until: Instant, now: Instant) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| now < entry.until);
            if entries.len() >= CAPACITY {
                entries.clear();
            }
        }
        entries.insert(path, Entry { value, room, until });
    }

    /// Forget all recipients.
    pub fn forget(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn path(local_part: &str) -> Path {
        Path {
            local_part: local_part.into(),
            domain: "example.test".into(),
        }
    }

    #[test]
    fn a_recipient_is_known_for_its_time_and_up_to_its_room() {
        let known = Known::default();
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        known.put(path("alice"), Arc::new(1), 100, until, now);
        assert_eq!(known.get(&path("alice"), 100, now).as_deref(), Some(&1));
        assert!(known.get(&path("alice"), 101, now).is_none());
        assert!(known.get(&path("Alice"), 1, now).is_none());
        assert!(known.get(&path("alice"), 1, until).is_none());
        known.forget();
        assert!(known.get(&path("alice"), 1, now).is_none());
    }

    #[test]
    fn those_who_are_known_no_more_make_room() {
        let known = Known::default();
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        for number in 0..CAPACITY {
            let until = if number == 0 { late } else { soon };
            known.put(path(&number.to_string()), Arc::new(number), 1, until, now);
        }
        known.put(path("new"), Arc::new(0), 1, late, soon);
        let kept = ["0", "1", "new"].map(|name| known.get(&path(name), 1, now).is_some());
        assert_eq!(kept, [true, false, true]);
    }
}
