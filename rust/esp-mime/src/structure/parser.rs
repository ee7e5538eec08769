//! The single pass over a message that finds its parts: header, body, boundary, and again (RFC 2046 §5.1).

use super::boundary::{Boundaries, Delimiter};
use super::tag::{Known, Tag};
use super::{Kind, MAX_DEPTH, MAX_PARTS, NONE, Part, Structure};
use crate::bodystructure::{is_global, transfer_encoding};
use crate::header::{field_at, newline_at, newline_before};
use crate::octets::within;

/// Known fields of one header that are kept; further ones are ignored.
const MAX_FIELDS: usize = 2_000;

impl<'a> Structure<'a> {
    /// Find the parts of a message. Any octets are a message; time and memory are linear in their number.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Self {
        let mut parser = Parser {
            structure: Self {
                data,
                parts: Vec::with_capacity(4),
                fields: Vec::with_capacity(24),
            },
            boundaries: Boundaries::default(),
            newlines: 0,
            counted: 0,
        };
        parser.run();
        parser.structure
    }
}

/// How a header ended.
struct HeaderEnd {
    /// Where the header ends and the body begins.
    end: usize,
    /// Where to read on: after `end` if a boundary cut the header short.
    next: usize,
    empty_line: bool,
}

/// What comes after a body.
enum Body {
    /// A part of this multipart, at this line.
    Part(usize, usize),
    /// The end of the message, with this part still open.
    End(usize),
}

struct Parser<'a> {
    structure: Structure<'a>,
    boundaries: Boundaries<'a>,
    /// Line ends before `counted`.
    newlines: usize,
    counted: usize,
}

impl Parser<'_> {
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
            // RFC 2045 §5.2: without a readable type it is plain text.
            None => Kind::Text,
            Some(media) if media.kind.eq_ignore_ascii_case(b"text") => Kind::Text,
            Some(media) if media.kind.eq_ignore_ascii_case(b"multipart") => Kind::Multipart,
            Some(media)
                if media.kind.eq_ignore_ascii_case(b"message")
                    && (media.subtype.eq_ignore_ascii_case(b"rfc822")
                        || (is_global(media) && !self.is_encoded(index))) =>
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
                self.boundaries.open(index, text);
            }
        }
        let mut end = header.end;
        if header.empty_line
            && let Some(delimiter) = self.delimiter_at(end)
            && delimiter.part != index
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

    /// RFC 6532 §3.7: unlike `message/rfc822`, `message/global` may have any transfer encoding.
    fn is_encoded(&self, index: usize) -> bool {
        transfer_encoding(&self.structure, index).is_some_and(|encoding| {
            ![&b"7bit"[..], b"8bit", b"binary"]
                .iter()
                .any(|plain| encoding.eq_ignore_ascii_case(plain))
        })
    }

    /// RFC 2045 §4: a message without `MIME-Version` is not MIME, and its `Content-*` mean nothing; but many programs
    /// omit it beside a `Content-Type`. Parts need none.
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
            let end = delimiter.line - newline_before(self.structure.data, delimiter.line);
            while current != delimiter.part
                && let Some(parent) = self.finish(current, end)
            {
                current = parent;
            }
            self.boundaries
                .keep(delimiter.level + usize::from(!delimiter.closing));
            start = delimiter.next_line;
            if !delimiter.closing {
                // A boundary with nothing after it, not even its line end, begins no part.
                if newline_before(self.structure.data, start) == 0 {
                    break;
                }
                return Body::Part(current, start);
            }
        }
        Body::End(current)
    }

    fn next_delimiter(&self, start: usize) -> Option<Delimiter> {
        if self.structure.parts.len() >= MAX_PARTS {
            return None;
        }
        self.boundaries.find(self.structure.data, start)
    }

    #[inline]
    fn delimiter_at(&self, line: usize) -> Option<Delimiter> {
        if self.structure.parts.len() >= MAX_PARTS {
            return None;
        }
        self.boundaries.delimiter_at(self.structure.data, line)
    }

    /// Close a part at `end`; returns its parent.
    fn finish(&mut self, index: usize, end: usize) -> Option<usize> {
        let begin = self.structure.part(index)?.body.start;
        let lines = self.lines_before(end.max(begin));
        let part = self.structure.parts.get_mut(index)?;
        part.lines = lines.saturating_sub(part.lines);
        if end < begin && part.header.is_empty() {
            // One boundary line directly after another: the line end between them belongs to the second, and the empty
            // part must not extend beyond its parent, which ends there, too.
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
}

fn count_newlines(data: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', data).count()
}
