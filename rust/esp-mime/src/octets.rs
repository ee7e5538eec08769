//! Slices that cannot be out of range.

use std::ops::Range;

/// `data[range]`, or an empty slice if the range leaves the data.
#[inline]
pub(crate) fn within(data: &[u8], range: Range<usize>) -> &[u8] {
    data.get(range).unwrap_or_default()
}

/// `data[from..]`, or an empty slice.
#[inline]
pub(crate) fn after(data: &[u8], from: usize) -> &[u8] {
    data.get(from..).unwrap_or_default()
}

/// SP or HTAB.
#[inline]
pub(crate) const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// SP, HTAB, CR or LF.
#[inline]
pub(crate) const fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// `data` without SP, HTAB, CR and LF at its ends.
#[inline]
pub(crate) fn trim(mut data: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = data {
        if !is_space(*first) {
            break;
        }
        data = rest;
    }
    while let [rest @ .., last] = data {
        if !is_space(*last) {
            break;
        }
        data = rest;
    }
    data
}
