//! Header fields as they are in the octets (RFC 5322 §2.2), found without copying.

use crate::octets::{after, is_blank, within};
use std::ops::Range;

/// One header field with its continuation lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field name without blanks before the colon; empty for a line that has no colon.
    pub name: Range<usize>,
    /// What follows the colon, still folded, without the last line end.
    pub value: Range<usize>,
    /// All lines of the field with their line ends.
    pub lines: Range<usize>,
}

/// Length of the line end at `pos`: 0 when there is none.
#[inline]
pub(crate) fn newline_at(data: &[u8], pos: usize) -> usize {
    match after(data, pos) {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    }
}

/// Length of the line end just before `pos`: 0 when there is none.
#[inline]
pub(crate) fn newline_before(data: &[u8], pos: usize) -> usize {
    match within(data, pos.saturating_sub(2)..pos) {
        [b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

/// The field that begins at `start`. The caller has checked that there is a line and that it is not empty.
///
/// A line is continued by those that begin with SP or HTAB (RFC 5322 §2.2.3).
pub(crate) fn field_at(data: &[u8], start: usize, end: usize) -> Field {
    let mut next = start;
    let mut first_line_end = None;
    loop {
        match memchr::memchr(b'\n', within(data, next..end)) {
            Some(offset) => next += offset + 1,
            None => next = end,
        }
        first_line_end.get_or_insert(next);
        if next >= end || !data.get(next).copied().is_some_and(is_blank) {
            break;
        }
    }
    let value_end = next - newline_before(within(data, 0..next), next).min(next - start);
    let first_line = within(data, start..first_line_end.unwrap_or(next));
    let Some(colon) = memchr::memchr(b':', first_line) else {
        return Field {
            name: start..start,
            value: start..value_end,
            lines: start..next,
        };
    };
    let mut name_end = start + colon;
    while name_end > start && data.get(name_end - 1).copied().is_some_and(is_blank) {
        name_end -= 1;
    }
    // All blanks after the colon are removed; from a line of nothing else, only one is.
    let from = start + colon + 1;
    let mut value_start = from;
    while value_start < value_end && data.get(value_start).copied().is_some_and(is_blank) {
        value_start += 1;
    }
    if newline_at(data, value_start) > 0 || value_start == value_end {
        value_start = value_start.min(from + 1).min(value_end);
    }
    Field {
        name: start..name_end,
        value: value_start..value_end,
        lines: start..next,
    }
}

/// The fields of a header, up to its empty line.
pub struct Fields<'a> {
    data: &'a [u8],
    next: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    /// The fields in `range` of `data`.
    #[must_use]
    pub fn new(data: &'a [u8], range: Range<usize>) -> Self {
        Self {
            data,
            next: range.start,
            end: range.end.min(data.len()),
        }
    }
}

impl Iterator for Fields<'_> {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        if self.next >= self.end || newline_at(within(self.data, 0..self.end), self.next) > 0 {
            return None;
        }
        let field = field_at(self.data, self.next, self.end);
        self.next = field.lines.end;
        Some(field)
    }
}

/// Where the header of the message ends, including its empty line; `None` if the octets contain no empty line.
///
/// This is enough to read a header from the beginning of a large file.
#[must_use]
pub fn header_end(data: &[u8]) -> Option<usize> {
    let first = newline_at(data, 0);
    if first > 0 {
        return Some(first);
    }
    memchr::memchr_iter(b'\n', data).find_map(|lf| {
        let length = newline_at(data, lf + 1);
        (length > 0).then_some(lf + 1 + length)
    })
}
