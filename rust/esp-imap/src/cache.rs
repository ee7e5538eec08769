//! What is cached about messages by content id, for all mailboxes of a process and within a bound.

use crate::copy::{CopyError, CopyReader};
use esp_mime::SearchText;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Columns that `ContentCache::load` reads.
pub const CONTENT_COLUMNS: &str = "id, envelope, bodystructure, body";
/// Columns that `ContentCache::load_indexed` reads.
pub const INDEXED_COLUMNS: &str = "content_id, thread_id, preview";
/// Columns that `TextCache::load_signatures` reads.
pub const SIGNATURE_COLUMNS: &str = "content_id, signature";
/// Columns that `TextCache::load_texts` reads.
pub const TEXT_COLUMNS: &str = "content_id, text";

/// Octets that are dropped together.
const SEGMENT: usize = 1 << 20;

/// `(account, content)`
pub(crate) type ContentKey = (i64, i64);

/// Keys are numbers that our own database assigned, so that nobody can choose colliding ones.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_i64(i64::from(*octet));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.write_i64(value.cast_signed());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_i64(&mut self, value: i64) {
        self.0 = (self.0.rotate_left(23) ^ value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry<const PARTS: usize> {
    segment: u32,
    offset: u32,
    lengths: [u32; PARTS],
}

#[derive(Debug, Default)]
struct Segment {
    octets: Vec<u8>,
    keys: Vec<ContentKey>,
    used: bool,
}

/// An arena of entries of `PARTS` octet strings each; drops the segments used least recently.
pub(crate) struct Arena<const PARTS: usize> {
    entries: HashMap<ContentKey, Entry<PARTS>, BuildHasherDefault<KeyHasher>>,
    segments: HashMap<u32, Segment>,
    order: VecDeque<u32>,
    next: u32,
    octets: usize,
    limit: usize,
}

impl<const PARTS: usize> Arena<PARTS> {
    fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::default(),
            segments: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            octets: 0,
            limit,
        }
    }

    pub(crate) fn contains(&self, key: ContentKey) -> bool {
        self.entries.contains_key(&key)
    }

    pub(crate) fn get(&mut self, key: ContentKey) -> Option<[&[u8]; PARTS]> {
        let entry = self.entries.get(&key)?;
        let segment = self.segments.get_mut(&entry.segment)?;
        segment.used = true;
        let mut rest = segment.octets.get(entry.offset as usize..)?;
        let mut parts = [[].as_slice(); PARTS];
        for (part, length) in parts.iter_mut().zip(entry.lengths) {
            (*part, rest) = rest.split_at_checked(length as usize)?;
        }
        Some(parts)
    }

    pub(crate) fn insert(&mut self, key: ContentKey, parts: [&[u8]; PARTS]) {
        if self.contains(key) {
            return;
        }
        let size: usize = parts.iter().map(|part| part.len()).sum();
        let room = self
            .order
            .back()
            .and_then(|id| self.segments.get(id))
            .is_some_and(|segment| segment.octets.len() + size <= SEGMENT);
        if !room {
            self.make_room(size);
            self.next = self.next.wrapping_add(1);
            self.order.push_back(self.next);
            self.segments.insert(self.next, Segment::default());
        }
        let Some(id) = self.order.back().copied() else {
            return;
        };
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        let Ok(offset) = u32::try_from(segment.octets.len()) else {
            return;
        };
        for part in parts {
            segment.octets.extend_from_slice(part);
        }
        segment.keys.push(key);
        self.octets += size;
        self.entries.insert(
            key,
            Entry {
                segment: id,
                offset,
                lengths: parts.map(|part| u32::try_from(part.len()).unwrap_or(0)),
            },
        );
    }

    fn make_room(&mut self, size: usize) {
        let mut spared = self.order.len();
        while self.octets + size.max(SEGMENT) > self.limit {
            let Some(id) = self.order.pop_front() else {
                return;
            };
            match self.segments.get_mut(&id) {
                Some(segment) if segment.used && spared > 0 => {
                    segment.used = false;
                    spared -= 1;
                    self.order.push_back(id);
                }
                _ => {
                    if let Some(segment) = self.segments.remove(&id) {
                        self.octets -= segment.octets.len();
                        for key in segment.keys {
                            self.entries.remove(&key);
                        }
                    }
                }
            }
        }
    }
}

/// ENVELOPE, BODYSTRUCTURE and BODY wire strings, and what indexing adds: thread and preview.
pub struct ContentCache {
    arena: Mutex<Arena<3>>,
    indexed: Mutex<Arena<2>>,
}

/// What is known about texts: signatures, which rule most messages out, and texts that were searched.
pub struct TextCache {
    signatures: Mutex<Arena<1>>,
    /// Decoded, since decoding takes most of the time of a search.
    texts: Mutex<Arena<1>>,
}

fn lock<const PARTS: usize>(arena: &Mutex<Arena<PARTS>>) -> MutexGuard<'_, Arena<PARTS>> {
    arena.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ContentCache {
    /// A cache that keeps about `max_octets` at most.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            arena: Mutex::new(Arena::new(limit - limit / 8)),
            indexed: Mutex::new(Arena::new(limit / 8)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Arena<3>> {
        lock(&self.arena)
    }

    /// Thread (eight octets, little-endian) and preview.
    pub(crate) fn indexed(&self) -> MutexGuard<'_, Arena<2>> {
        lock(&self.indexed)
    }

    /// How many octets are kept.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.lock().octets + self.indexed().octets
    }

    /// Take a complete COPY stream of `INDEXED_COLUMNS`.
    ///
    /// # Errors
    /// `CopyError` when it is not such a stream.
    pub fn load_indexed(&self, account: i64, octets: &[u8]) -> Result<(), CopyError> {
        let mut arena = self.indexed();
        CopyReader::whole(octets, 3, |mut fields| {
            let content = fields.i64()?;
            let thread = fields.i64()?.to_le_bytes();
            arena.insert((account, content), [&thread, fields.required()?]);
            Ok(())
        })
    }

    /// Take a complete COPY stream of `CONTENT_COLUMNS`.
    ///
    /// # Errors
    /// `CopyError` when it is not such a stream.
    pub fn load(&self, account: i64, octets: &[u8]) -> Result<(), CopyError> {
        let mut arena = self.lock();
        CopyReader::whole(octets, 4, |mut fields| {
            let content = fields.i64()?;
            let parts = [fields.required()?, fields.required()?, fields.required()?];
            arena.insert((account, content), parts);
            Ok(())
        })
    }
}

impl TextCache {
    /// A cache that keeps about `max_octets` at most, a third of them signatures: each takes an eighth of its text, and
    /// the larger a mailbox is, the more they are worth.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            signatures: Mutex::new(Arena::new(limit / 3)),
            texts: Mutex::new(Arena::new(limit - limit / 3)),
        }
    }

    pub(crate) fn signatures(&self) -> MutexGuard<'_, Arena<1>> {
        lock(&self.signatures)
    }

    pub(crate) fn texts(&self) -> MutexGuard<'_, Arena<1>> {
        lock(&self.texts)
    }

    /// How many octets are kept.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.signatures().octets + self.texts().octets
    }

    /// Take a complete COPY stream of `SIGNATURE_COLUMNS`.
    ///
    /// # Errors
    /// `CopyError` when it is not such a stream.
    pub fn load_signatures(&self, account: i64, octets: &[u8]) -> Result<(), CopyError> {
        let mut arena = self.signatures();
        CopyReader::whole(octets, 2, |mut fields| {
            let content = fields.i64()?;
            arena.insert((account, content), [fields.required()?]);
            Ok(())
        })
    }

    /// Take a complete COPY stream of `TEXT_COLUMNS`.
    ///
    /// # Errors
    /// `CopyError` when it is not such a stream.
    pub fn load_texts(&self, account: i64, octets: &[u8]) -> Result<(), CopyError> {
        let mut text = SearchText::default();
        CopyReader::whole(octets, 2, |mut fields| {
            let content = fields.i64()?;
            // A text that cannot be read is left out; the message's file is read instead.
            if text.unpack(fields.required()?) {
                self.keep((account, content), &text);
            }
            Ok(())
        })
    }

    /// Keep a text.
    pub(crate) fn keep(&self, key: ContentKey, text: &SearchText) {
        let lengths = (
            u32::try_from(text.headers().len()),
            u32::try_from(text.text().len()),
        );
        let (Ok(headers), Ok(body)) = lengths else {
            return;
        };
        let mut octets = Vec::with_capacity(text.all().len() + 8);
        octets.extend_from_slice(&headers.to_le_bytes());
        octets.extend_from_slice(&body.to_le_bytes());
        octets.extend_from_slice(text.all());
        self.texts().insert(key, [&octets]);
    }
}

impl<const PARTS: usize> Arena<PARTS> {
    /// Remove from `contents` those that are cached.
    pub(crate) fn retain_missing(&self, account: i64, contents: &mut Vec<i64>) {
        contents.retain(|content| !self.contains((account, *content)));
    }
}

/// Make `text` what was given to `TextCache::keep`.
pub(crate) fn read_text(octets: &[u8], text: &mut SearchText) -> Option<()> {
    let (headers, rest) = octets.split_first_chunk()?;
    let (body, all) = rest.split_first_chunk()?;
    text.assign(
        all,
        usize::try_from(u32::from_le_bytes(*headers)).ok()?,
        usize::try_from(u32::from_le_bytes(*body)).ok()?,
    );
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut arena = Arena::<2>::new(8 * SEGMENT);
        let text = vec![7; SEGMENT / 16];
        arena.insert((1, 0), [b"a", b"bc"]);
        for content in 1..1_000 {
            arena.insert((1, content), [&text, b"x"]);
            assert_eq!(arena.get((1, 0)).unwrap(), [b"a".as_slice(), b"bc"]);
            assert!(arena.octets <= 8 * SEGMENT);
        }
        assert!(arena.contains((1, 999)));
        assert!(!arena.contains((1, 100)));
        assert!(!arena.contains((2, 999)));
        assert_eq!(
            arena.entries.len(),
            arena
                .segments
                .values()
                .map(|segment| segment.keys.len())
                .sum::<usize>()
        );
    }
}
