//! Strings as they are written in responses (RFC 3501 §4.3, §9).

use crate::cursor::is_astring_char;
use crate::utf7;

/// Append an nstring: `NIL`, a quoted string, or a literal if that cannot hold it.
pub fn write_nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else {
        out.extend_from_slice(b"NIL");
        return;
    };
    // QUOTED-CHAR has seven bits (RFC 3501 §9); a long text is easier for clients as a literal.
    let quotable = value.len() <= 1000
        && value
            .iter()
            .all(|octet| matches!(octet, 1..=0x7f) && !matches!(octet, b'\r' | b'\n'));
    if quotable {
        write_quoted(out, value);
    } else {
        out.extend_from_slice(format!("{{{}}}\r\n", value.len()).as_bytes());
        out.extend_from_slice(value);
    }
}

fn write_quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for &octet in value {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// A mailbox name as an astring.
#[must_use]
pub fn mailbox(name: &str, utf8: bool) -> Vec<u8> {
    let wire = if utf8 {
        name.to_owned()
    } else {
        utf7::encode(name)
    };
    let octets = wire.as_bytes();
    let mut out = Vec::with_capacity(octets.len() + 2);
    // RFC 3501 §4.5: the atom NIL would be read as no string at all.
    if !octets.is_empty()
        && octets.iter().all(|octet| is_astring_char(*octet))
        && !wire.eq_ignore_ascii_case("NIL")
    {
        out.extend_from_slice(octets);
    } else if utf8
        && !octets
            .iter()
            .any(|octet| matches!(octet, 0 | b'\r' | b'\n'))
    {
        write_quoted(&mut out, octets);
    } else {
        write_nstring(&mut out, Some(octets));
    }
    out
}

/// Decode base64 (RFC 4648 §4), strictly.
pub(crate) fn base64(encoded: &[u8]) -> Option<Vec<u8>> {
    if !encoded.len().is_multiple_of(4) {
        return None;
    }
    let padding = encoded
        .iter()
        .rev()
        .take_while(|octet| **octet == b'=')
        .count();
    let digits = encoded.get(..encoded.len() - padding)?;
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(encoded.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).unwrap_or(0));
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(out)
}

/// A number in decimal digits; for hundreds of thousands, `write!` would take most of the time.
pub(crate) fn number(out: &mut Vec<u8>, mut value: u32) {
    let mut digits = [0_u8; 10];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(10 - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_shortest_form() {
        assert_eq!(mailbox("Sent", false), b"Sent");
        assert_eq!(mailbox("nil", false), b"\"nil\"");
        assert_eq!(mailbox("", false), b"\"\"");
        assert_eq!(mailbox("A \"b\"", false), b"\"A \\\"b\\\"\"");
        assert_eq!(mailbox("Entwürfe", false), b"Entw&APw-rfe");
        assert_eq!(mailbox("Entwürfe", true), "\"Entwürfe\"".as_bytes());
    }

    #[test]
    fn text_that_cannot_be_quoted_is_a_literal() {
        let write = |value: Option<&[u8]>| {
            let mut out = Vec::new();
            write_nstring(&mut out, value);
            out
        };
        assert_eq!(write(None), b"NIL");
        assert_eq!(write(Some(b"a\r\nb")), b"{4}\r\na\r\nb");
        assert_eq!(write(Some(b"a\\")), b"\"a\\\\\"");
    }

    #[test]
    fn base64_is_strict() {
        assert_eq!(base64(b"AGEAYg==").as_deref(), Some(b"\0a\0b".as_slice()));
        for bad in [b"AGEAYg".as_slice(), b"AGEAYh==", b"A===", b"====", b"A GE"] {
            assert_eq!(base64(bad), None);
        }
    }
}
