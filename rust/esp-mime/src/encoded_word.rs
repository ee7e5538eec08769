//! Header text to Unicode: encoded-words (RFC 2047), raw UTF-8 (RFC 6532), and whatever else is there.

use crate::charset;
use crate::octets::{after, is_space};
use crate::transfer::{decode_base64, hex_octet};
use std::borrow::Cow;

/// An encoded-word may have 75 octets (RFC 2047 §2); some programs write longer ones.
const LONGEST_WORD: usize = 500;

struct Word<'a> {
    charset: &'a [u8],
    octets: Vec<u8>,
    length: usize,
}

/// `encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?="` at the beginning of `text`.
fn word(text: &[u8]) -> Option<Word<'_>> {
    let inside = text.strip_prefix(b"=?")?;
    let inside = inside.get(..LONGEST_WORD).unwrap_or(inside);
    let charset_end = memchr::memchr(b'?', inside)?;
    let charset = inside.get(..charset_end)?;
    if charset.is_empty() || charset.iter().copied().any(is_space) {
        return None;
    }
    let [encoding, b'?', encoded @ ..] = inside.get(charset_end + 1..)? else {
        return None;
    };
    let end = memchr::memmem::find(encoded, b"?=")?;
    let encoded_text = encoded.get(..end)?;
    let octets = match encoding {
        b'B' | b'b' => decode_base64(encoded_text),
        b'Q' | b'q' => decode_q(encoded_text),
        _ => return None,
    };
    Some(Word {
        charset: charset
            .split(|&octet| octet == b'*')
            .next()
            .unwrap_or(charset),
        octets,
        length: 2 + charset_end + 3 + end + 2,
    })
}

fn decode_q(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [octet, behind @ ..] = rest {
        rest = behind;
        match octet {
            b'_' => out.push(b' '),
            b'=' => match hex_octet(behind) {
                Some(decoded) => {
                    out.push(decoded);
                    rest = after(behind, 2);
                }
                None => out.push(b'='),
            },
            _ => out.push(*octet),
        }
    }
    out
}

/// A field body as text on one line: unfolded, encoded-words decoded wherever they are.
#[must_use]
pub fn decode(value: &[u8]) -> Cow<'_, str> {
    let folded = memchr::memchr2(b'\r', b'\n', value).is_some();
    if memchr::memmem::find(value, b"=?").is_none() {
        let text = charset::decode(None, value);
        return if folded {
            Cow::Owned(one_line(&text))
        } else {
            text
        };
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = memchr::memmem::find(rest, b"=?") {
        let Some(mut found) = word(after(rest, start)) else {
            let (plain, behind) = rest.split_at_checked(start + 2).unwrap_or((rest, b""));
            out.push_str(&charset::decode(None, plain));
            rest = behind;
            continue;
        };
        out.push_str(&charset::decode(
            None,
            rest.get(..start).unwrap_or_default(),
        ));
        rest = after(rest, start + found.length);
        // RFC 2047 §6.2: blanks between encoded-words are not shown. Programs split a character between two words
        // (§5 forbids it), so words of one charset are decoded together.
        loop {
            let blanks = rest.iter().take_while(|octet| is_space(**octet)).count();
            let Some(next) = word(after(rest, blanks)) else {
                break;
            };
            rest = after(rest, blanks + next.length);
            if next.charset.eq_ignore_ascii_case(found.charset) {
                found.octets.extend_from_slice(&next.octets);
            } else {
                out.push_str(&charset::decode(Some(found.charset), &found.octets));
                found = next;
            }
        }
        out.push_str(&charset::decode(Some(found.charset), &found.octets));
    }
    out.push_str(&charset::decode(None, rest));
    Cow::Owned(one_line(&out))
}

/// The text without line ends; the blank of a fold stays (RFC 5322 §2.2.3), a bare CR or LF becomes one.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\r' | '\n' => {
                if !matches!(chars.peek(), None | Some(' ' | '\t' | '\r' | '\n')) {
                    out.push(' ');
                }
            }
            _ => out.push(char),
        }
    }
    out
}
