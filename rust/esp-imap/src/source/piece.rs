//! Octets of a response still to be written: in memory, in the message's file, or still to be made from it.

use super::{Source, Value, to_usize};
use crate::fetch_items::SectionItem;
use crate::parts::PartCache;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Octets to be written.
#[derive(Debug)]
pub(crate) enum Piece {
    Octets(Vec<u8>),
    Shared(Arc<[u8]>, Range<u64>),
    File(Arc<File>, Range<u64>),
    Later(Box<Later>),
}

/// A section that is made when it is written, since others take memory already.
#[derive(Debug)]
pub(crate) struct Later {
    pub(super) file: Arc<File>,
    pub(super) item: SectionItem,
    /// Octets that it was found to have.
    pub(super) length: u64,
    pub(super) has_nul: bool,
}

impl Later {
    fn make(self) -> std::io::Result<Piece> {
        let values = Source::of(self.file)?.values(&[&self.item], &PartCache::default(), 0)?;
        match values.into_iter().next() {
            Some(Value::Octets(piece)) if piece.len() == self.length => Ok(piece),
            // Its length has been announced.
            _ => Err(std::io::Error::other("a message file has changed")),
        }
    }
}

impl Piece {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Octets(octets) => octets.len() as u64,
            Self::Shared(_, range) | Self::File(_, range) => range.end - range.start,
            Self::Later(section) => section.length,
        }
    }

    /// Whether it has a NUL, which a literal cannot hold. A file is not searched: messages that we stored have none.
    pub(crate) fn has_nul(&self) -> bool {
        match self {
            Self::Later(section) => section.has_nul,
            _ => self
                .in_memory()
                .is_some_and(|octets| memchr::memchr(0, octets).is_some()),
        }
    }

    /// The octets, unless they are still to be read.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Octets(octets) => Some(octets),
            Self::Shared(octets, range) => octets.get(to_usize(range.start)..to_usize(range.end)),
            Self::File(..) | Self::Later(_) => None,
        }
    }

    /// Append about `room` octets, and return the rest.
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
            Self::Later(section) => section.make()?.write(out, room),
        }
    }
}
