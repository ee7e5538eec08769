//! The tree of MIME parts as offsets into the message (RFC 2045–2049): a part's place, kind, parent and children, and
//! the contents of its header fields.

mod boundary;
mod parser;
mod tag;

pub(crate) use boundary::{Boundaries, Delimiter};
pub(crate) use tag::Tag;

use crate::octets::within;
use crate::params::MediaType;
use std::ops::Range;
use tag::Known;

/// Parts below this depth are opaque.
pub const MAX_DEPTH: usize = 100;
/// After this many parts the rest of the message belongs to the last one.
pub const MAX_PARTS: usize = 10_000;

/// The role of a part in the structure of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `text/*`, and everything without a readable type.
    Text,
    /// `message/rfc822` or `message/global` with the message as its one child.
    Message,
    /// `multipart/*` with its parts as children; without children if the boundary never comes.
    Multipart,
    /// Any other type.
    Other,
    /// A multipart or message below [`MAX_DEPTH`] or after [`MAX_PARTS`], which is not parsed.
    Opaque,
}

/// One part of a message.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Its header with the empty line.
    pub header: Range<usize>,
    /// Its body without the line end that belongs to the next boundary (RFC 2046 §5.1.1).
    pub body: Range<usize>,
    /// Line ends in its body.
    pub lines: usize,
    parent: u32,
    first_child: u32,
    last_child: u32,
    next: u32,
    depth: u16,
    digest: bool,
    fields: Range<u32>,
}

const NONE: u32 = u32::MAX;

/// A message and its parts; the first part is the message itself.
#[derive(Clone, Debug)]
pub struct Structure<'a> {
    data: &'a [u8],
    parts: Vec<Part>,
    fields: Vec<Known>,
}

impl<'a> Structure<'a> {
    /// The octets this was made of.
    #[must_use]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// All parts, each before its children.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The part at `index`.
    #[must_use]
    pub fn part(&self, index: usize) -> Option<&Part> {
        self.parts.get(index)
    }

    /// The indexes of a part's children.
    pub fn children(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let first = self.parts.get(index).map_or(NONE, |part| part.first_child);
        std::iter::successors(Some(first), |&child| {
            self.parts.get(child as usize).map(|part| part.next)
        })
        .take_while(|&child| child != NONE)
        .map(|child| child as usize)
    }

    pub(crate) fn parent(&self, index: usize) -> Option<usize> {
        let parent = self.parts.get(index)?.parent;
        (parent != NONE).then_some(parent as usize)
    }

    /// Whether the part is the message itself, or a message inside another.
    pub(crate) fn is_message(&self, index: usize) -> bool {
        self.parent(index).is_none_or(|parent| {
            self.parts
                .get(parent)
                .is_some_and(|part| part.kind == Kind::Message)
        })
    }

    /// The bodies of all fields with this tag, in their order.
    pub(crate) fn values(
        &self,
        index: usize,
        tag: Tag,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let data = self.data;
        let fields = self
            .parts
            .get(index)
            .map_or(0..0, |part| part.fields.clone());
        self.fields
            .get(fields.start as usize..fields.end as usize)
            .unwrap_or_default()
            .iter()
            .filter(move |known| known.tag == tag)
            .map(move |known| within(data, known.value.clone()))
    }

    pub(crate) fn first(&self, index: usize, tag: Tag) -> Option<&'a [u8]> {
        self.values(index, tag).next()
    }

    pub(crate) fn media_type(&self, index: usize) -> Option<MediaType<'a>> {
        self.first(index, Tag::ContentType)
            .and_then(MediaType::parse)
    }

    /// The octets of the part's body, still encoded.
    #[must_use]
    pub fn body(&self, index: usize) -> &'a [u8] {
        self.parts
            .get(index)
            .map_or(b"", |part| within(self.data, part.body.clone()))
    }
}
