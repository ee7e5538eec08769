//! The tree of MIME parts as offsets into the message (RFC 2045–2049), found in one pass.

use crate::header::{field_at, newline_at, newline_before};
use crate::octets::{after, within};
use crate::params::MediaType;
use std::borrow::Cow;
use std::ops::Range;

/// Parts below this depth are opaque.
pub const MAX_DEPTH: usize = 100;
/// After this many parts the rest of the message belongs to the last one.
pub const MAX_PARTS: usize = 10_000;
/// Of the fields a header repeats no more than these in all are read.
const MAX_FIELDS: usize = 2_000;
/// Longer boundaries are compared up to here; RFC 2046 §5.1.1 allows 70.
const MAX_BOUNDARY: usize = 80;

/// What a part is for the structure of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `text/*`, and everything without a readable type.
    Text,
    /// `message/rfc822` with the message as its one child.
    Message,
    /// `multipart/*` with its parts as children; none when the boundary never comes.
    Multipart,
    /// Any other type.
    Other,
    /// A multipart or message below [`MAX_DEPTH`] or after [`MAX_PARTS`], not looked into.
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

/// The header fields that say something about the message or its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Date,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    InReplyTo,
    MessageId,
    References,
    MimeVersion,
    ContentType,
    ContentTransferEncoding,
    ContentId,
    ContentDescription,
    ContentDisposition,
    ContentLanguage,
    ContentLocation,
    ContentMd5,
}

impl Tag {
    fn of(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let chosen = |known: &str, tag: Self| is(known).then_some(tag);
        match name.len() {
            2 => chosen("To", Self::To).or_else(|| chosen("Cc", Self::Cc)),
            3 => chosen("Bcc", Self::Bcc),
            4 => chosen("From", Self::From).or_else(|| chosen("Date", Self::Date)),
            6 => chosen("Sender", Self::Sender),
            7 => chosen("Subject", Self::Subject),
            8 => chosen("Reply-To", Self::ReplyTo),
            10 => chosen("Message-ID", Self::MessageId)
                .or_else(|| chosen("References", Self::References))
                .or_else(|| chosen("Content-ID", Self::ContentId)),
            11 => chosen("In-Reply-To", Self::InReplyTo)
                .or_else(|| chosen("Content-MD5", Self::ContentMd5)),
            12 => chosen("Content-Type", Self::ContentType)
                .or_else(|| chosen("MIME-Version", Self::MimeVersion)),
            16 => chosen("Content-Language", Self::ContentLanguage)
                .or_else(|| chosen("Content-Location", Self::ContentLocation)),
            19 => chosen("Content-Disposition", Self::ContentDisposition)
                .or_else(|| chosen("Content-Description", Self::ContentDescription)),
            25 => chosen("Content-Transfer-Encoding", Self::ContentTransferEncoding),
            _ => None,
        }
    }

    const fn is_of_part(self) -> bool {
        matches!(
            self,
            Self::ContentType
                | Self::ContentTransferEncoding
                | Self::ContentId
                | Self::ContentDescription
                | Self::ContentDisposition
                | Self::ContentLanguage
                | Self::ContentLocation
                | Self::ContentMd5
        )
    }
}

#[derive(Clone, Debug)]
struct Known {
    tag: Tag,
    value: Range<usize>,
}

/// A message and its parts; the first part is the message itself.
#[derive(Clone, Debug)]
pub struct Structure<'a> {
    data: &'a [u8],
    parts: Vec<Part>,
    fields: Vec<Known>,
}

impl<'a> Structure<'a> {
    /// Find the parts of a message. Any octets are a message; time and memory are linear in them.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Self {
        let mut parser = Parser {
            structure: Self {
                data,
                parts: Vec::with_capacity(4),
                fields: Vec::with_capacity(24),
            },
            boundaries: Vec::new(),
            newlines: 0,
            counted: 0,
        };
        parser.run();
        parser.structure
    }

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

    /// Whether the part is the message itself or one inside `message/rfc822`.
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

struct Boundary<'a> {
    part: usize,
    text: Cow<'a, [u8]>,
    /// Its first octets and which of them count, so that a line is compared with a hundred boundaries at once.
    key: u128,
    mask: u128,
}

impl<'a> Boundary<'a> {
    fn new(part: usize, text: Cow<'a, [u8]>) -> Self {
        let length = u32::try_from(text.len().min(KEY)).unwrap_or(0);
        Self {
            part,
            key: key(&text),
            mask: 1_u128
                .checked_shl(length * 8)
                .map_or(u128::MAX, |bit| bit - 1),
            text,
        }
    }
}

const KEY: usize = 16;

/// The first octets of a line as a number.
fn key(line: &[u8]) -> u128 {
    if let Some(first) = line.first_chunk::<KEY>() {
        return u128::from_le_bytes(*first);
    }
    line.iter()
        .rev()
        .fold(0, |key, octet| key << 8 | u128::from(*octet))
}

/// A line that begins with a boundary.
struct Delimiter {
    level: usize,
    line: usize,
    next_line: usize,
    closing: bool,
}

/// How a header ended.
struct HeaderEnd {
    /// Where the header ends and the body begins.
    end: usize,
    /// Where to read on: behind `end` when a boundary cut the header short.
    next: usize,
    empty_line: bool,
}

/// What comes behind a body.
enum Body {
    /// A part of this multipart, at this line.
    Part(usize, usize),
    /// The end of the message, with this part still open.
    End(usize),
}

struct Parser<'a> {
    structure: Structure<'a>,
    boundaries: Vec<Boundary<'a>>,
    newlines: usize,
    counted: usize,
}

impl<'a> Parser<'a> {
    fn run(&mut self) {
        let mut current = self.add_part(None, 0);
        let mut next = 0;
        loop {
            let header = self.header(current, next);
            next = header.next;
            let Some(kind) = self.begin_body(current, &header) else {
                return;
            };
            if kind == Kind::Message {
                let begin = self
                    .structure
                    .part(current)
                    .map_or(next, |part| part.body.start);
                current = self.add_part(Some(current), begin);
                continue;
            }
            match self.body(current, next) {
                Body::Part(parent, line) => {
                    current = self.add_part(Some(parent), line);
                    next = line;
                }
                Body::End(open) => {
                    current = open;
                    break;
                }
            }
        }
        let end = self.structure.data.len();
        while let Some(parent) = self.finish(current, end) {
            current = parent;
        }
    }

    fn add_part(&mut self, parent: Option<usize>, at: usize) -> usize {
        let index = self.structure.parts.len();
        let number = u32::try_from(index).unwrap_or(NONE);
        let mut depth = 0;
        if let Some(above) = parent.and_then(|parent| self.structure.parts.get_mut(parent)) {
            depth = above.depth + 1;
            let elder = std::mem::replace(&mut above.last_child, number);
            if above.first_child == NONE {
                above.first_child = number;
            } else if let Some(elder) = self.structure.parts.get_mut(elder as usize) {
                elder.next = number;
            }
        }
        let fields = u32::try_from(self.structure.fields.len()).unwrap_or(NONE);
        self.structure.parts.push(Part {
            kind: Kind::Text,
            header: at..at,
            body: at..at,
            lines: 0,
            parent: parent
                .and_then(|parent| u32::try_from(parent).ok())
                .unwrap_or(NONE),
            first_child: NONE,
            last_child: NONE,
            next: NONE,
            depth,
            digest: false,
            fields: fields..fields,
        });
        index
    }

    /// Read header lines from `start` to the empty line, a boundary, or the end.
    fn header(&mut self, index: usize, start: usize) -> HeaderEnd {
        let data = self.structure.data;
        let is_message = self.structure.is_message(index);
        let first_field = self.structure.fields.len();
        let mut next = start;
        let ended = loop {
            if next >= data.len() {
                break HeaderEnd {
                    end: next,
                    next,
                    empty_line: false,
                };
            }
            let newline = newline_at(data, next);
            if newline > 0 {
                break HeaderEnd {
                    end: next + newline,
                    next: next + newline,
                    empty_line: true,
                };
            }
            if self.delimiter_at(next).is_some() {
                let end = if next == start {
                    self.structure
                        .part(index)
                        .map_or(start, |part| part.header.start)
                } else {
                    next - newline_before(data, next)
                };
                break HeaderEnd {
                    end,
                    next,
                    empty_line: false,
                };
            }
            let field = field_at(data, next, data.len());
            next = field.lines.end;
            let tag =
                Tag::of(within(data, field.name)).filter(|tag| is_message || tag.is_of_part());
            if let Some(tag) = tag
                && self.structure.fields.len() < first_field + MAX_FIELDS
            {
                self.structure.fields.push(Known {
                    tag,
                    value: field.value,
                });
            }
        };
        let fields_end = u32::try_from(self.structure.fields.len()).unwrap_or(NONE);
        if let Some(part) = self.structure.parts.get_mut(index) {
            part.fields.end = fields_end;
        }
        ended
    }

    /// Decide what the part is, now that its header is known.
    fn begin_body(&mut self, index: usize, header: &HeaderEnd) -> Option<Kind> {
        let data = self.structure.data;
        let parent_digest = self
            .structure
            .parent(index)
            .and_then(|parent| self.structure.part(parent))
            .is_some_and(|parent| parent.digest);
        if !self.is_mime(index) {
            self.forget_part_fields(index);
        }
        let has_type = self.structure.first(index, Tag::ContentType).is_some();
        let media = self.structure.media_type(index);
        let mut kind = match &media {
            // RFC 2046 §5.1.5: in a digest the default is message/rfc822
            None if parent_digest && !has_type => Kind::Message,
            None => Kind::Text,
            Some(media) if media.kind.eq_ignore_ascii_case(b"text") => Kind::Text,
            Some(media) if media.kind.eq_ignore_ascii_case(b"multipart") => Kind::Multipart,
            Some(media)
                if media.kind.eq_ignore_ascii_case(b"message")
                    && media.subtype.eq_ignore_ascii_case(b"rfc822") =>
            {
                Kind::Message
            }
            Some(_) => Kind::Other,
        };
        let too_deep = usize::from(self.structure.part(index)?.depth) + 1 >= MAX_DEPTH;
        if kind == Kind::Message && (too_deep || self.structure.parts.len() >= MAX_PARTS) {
            kind = Kind::Opaque;
        }
        if kind == Kind::Multipart
            && header.empty_line
            && let Some(text) = media.as_ref().and_then(|media| media.param(b"boundary"))
        {
            if too_deep {
                kind = Kind::Opaque;
            } else {
                self.boundaries.push(Boundary::new(index, shortened(text)));
            }
        }
        let mut end = header.end;
        if header.empty_line
            && let Some(delimiter) = self.delimiter_at(end)
            && self
                .boundaries
                .get(delimiter.level)
                .is_some_and(|found| found.part != index)
        {
            // The empty line is the line end that belongs to the boundary.
            end -= newline_before(data, end);
        }
        let lines = self.lines_before(end);
        let part = self.structure.parts.get_mut(index)?;
        part.kind = kind;
        part.digest = kind == Kind::Multipart
            && media.is_some_and(|media| media.subtype.eq_ignore_ascii_case(b"digest"));
        part.header.end = end;
        part.body = end..end;
        part.lines = lines;
        Some(kind)
    }

    /// Outside a multipart, `Content-*` counts only with `MIME-Version` or `Content-Type`.
    fn is_mime(&self, index: usize) -> bool {
        !self.structure.is_message(index)
            || self.structure.first(index, Tag::ContentType).is_some()
            || self.structure.first(index, Tag::MimeVersion).is_some()
    }

    fn forget_part_fields(&mut self, index: usize) {
        let from = self
            .structure
            .part(index)
            .map_or(0, |part| part.fields.start as usize);
        let fields = &mut self.structure.fields;
        let kept = fields.split_off(from.min(fields.len()));
        fields.extend(kept.into_iter().filter(|known| !known.tag.is_of_part()));
        let end = u32::try_from(self.structure.fields.len()).unwrap_or(NONE);
        if let Some(part) = self.structure.parts.get_mut(index) {
            part.fields.end = end;
        }
    }

    /// Read a body from `start` to the boundary that begins the next part.
    fn body(&mut self, index: usize, start: usize) -> Body {
        let (mut current, mut start) = (index, start);
        while let Some(delimiter) = self.next_delimiter(start) {
            let Some(boundary) = self.boundaries.get(delimiter.level) else {
                break;
            };
            let boundary = boundary.part;
            let end = delimiter.line - newline_before(self.structure.data, delimiter.line);
            while current != boundary
                && let Some(parent) = self.finish(current, end)
            {
                current = parent;
            }
            let open = delimiter.level + usize::from(!delimiter.closing);
            self.boundaries.truncate(open);
            start = delimiter.next_line;
            if !delimiter.closing {
                // A boundary that nothing follows, not even its line end, begins no part.
                if newline_before(self.structure.data, start) == 0 {
                    break;
                }
                return Body::Part(current, start);
            }
        }
        Body::End(current)
    }

    /// Close a part at `end`; its parent.
    fn finish(&mut self, index: usize, end: usize) -> Option<usize> {
        let begin = self.structure.part(index)?.body.start;
        let lines = self.lines_before(end.max(begin));
        let part = self.structure.parts.get_mut(index)?;
        part.lines = lines.saturating_sub(part.lines);
        if end < begin && part.header.is_empty() {
            // One boundary line right behind another: the line end between them belongs to the second, and the empty
            // part must not reach beyond its parent, which ends there, too.
            part.header = end..end;
            part.body = end..end;
        } else {
            part.body.end = end.max(begin);
        }
        self.structure.parent(index)
    }

    /// Line ends before `offset`; offsets mostly rise, so that each octet is counted once.
    fn lines_before(&mut self, offset: usize) -> usize {
        if offset >= self.counted {
            self.newlines += count_newlines(within(self.structure.data, self.counted..offset));
        } else {
            self.newlines -= count_newlines(within(self.structure.data, offset..self.counted));
        }
        self.counted = offset;
        self.newlines
    }

    fn next_delimiter(&self, start: usize) -> Option<Delimiter> {
        if self.boundaries.is_empty() || self.structure.parts.len() >= MAX_PARTS {
            return None;
        }
        self.delimiter_at(start).or_else(|| {
            memchr::memmem::find_iter(after(self.structure.data, start), b"\n--")
                .find_map(|offset| self.delimiter_at(start + offset + 1))
        })
    }

    /// RFC 2046 §5.1.1: a line is a delimiter when it begins with two hyphens and a boundary; the longest one counts,
    /// then the innermost.
    fn delimiter_at(&self, line: usize) -> Option<Delimiter> {
        if self.boundaries.is_empty() || self.structure.parts.len() >= MAX_PARTS {
            return None;
        }
        let [b'-', b'-', rest @ ..] = after(self.structure.data, line) else {
            return None;
        };
        let line_key = key(rest);
        let mut best: Option<(usize, usize)> = None;
        for (level, boundary) in self.boundaries.iter().enumerate().rev() {
            if (line_key ^ boundary.key) & boundary.mask == 0
                && rest.starts_with(&boundary.text)
                && best.is_none_or(|(_, length)| length < boundary.text.len())
            {
                best = Some((level, boundary.text.len()));
            }
        }
        let (level, length) = best?;
        let behind = after(rest, length);
        let closing = behind.starts_with(b"--");
        let line_end = memchr::memchr(b'\n', behind).map_or(behind.len(), |lf| lf + 1);
        Some(Delimiter {
            level,
            line,
            next_line: line + 2 + length + line_end,
            closing,
        })
    }
}

fn count_newlines(data: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', data).count()
}

fn shortened(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..MAX_BOUNDARY).unwrap_or(text)),
        Cow::Owned(mut text) => {
            text.truncate(MAX_BOUNDARY);
            Cow::Owned(text)
        }
    }
}
