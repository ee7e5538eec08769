//! Where the parts of large messages are, for clients that fetch them piece by piece (`BODY[2]<1048576.1048576>`).
//!
//! A message never changes, so what was found once is valid as long as the mailbox is open.

use crate::fetch_items::{Form, SectionItem};
use esp_mime::Section;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Octets kept for one mailbox; a larger part is not kept.
const OCTETS: usize = 32 << 20;
const ENTRIES: usize = 512;

/// The result of finding a section of a message.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// There is no such part.
    Missing,
    /// It cannot be decoded.
    UnknownEncoding,
    /// It is a range of the file.
    Range(Range<u64>),
    /// It was gathered or decoded.
    Octets(Arc<[u8]>),
}

type Key = (u32, Section, Form);

/// The parts last asked for, within a bound.
#[derive(Debug, Default)]
pub(crate) struct PartCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    parts: HashMap<Key, (u64, Part)>,
    octets: usize,
    clock: u64,
}

fn octets(part: &Part) -> usize {
    match part {
        Part::Octets(octets) => octets.len(),
        _ => 0,
    }
}

fn key(uid: u32, item: &SectionItem) -> Key {
    (uid, item.section.clone(), item.form)
}

impl PartCache {
    pub(crate) fn get(&self, uid: u32, item: &SectionItem) -> Option<Part> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let now = kept.clock;
        let (used, part) = kept.parts.get_mut(&key(uid, item))?;
        *used = now;
        Some(part.clone())
    }

    pub(crate) fn insert(&self, uid: u32, item: &SectionItem, part: &Part) {
        let size = octets(part);
        if size > OCTETS {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.parts.len() >= ENTRIES || kept.octets + size > OCTETS {
            let Some(oldest) = kept
                .parts
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(key, _)| key.clone())
            else {
                break;
            };
            if let Some((_, gone)) = kept.parts.remove(&oldest) {
                kept.octets -= octets(&gone);
            }
        }
        kept.clock += 1;
        let now = kept.clock;
        if let Some((_, before)) = kept.parts.insert(key(uid, item), (now, part.clone())) {
            kept.octets -= octets(&before);
        }
        kept.octets += size;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use esp_mime::SectionText;

    fn item(number: u32) -> SectionItem {
        SectionItem {
            section: Section {
                path: vec![number],
                text: SectionText::Whole,
            },
            label: String::new(),
            partial: Some((0, 1)),
            form: Form::Decoded,
        }
    }

    #[test]
    fn the_least_used_go_first_and_the_bound_holds() {
        let cache = PartCache::default();
        let half = Part::Octets(vec![0; OCTETS / 2].into());
        cache.insert(1, &item(1), &half);
        cache.insert(1, &item(2), &half);
        assert!(cache.get(1, &item(1)).is_some());
        cache.insert(2, &item(1), &half);
        assert!(cache.get(1, &item(1)).is_some());
        assert!(cache.get(1, &item(2)).is_none());
        assert!(cache.get(2, &item(1)).is_some());
        cache.insert(3, &item(1), &Part::Octets(vec![0; OCTETS + 1].into()));
        assert!(cache.get(3, &item(1)).is_none());
        assert_eq!(cache.0.lock().unwrap().octets, OCTETS);
    }
}
