//! Octets in any charset to Unicode; unknown or invalid input gives some text, never an error.

use crate::octets::trim;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use std::borrow::Cow;

/// Text of octets labelled as `label`, decoded as this crate does for parts of messages.
#[must_use]
pub fn decode_text<'a>(label: &[u8], data: &'a [u8]) -> Cow<'a, str> {
    decode(Some(label), data)
}

/// Decode `data`, labelled as `label`. Without a label, or with an unknown one, it is read as UTF-8 if valid, otherwise
/// as windows-1252, as mail readers guess.
pub(crate) fn decode<'a>(label: Option<&[u8]>, data: &'a [u8]) -> Cow<'a, str> {
    let label = label.map(trim).unwrap_or_default();
    if is_utf7(label) {
        return Cow::Owned(decode_utf7(data));
    }
    let encoding = Encoding::for_label_no_replacement(label);
    match encoding {
        Some(encoding) if !encoding.is_ascii_compatible() => encoding.decode(data).0,
        // For the WHATWG, US-ASCII is windows-1252; but 8-bit text labelled US-ASCII is mostly UTF-8.
        Some(encoding) if encoding != UTF_8 && !is_ascii_label(label) => {
            encoding.decode_without_bom_handling(data).0
        }
        Some(encoding) if encoding == UTF_8 => UTF_8.decode_with_bom_removal(data).0,
        _ => match std::str::from_utf8(data) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => WINDOWS_1252.decode_without_bom_handling(data).0,
        },
    }
}

fn is_ascii_label(label: &[u8]) -> bool {
    label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii")
}

fn is_utf7(label: &[u8]) -> bool {
    label.eq_ignore_ascii_case(b"utf-7")
        || label.eq_ignore_ascii_case(b"unicode-1-1-utf-7")
        || label.eq_ignore_ascii_case(b"csunicode11utf7")
}

/// UTF-7 (RFC 2152).
fn decode_utf7(data: &[u8]) -> String {
    let mut out = String::with_capacity(data.len());
    let mut rest = data;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        let (plain, behind) = rest.split_at_checked(plus).unwrap_or((rest, b""));
        out.push_str(&String::from_utf8_lossy(plain));
        let behind = behind.get(1..).unwrap_or_default();
        let length = behind
            .iter()
            .take_while(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/'))
            .count();
        let (encoded, behind) = behind.split_at_checked(length).unwrap_or((behind, b""));
        if encoded.is_empty() {
            out.push('+');
        } else {
            let units = crate::transfer::decode_base64(encoded);
            let units = units
                .as_chunks::<2>()
                .0
                .iter()
                .map(|unit| u16::from_be_bytes(*unit));
            out.extend(
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)),
            );
        }
        rest = behind.strip_prefix(b"-").unwrap_or(behind);
    }
    out.push_str(&String::from_utf8_lossy(rest));
    out
}
