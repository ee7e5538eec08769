//! The heads of a mailbox's messages, by content id, as far as they were asked for.

use crate::cache::KeyHasher;
use crate::copy::{CopyError, CopyReader};
use esp_mime::Head;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// Columns that `MailboxIndex::load_heads` reads.
pub const HEAD_COLUMNS: &str = "content_id, head";

/// Octets one behind the other, found by content id.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// Where each head begins, and its length.
    places: HashMap<i64, (u32, u32), BuildHasherDefault<KeyHasher>>,
    octets: Vec<u8>,
}

impl Heads {
    pub(crate) fn contains(&self, content: i64) -> bool {
        self.places.contains_key(&content)
    }

    pub(crate) fn get(&self, content: i64) -> Option<Head<'_>> {
        Head::read(self.octets_of(content)?)
    }

    /// Keep a head. One that cannot be read is left out, so that the message's file is read instead.
    pub(crate) fn insert(&mut self, content: i64, head: &[u8]) {
        let place = (u32::try_from(self.octets.len()), u32::try_from(head.len()));
        if let (Ok(start), Ok(length)) = place
            && !self.contains(content)
            && Head::read(head).is_some()
        {
            self.octets.extend_from_slice(head);
            self.places.insert(content, (start, length));
        }
    }

    pub(crate) fn load(&mut self, copy: &[u8]) -> Result<(), CopyError> {
        self.octets.reserve(copy.len());
        CopyReader::whole(copy, 2, |mut fields| {
            let content = fields.i64()?;
            self.insert(content, fields.required()?);
            Ok(())
        })
    }

    /// Forget what is about messages that are gone, when that must be most of it. A search under way relies on the heads
    /// of those that are there.
    pub(crate) fn shrink(&mut self, contents: impl ExactSizeIterator<Item = i64>) {
        if self.places.len() <= 1024 + contents.len() * 2 {
            return;
        }
        let mut kept = Self::default();
        for content in contents {
            if let Some(head) = self.octets_of(content) {
                kept.insert(content, head);
            }
        }
        *self = kept;
    }

    fn octets_of(&self, content: i64) -> Option<&[u8]> {
        let (start, length) = *self.places.get(&content)?;
        let rest = self.octets.get(start as usize..)?;
        rest.get(..length as usize)
    }

    /// About how many octets of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        self.octets.capacity() + self.places.capacity() * (size_of::<(i64, (u32, u32))>() + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use esp_mime::{HeadKey, Structure};

    #[test]
    fn heads_are_kept_until_too_many_are_of_no_use_and_those_of_messages_for_ever() {
        let mut heads = Heads::default();
        let head = esp_mime::head(&Structure::parse(b"Subject: a\r\n\r\n"));
        heads.insert(0, b"no head");
        for content in 1..=2_000 {
            heads.insert(content, &head);
        }
        assert!(heads.get(0).is_none());
        assert_eq!(heads.get(2_000).unwrap().key(HeadKey::Subject), b"A");
        heads.shrink(std::iter::repeat_n(2_000, 1_000));
        assert!(heads.contains(1));
        heads.shrink([2_000, 7, 2_001].into_iter());
        assert!(!heads.contains(1));
        assert!(!heads.contains(2_001));
        for content in [7, 2_000] {
            assert_eq!(heads.get(content).unwrap().key(HeadKey::Subject), b"A");
        }
    }
}
