//! A part of binary content converted to base64 (RFC 2045 §6.8): its header, and its body line by line.

use crate::header::Fields;
use crate::octets::{after, within};

/// Octets in a line of base64 before encoding: this makes 76 letters, the maximum (RFC 2045 §6.8).
const GROUP: usize = 57;

pub(super) const ENCODING: &str = "Content-Transfer-Encoding";
const MIME_VERSION: &str = "MIME-Version";

/// The header, with its empty line, of a part that becomes base64.
pub(super) fn header(binary: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(binary.len() + 64);
    let mut end = 0;
    let mut mime = false;
    for field in Fields::new(binary, 0..binary.len()) {
        end = field.lines.end;
        let name = within(binary, field.name);
        mime |= [MIME_VERSION, "Content-Type"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        if !name.eq_ignore_ascii_case(ENCODING.as_bytes()) {
            out.extend_from_slice(within(binary, field.lines));
        }
    }
    if !mime {
        // RFC 2045 §4: without it this is not MIME, and the encoding means nothing.
        out.extend_from_slice(MIME_VERSION.as_bytes());
        out.extend_from_slice(b": 1.0\r\n");
    }
    out.extend_from_slice(ENCODING.as_bytes());
    out.extend_from_slice(b": base64\r\n");
    out.extend_from_slice(after(binary, end));
    out
}

/// The body of one part.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Octets that do not fill a line of base64 yet.
    group: Vec<u8>,
    /// The line end before, which belongs to the boundary if one comes (RFC 2046 §5.1.1).
    newline: Vec<u8>,
    /// Whether a line of base64 has been written.
    begun: bool,
}

impl Body {
    /// Take a line, or a part of one.
    pub(super) fn push(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if line == b"\n" && self.newline == b"\r" {
            self.newline.push(b'\n');
            return;
        }
        let newline = std::mem::take(&mut self.newline);
        self.encode(&newline, out);
        let length = match line {
            [.., b'\r', b'\n'] => 2,
            // A part of a line may end in the middle of its CR LF.
            [.., b'\r' | b'\n'] => 1,
            _ => 0,
        };
        let (text, newline) = line
            .split_at_checked(line.len() - length)
            .unwrap_or((line, b""));
        self.encode(text, out);
        self.newline.extend_from_slice(newline);
    }

    /// A boundary comes: append what is left, and return the line end that belongs to it.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Vec<u8> {
        if !self.group.is_empty() {
            self.write_group(out);
        }
        std::mem::take(&mut self.newline)
    }

    /// No boundary comes: the last line end is the content's own.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let newline = std::mem::take(&mut self.newline);
        self.encode(&newline, out);
        self.end(out);
        out.extend_from_slice(b"\r\n");
    }

    fn encode(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while !octets.is_empty() {
            let room = GROUP - self.group.len();
            let (taken, rest) = octets.split_at_checked(room).unwrap_or((octets, b""));
            self.group.extend_from_slice(taken);
            octets = rest;
            if self.group.len() == GROUP {
                self.write_group(out);
            }
        }
    }

    fn write_group(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"\r\n");
        }
        write(out, &self.group);
        self.group.clear();
    }
}

fn write(out: &mut Vec<u8>, octets: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in octets.chunks(3) {
        let octet = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for place in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            out.push(match ALPHABET.get(digit) {
                Some(letter) if usize::try_from(place).unwrap_or(0) <= group.len() => *letter,
                _ => b'=',
            });
        }
    }
}
