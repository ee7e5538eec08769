//! The octets of one message file, read as far as its sections need.

mod piece;

pub(crate) use piece::Piece;

use crate::fetch_items::{Form, SectionItem};
use crate::parts::{Part, PartCache};
use esp_mime::{Octets, SectionText, Structure};
use piece::Later;
use rustix::io::{Errno, ReadWriteFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A file up to this size is read at once.
const SMALL: u64 = 1 << 20;
/// Octets of the file that are copied for one response; the rest is read while it is written.
const COPIED: u64 = SMALL;
/// Octets that gathered or decoded sections of one response may take; further ones are made while they are written.
const HELD: u64 = 32 << 20;
/// Octets read first if only the header is wanted.
const HEADER: usize = 16_384;

pub(crate) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn cut(range: &Range<u64>, partial: Option<(u64, u64)>) -> Range<u64> {
    let Some((origin, length)) = partial else {
        return range.clone();
    };
    let size = range.end - range.start;
    let from = origin.min(size);
    let to = origin.saturating_add(length).min(size);
    range.start + from..range.start + to
}

/// The result for a section.
pub(crate) enum Value {
    Nil,
    Octets(Piece),
    Size(u64),
    /// Its transfer encoding is unknown (RFC 3516 §4.2).
    UnknownEncoding,
}

/// The octets of a message, read as far as needed.
pub(crate) struct Source {
    file: Arc<File>,
    length: u64,
    pub(crate) data: Vec<u8>,
}

/// Whether a section is the header of the message itself, or in it.
fn of_header(item: &SectionItem) -> bool {
    item.section.path.is_empty()
        && matches!(
            item.section.text,
            SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)
        )
}

fn is_whole(item: &SectionItem) -> bool {
    item.section.path.is_empty() && item.section.text == SectionText::Whole
}

impl Source {
    pub(crate) fn new(file: File) -> std::io::Result<Self> {
        Self::of(Arc::new(file))
    }

    fn of(file: Arc<File>) -> std::io::Result<Self> {
        Ok(Self {
            length: file.metadata()?.len(),
            file,
            data: Vec::new(),
        })
    }

    /// A message of at most `largest` octets, read now; `None` if it is larger, or not all in the page cache.
    pub(crate) fn cached(file: File, largest: u64) -> Option<Self> {
        let length = file.metadata().ok()?.len();
        if length > largest {
            return None;
        }
        let mut data = vec![0; to_usize(length)];
        let mut at = 0;
        while let Some(rest) = data.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let mut rest = [IoSliceMut::new(rest)];
            match rustix::io::preadv2(&file, &mut rest, at as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => return None,
                Ok(read) => at += read,
                Err(Errno::INTR) => {}
                // EAGAIN: not in the page cache. Other errors: the file system cannot say (EOPNOTSUPP), or fails.
                Err(_) => return None,
            }
        }
        Some(Self {
            length,
            file: Arc::new(file),
            data,
        })
    }

    fn read_to(&mut self, length: u64) -> std::io::Result<()> {
        let start = self.data.len();
        let end = to_usize(length.min(self.length));
        if end > start {
            self.data.resize(end, 0);
            let there = self.data.get_mut(start..).unwrap_or_default();
            self.file.read_exact_at(there, start as u64)?;
        }
        Ok(())
    }

    pub(crate) fn read_whole(&mut self) -> std::io::Result<()> {
        self.read_to(self.length)
    }

    /// Read at least the header, and return where it ends.
    fn read_header(&mut self) -> std::io::Result<usize> {
        let mut length = HEADER as u64;
        loop {
            self.read_to(length)?;
            if let Some(end) = esp_mime::header_end(&self.data) {
                return Ok(end);
            }
            if self.data.len() as u64 >= self.length {
                return Ok(self.data.len());
            }
            length *= 4;
        }
    }

    /// The octets of all sections; the file is read once, and parsed once if needed. A part that a client fetches piece
    /// by piece is found only once: then `cache` knows it under `uid`.
    pub(crate) fn values(
        &mut self,
        items: &[&SectionItem],
        cache: &PartCache,
        uid: u32,
    ) -> std::io::Result<Vec<Value>> {
        let known: Vec<Option<Part>> = items
            .iter()
            .map(|item| cache.get(uid, item).filter(|_| item.partial.is_some()))
            .collect();
        let unknown = || {
            items
                .iter()
                .zip(&known)
                .filter(|(_, known)| known.is_none())
                .map(|(item, _)| *item)
        };
        let whole_only = unknown().all(is_whole);
        if whole_only {
            // A whole message is read while it is written; but BINARY[] has to be searched for NULs before.
            if self.length <= SMALL && unknown().any(|item| item.form == Form::Decoded) {
                self.read_whole()?;
            }
        } else if unknown().all(of_header) {
            let end = self.read_header()?;
            self.data.truncate(end);
        } else {
            self.read_whole()?;
        }
        let structure = (!whole_only).then(|| Structure::parse(&self.data));
        let mut memory = Memory::default();
        let mut made = HashMap::new();
        let mut values = Vec::with_capacity(items.len());
        for (item, known) in items.iter().zip(&known) {
            let part = match (known, &structure) {
                (Some(part), _) => part.clone(),
                (None, _) if is_whole(item) => Part::Range(0..self.length),
                (None, None) => Part::Missing,
                (None, Some(structure)) => {
                    let key = (&item.section, item.form == Form::Raw);
                    let part = match made.get(&key) {
                        Some(part) => Part::clone(part),
                        None => part_of(structure, item),
                    };
                    if item.partial.is_some() {
                        cache.insert(uid, item, &part);
                    }
                    match &part {
                        Part::Octets(octets) if item.form != Form::DecodedSize => {
                            if !made.contains_key(&key) && !memory.hold(octets.len() as u64) {
                                values.push(Value::Octets(self.later(item, octets)));
                                continue;
                            }
                            made.insert(key, part.clone());
                        }
                        _ => {}
                    }
                    part
                }
            };
            values.push(self.value(item, part, &mut memory));
        }
        Ok(values)
    }

    fn value(&self, item: &SectionItem, part: Part, memory: &mut Memory) -> Value {
        let piece = match part {
            Part::Missing => return Value::Nil,
            Part::UnknownEncoding => return Value::UnknownEncoding,
            Part::Octets(octets) => {
                let range = cut(&(0..octets.len() as u64), item.partial);
                Piece::Shared(octets, range)
            }
            Part::Range(range) => self.range(cut(&range, item.partial), memory),
        };
        if item.form == Form::DecodedSize {
            return Value::Size(piece.len());
        }
        Value::Octets(piece)
    }

    /// Octets of the file: copied if few, read while they are written if many.
    fn range(&self, range: Range<u64>, memory: &mut Memory) -> Piece {
        match self.data.get(to_usize(range.start)..to_usize(range.end)) {
            Some(octets) if memory.copy(octets.len() as u64) => Piece::Octets(octets.to_vec()),
            _ => Piece::File(Arc::clone(&self.file), range),
        }
    }

    /// A section, to be made again; it had these octets.
    fn later(&self, item: &SectionItem, octets: &[u8]) -> Piece {
        let range = cut(&(0..octets.len() as u64), item.partial);
        let wanted = octets.get(to_usize(range.start)..to_usize(range.end));
        Piece::Later(Box::new(Later {
            file: Arc::clone(&self.file),
            item: item.clone(),
            length: range.end - range.start,
            has_nul: wanted.is_some_and(|octets| memchr::memchr(0, octets).is_some()),
        }))
    }
}

/// How much memory the values of one message take.
#[derive(Default)]
struct Memory {
    copied: u64,
    held: u64,
}

impl Memory {
    /// Whether `octets` octets of the file may be copied.
    fn copy(&mut self, octets: u64) -> bool {
        let may = self.copied + octets <= COPIED;
        self.copied += if may { octets } else { 0 };
        may
    }

    /// Whether a part of `octets` octets may be held; one part may, whatever its size.
    fn hold(&mut self, octets: u64) -> bool {
        let may = self.held < HELD;
        self.held += if may { octets } else { 0 };
        may
    }
}

fn part_of(structure: &Structure<'_>, item: &SectionItem) -> Part {
    if item.form == Form::Raw {
        return match structure.section(&item.section) {
            None => Part::Missing,
            Some(Octets::Range(range)) => Part::Range(range.start as u64..range.end as u64),
            Some(Octets::Owned(octets)) => Part::Octets(octets.into()),
        };
    }
    match structure.find(&item.section.path) {
        None => Part::Missing,
        Some(index) => match structure.decoded(index) {
            None => Part::UnknownEncoding,
            Some(octets) => Part::Octets(octets.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fetch_items::{FetchItem, FetchItems};
    use std::collections::HashSet;
    use std::io::Write as _;

    /// The values of items of a message.
    fn values(name: &str, message: &[u8], items: &str) -> Vec<Value> {
        let path = std::env::temp_dir().join(format!("esp-source-{name}-{}", std::process::id()));
        File::create(&path).unwrap().write_all(message).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let items = FetchItems::parse(items.as_bytes()).unwrap().items;
        let items: Vec<&SectionItem> = items
            .iter()
            .filter_map(|item| match item {
                FetchItem::Section(item) => Some(item),
                _ => None,
            })
            .collect();
        let cache = PartCache::default();
        Source::new(file)
            .unwrap()
            .values(&items, &cache, 1)
            .unwrap()
    }

    fn list(count: usize, one: impl Fn(usize) -> String) -> String {
        let all: Vec<String> = (1..=count).map(one).collect();
        format!("({})", all.join(" "))
    }

    /// Octets of memory that they take.
    fn memory(values: &[Value]) -> usize {
        let mut shared = HashSet::new();
        values
            .iter()
            .map(|value| match value {
                Value::Octets(Piece::Octets(octets)) => octets.capacity(),
                Value::Octets(Piece::Shared(octets, _)) if shared.insert(octets.as_ptr()) => {
                    octets.len()
                }
                _ => 0,
            })
            .sum()
    }

    fn written(value: Value) -> Vec<u8> {
        let mut out = Vec::new();
        let Value::Octets(piece) = value else {
            return out;
        };
        let mut rest = Some(piece);
        while let Some(piece) = rest {
            rest = piece.write(&mut out, 10_000).unwrap();
        }
        out
    }

    #[test]
    fn the_same_octets_many_times_take_no_memory() {
        let message = format!("A: b\r\n\r\n{}", "0123456789".repeat(80_000));
        let items = list(100, |n| format!("BODY.PEEK[TEXT]<{n}.900000>"));
        let values = values("text", message.as_bytes(), &items);
        assert!(memory(&values) <= 1 << 20, "{}", memory(&values));
        for (n, value) in values.into_iter().enumerate() {
            assert!(written(value) == message.as_bytes().get(9 + n..).unwrap());
        }
    }

    #[test]
    fn a_nul_in_a_whole_message_is_seen_where_a_literal8_may_hold_it() {
        let values = values("nul", b"A: b\r\n\r\nc\0d\r\n", "(BINARY.PEEK[])");
        assert!(matches!(values.as_slice(), [Value::Octets(piece)] if piece.has_nul()));
    }

    #[test]
    fn a_part_is_decoded_once_for_all_its_pieces() {
        let encoded = "QUJD".repeat(12 << 20);
        let message =
            format!("MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}");
        let items = list(4, |n| format!("BINARY.PEEK[1]<{n}.10>"));
        let values = values("decoded", message.as_bytes(), &items);
        assert_eq!(memory(&values), 36 << 20);
        let pieces: Vec<Vec<u8>> = values.into_iter().map(written).collect();
        assert_eq!(
            pieces,
            [b"BCABCABCAB", b"CABCABCABC", b"ABCABCABCA", b"BCABCABCAB"]
        );
    }

    #[test]
    fn what_would_take_too_much_memory_is_made_when_it_is_written() {
        let header = format!("A: {}\r\n\r\n", "x".repeat(1 << 20));
        let items = list(80, |n| format!("BODY.PEEK[HEADER.FIELDS.NOT (B{n})]"));
        let values = values("header", header.as_bytes(), &items);
        assert!(memory(&values) <= 34 << 20, "{}", memory(&values));
        for value in values {
            assert!(written(value) == header.as_bytes());
        }
    }
}
