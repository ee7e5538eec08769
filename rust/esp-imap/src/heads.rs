//! The heads of a mailbox's messages, by content id, as far as somebody asked for them.

use crate::cache::KeyHasher;
use crate::copy::{CopyError, CopyReader};
use esp_mime::Head;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// Columns that `MailboxIndex::load_heads` reads.
pub const HEAD_COLUMNS: &str = "content_id, head";

/// Octets one behind the other, found by content id; forgotten only all together.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// Where each begins, and its length.
    places: HashMap<i64, (u32, u32), BuildHasherDefault<KeyHasher>>,
    octets: Vec<u8>,
}

impl Heads {
    pub(crate) fn contains(&self, content: i64) -> bool {
        self.places.contains_key(&content)
    }

    pub(crate) fn get(&self, content: i64) -> Option<Head<'_>> {
        let (start, length) = *self.places.get(&content)?;
        let rest = self.octets.get(start as usize..)?;
        Head::read(rest.get(..length as usize)?)
    }

    /// Keep a head. One that cannot be read is left out, so that the message's file is looked at instead.
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

    /// Forget everything when most of it must be about messages that are gone.
    pub(crate) fn shrink(&mut self, messages: usize) {
        if self.places.len() > 1024 + messages * 2 {
            *self = Self::default();
        }
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
    fn heads_are_kept_until_too_many_are_of_no_use() {
        let mut heads = Heads::default();
        let head = esp_mime::head(&Structure::parse(b"Subject: a\r\n\r\n"));
        heads.insert(0, b"no head");
        for content in 1..=2_000 {
            heads.insert(content, &head);
        }
        assert!(heads.get(0).is_none());
        assert_eq!(heads.get(2_000).unwrap().key(HeadKey::Subject), b"A");
        heads.shrink(1_000);
        assert!(heads.contains(1));
        heads.shrink(100);
        assert!(!heads.contains(1));
    }
}
