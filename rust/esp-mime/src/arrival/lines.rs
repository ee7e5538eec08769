//! Line ends converted to CR LF, in pieces of any size.

use crate::octets::{after, within};

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whether the last octet was CR.
    cr: bool,
}

impl Lines {
    /// Whether `push` would only copy the octets.
    pub(super) fn is_plain(&self, octets: &[u8]) -> bool {
        memchr::memchr_iter(b'\n', octets).all(|lf| self.has_cr(octets, lf))
    }

    /// Note octets that stay as they are (`is_plain`).
    pub(super) fn pass(&mut self, octets: &[u8]) {
        if let Some(last) = octets.last() {
            self.cr = *last == b'\r';
        }
    }

    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut from = 0;
        for lf in memchr::memchr_iter(b'\n', octets) {
            if !self.has_cr(octets, lf) {
                out.extend_from_slice(within(octets, from..lf));
                out.push(b'\r');
                from = lf;
            }
        }
        out.extend_from_slice(after(octets, from));
        self.pass(octets);
    }

    /// Whether there is a CR before the LF at this place.
    #[inline]
    fn has_cr(&self, octets: &[u8], lf: usize) -> bool {
        match lf.checked_sub(1) {
            Some(before) => octets.get(before) == Some(&b'\r'),
            None => self.cr,
        }
    }
}
