//! The boundaries of the multiparts that are open at a place in a message, and lines that match one (RFC 2046 §5.1.1).

use crate::octets::after;
use std::borrow::Cow;

/// Longer boundaries are compared up to here; RFC 2046 §5.1.1 allows 70.
const MAX_BOUNDARY: usize = 80;

/// Boundaries of parts, each within the one before.
#[derive(Debug, Default)]
pub(crate) struct Boundaries<'a>(Vec<Boundary<'a>>);

#[derive(Debug)]
struct Boundary<'a> {
    part: usize,
    text: Cow<'a, [u8]>,
    /// Its first octets and a mask for them, so that a line is compared with a hundred boundaries quickly.
    key: u128,
    mask: u128,
}

/// A line that begins with a boundary.
pub(crate) struct Delimiter {
    /// How many boundaries are around this one.
    pub(crate) level: usize,
    /// The multipart whose boundary it is.
    pub(super) part: usize,
    pub(super) line: usize,
    pub(super) next_line: usize,
    pub(crate) closing: bool,
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

impl<'a> Boundaries<'a> {
    /// How many are open.
    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Open the boundary of a multipart.
    pub(crate) fn open(&mut self, part: usize, text: Cow<'a, [u8]>) {
        let text = shortened(text);
        let length = u32::try_from(text.len().min(KEY)).unwrap_or(0);
        self.0.push(Boundary {
            part,
            key: key(&text),
            mask: 1_u128
                .checked_shl(length * 8)
                .map_or(u128::MAX, |bit| bit - 1),
            text,
        });
    }

    /// Leave only this many open.
    pub(crate) fn keep(&mut self, count: usize) {
        self.0.truncate(count);
    }

    /// The first delimiter among all lines from `start`, where a line begins.
    pub(super) fn find(&self, data: &[u8], start: usize) -> Option<Delimiter> {
        if self.0.is_empty() {
            return None;
        }
        self.delimiter_at(data, start).or_else(|| {
            memchr::memmem::find_iter(after(data, start), b"\n--")
                .find_map(|offset| self.delimiter_at(data, start + offset + 1))
        })
    }

    /// RFC 2046 §5.1.1: a line is a delimiter if it begins with two hyphens and a boundary; the longest one counts,
    /// then the innermost.
    #[inline]
    pub(crate) fn delimiter_at(&self, data: &[u8], line: usize) -> Option<Delimiter> {
        if self.0.is_empty() {
            return None;
        }
        let [b'-', b'-', rest @ ..] = after(data, line) else {
            return None;
        };
        let line_key = key(rest);
        let mut best: Option<(usize, &Boundary<'_>)> = None;
        for (level, boundary) in self.0.iter().enumerate().rev() {
            if (line_key ^ boundary.key) & boundary.mask == 0
                && rest.starts_with(&boundary.text)
                && best.is_none_or(|(_, longest)| longest.text.len() < boundary.text.len())
            {
                best = Some((level, boundary));
            }
        }
        let (level, boundary) = best?;
        let length = boundary.text.len();
        let behind = after(rest, length);
        let closing = behind.starts_with(b"--");
        let line_end = memchr::memchr(b'\n', behind).map_or(behind.len(), |lf| lf + 1);
        Some(Delimiter {
            level,
            part: boundary.part,
            line,
            next_line: line + 2 + length + line_end,
            closing,
        })
    }
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
