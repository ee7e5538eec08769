//! Content transfer encodings (RFC 2045 §6).

use crate::bodystructure::transfer_encoding;
use crate::octets::{after, is_blank};
use crate::structure::{Kind, Structure};
use std::borrow::Cow;

const INVALID: u8 = 0xff;

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static SIXTETS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [INVALID; 256];
    let mut value = 0;
    while value < 64 {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table
};

#[inline]
fn sixtet(octet: u8) -> u8 {
    SIXTETS.get(usize::from(octet)).copied().unwrap_or(INVALID)
}

/// Base64 (RFC 2045 §6.8): octets outside the alphabet are skipped, `=` ends a group, a truncated end gives what it
/// can.
#[must_use]
pub fn decode_base64(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / 4 * 3 + 3);
    let mut rest = data;
    let (mut bits, mut count) = (0_u32, 0_u32);
    loop {
        if count == 0 {
            while let [a, b, c, d, behind @ ..] = rest {
                let (a, b, c, d) = (sixtet(*a), sixtet(*b), sixtet(*c), sixtet(*d));
                if (a | b | c | d) == INVALID {
                    break;
                }
                let group =
                    u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
                let [_, x, y, z] = group.to_be_bytes();
                out.extend_from_slice(&[x, y, z]);
                rest = behind;
            }
        }
        let [octet, behind @ ..] = rest else {
            break;
        };
        rest = behind;
        let value = sixtet(*octet);
        if value != INVALID {
            bits = bits << 6 | u32::from(value);
            count += 1;
        }
        if count == 4 || *octet == b'=' {
            end_of_group(&mut out, bits, count);
            (bits, count) = (0, 0);
        }
    }
    end_of_group(&mut out, bits, count);
    out
}

fn end_of_group(out: &mut Vec<u8>, bits: u32, count: u32) {
    let [_, x, y, z] = (bits << (6 * (4 - count.min(4)))).to_be_bytes();
    match count {
        4 => out.extend_from_slice(&[x, y, z]),
        3 => out.extend_from_slice(&[x, y]),
        2 => out.push(x),
        _ => {}
    }
}

const fn hex(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    }
}

/// `=XX` in `rest`, which begins after the `=`.
pub(crate) fn hex_octet(rest: &[u8]) -> Option<u8> {
    match rest {
        [high, low, ..] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

/// Quoted-printable (RFC 2045 §6.7): blanks at line ends are removed, a `=` that encodes nothing stays as it is.
#[must_use]
pub fn decode_quoted_printable(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut rest = data;
    while !rest.is_empty() {
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1);
        let (line, behind) = rest.split_at_checked(length).unwrap_or((rest, b""));
        rest = behind;
        let mut text = line;
        if let [before @ .., b'\n'] = text {
            text = before;
            if let [before @ .., b'\r'] = text {
                text = before;
            }
        }
        let newline = after(line, text.len());
        while let [before @ .., last] = text
            && is_blank(*last)
        {
            text = before;
        }
        let soft = matches!(text, [.., b'=']);
        if let [before @ .., b'='] = text {
            text = before;
        }
        decode_line(&mut out, text);
        if !soft {
            out.extend_from_slice(newline);
        }
    }
    out
}

fn decode_line(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(equals) = memchr::memchr(b'=', text) {
        out.extend_from_slice(text.get(..equals).unwrap_or_default());
        let behind = after(text, equals + 1);
        match hex_octet(behind) {
            Some(octet) => {
                out.push(octet);
                text = after(behind, 2);
            }
            None => {
                out.push(b'=');
                text = behind;
            }
        }
    }
    out.extend_from_slice(text);
}

impl<'a> Structure<'a> {
    /// The decoded content of a part that has no parts; `None` if its transfer encoding is unknown.
    #[must_use]
    pub fn decoded(&self, index: usize) -> Option<Cow<'a, [u8]>> {
        let body = self.body(index);
        if matches!(self.part(index)?.kind, Kind::Multipart | Kind::Message) {
            // RFC 2045 §6.4: these are never encoded
            return Some(Cow::Borrowed(body));
        }
        let encoding = transfer_encoding(self, index).unwrap_or(b"7bit");
        let is = |name: &str| encoding.eq_ignore_ascii_case(name.as_bytes());
        if is("base64") {
            Some(Cow::Owned(decode_base64(body)))
        } else if is("quoted-printable") {
            Some(Cow::Owned(decode_quoted_printable(body)))
        } else if is("7bit") || is("8bit") || is("binary") {
            Some(Cow::Borrowed(body))
        } else {
            None
        }
    }
}
