//! The octets of one message file, read as far as sections of it need.

use crate::fetch_items::{Form, SectionItem};
use crate::parts::{Part, PartCache};
use esp_mime::{Octets, SectionText, Structure};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A file up to this size is read at once.
const SMALL: u64 = 1 << 20;
/// Octets read first where only the header is wanted.
const HEADER: usize = 16_384;

/// Octets to be written.
#[derive(Debug)]
pub(crate) enum Piece {
    Octets(Vec<u8>),
    Shared(Arc<[u8]>, Range<u64>),
    File(Arc<File>, Range<u64>),
}

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

impl Piece {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Octets(octets) => octets.len() as u64,
            Self::Shared(_, range) | Self::File(_, range) => range.end - range.start,
        }
    }

    pub(crate) fn cut(self, partial: Option<(u64, u64)>) -> Self {
        match self {
            _ if partial.is_none() => self,
            Self::Octets(octets) => {
                let range = cut(&(0..octets.len() as u64), partial);
                let within = octets.get(to_usize(range.start)..to_usize(range.end));
                Self::Octets(within.unwrap_or_default().to_vec())
            }
            Self::Shared(octets, range) => Self::Shared(octets, cut(&range, partial)),
            Self::File(file, range) => Self::File(file, cut(&range, partial)),
        }
    }

    /// Whether a literal can hold it; a piece of a file can: what is kept there has no NUL, or came without our doing.
    pub(crate) fn has_nul(&self) -> bool {
        self.in_memory()
            .is_some_and(|octets| memchr::memchr(0, octets).is_some())
    }

    /// The octets, unless they are still to be read.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Octets(octets) => Some(octets),
            Self::Shared(octets, range) => octets.get(to_usize(range.start)..to_usize(range.end)),
            Self::File(..) => None,
        }
    }

    /// Append about `room` octets, and return what is left of it.
    pub(crate) fn write(self, out: &mut Vec<u8>, room: usize) -> std::io::Result<Option<Self>> {
        match self {
            Self::Octets(octets) if octets.len() <= room + 4_096 => {
                out.extend_from_slice(&octets);
                Ok(None)
            }
            Self::Octets(mut octets) => {
                let rest = octets.split_off(room);
                out.extend_from_slice(&octets);
                Ok(Some(Self::Octets(rest)))
            }
            Self::Shared(octets, range) => {
                let to = range.end.min(range.start.saturating_add(room as u64));
                let now = octets.get(to_usize(range.start)..to_usize(to));
                out.extend_from_slice(now.unwrap_or_default());
                Ok((to < range.end).then_some(Self::Shared(octets, to..range.end)))
            }
            Self::File(file, range) => {
                let to = range.end.min(range.start.saturating_add(room as u64));
                let start = out.len();
                out.resize(start + to_usize(to - range.start), 0);
                file.read_exact_at(out.get_mut(start..).unwrap_or_default(), range.start)?;
                Ok((to < range.end).then_some(Self::File(file, to..range.end)))
            }
        }
    }
}

/// What a section came to.
pub(crate) enum Value {
    Nil,
    Octets(Piece),
    Size(u64),
    /// Its transfer encoding is not known (RFC 3516 §4.2).
    UnknownEncoding,
}

/// The octets of a message, read as far as needed.
pub(crate) struct Source {
    file: Arc<File>,
    length: u64,
    pub(crate) data: Vec<u8>,
}

/// Whether a section is (in) the header of the message itself.
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
        Ok(Self {
            length: file.metadata()?.len(),
            file: Arc::new(file),
            data: Vec::new(),
        })
    }

    /// A message of at most `largest` octets, read now; `None` when it is larger, or not all in the page cache.
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
                // EAGAIN: not in the page cache. Others: the file system cannot say (EOPNOTSUPP), or fails.
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

    /// The octets of all sections; the file is read once, and parsed once if it must be. A client that fetches a part
    /// piece by piece has it found once: `cache` knows it then under `uid`.
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
            if self.length <= SMALL && unknown().next().is_some() {
                self.read_whole()?;
            }
        } else if unknown().all(of_header) {
            let end = self.read_header()?;
            self.data.truncate(end);
        } else {
            self.read_whole()?;
        }
        let structure = (!whole_only).then(|| Structure::parse(&self.data));
        let mut values = Vec::with_capacity(items.len());
        for (item, known) in items.iter().zip(&known) {
            let part = match (known, &structure) {
                (Some(part), _) => part.clone(),
                (None, _) if is_whole(item) => Part::Range(0..self.length),
                (None, None) => Part::Missing,
                (None, Some(structure)) => {
                    let part = part_of(structure, item);
                    if item.partial.is_some() {
                        cache.insert(uid, item, &part);
                    }
                    part
                }
            };
            values.push(self.value(item, part));
        }
        Ok(values)
    }

    fn value(&self, item: &SectionItem, part: Part) -> Value {
        let piece = match part {
            Part::Missing => return Value::Nil,
            Part::UnknownEncoding => return Value::UnknownEncoding,
            Part::Octets(octets) => {
                let length = octets.len() as u64;
                Piece::Shared(octets, 0..length)
            }
            Part::Range(range) => self.range(range),
        };
        if item.form == Form::DecodedSize {
            return Value::Size(piece.len());
        }
        Value::Octets(piece.cut(item.partial))
    }

    /// Octets of the file: copied when few, read while they are written when many.
    fn range(&self, range: Range<u64>) -> Piece {
        match self.data.get(to_usize(range.start)..to_usize(range.end)) {
            Some(octets) if octets.len() as u64 <= SMALL => Piece::Octets(octets.to_vec()),
            _ => Piece::File(Arc::clone(&self.file), range),
        }
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
