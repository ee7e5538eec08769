//! Values as IMAP strings (RFC 3501 §4.3): quoted if possible, otherwise literals; never with a NUL.

use crate::grammar::NUL_REPLACEMENT;
use std::borrow::Cow;

/// With more escapes than this, a literal is shorter.
const MOST_ESCAPES: usize = 4;

/// `value` with each NUL replaced, borrowed if it has none.
fn without_nul(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(0, value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut safe = Vec::with_capacity(value.len() + 8);
    for &octet in value {
        match octet {
            0 => safe.extend_from_slice(NUL_REPLACEMENT),
            _ => safe.push(octet),
        }
    }
    Cow::Owned(safe)
}

/// A decimal number.
pub(crate) fn number(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// `literal = "{" number "}" CRLF *CHAR8`
fn literal(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'{');
    number(out, value.len());
    out.extend_from_slice(b"}\r\n");
    out.extend_from_slice(value);
}

/// `nstring = string / nil`
pub(crate) fn nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// `string = quoted / literal`
pub(crate) fn string(out: &mut Vec<u8>, value: &[u8]) {
    let mut escapes = 0_usize;
    let mut unquotable = false;
    for &octet in value {
        escapes += usize::from(octet == b'"' || octet == b'\\');
        unquotable |= octet >= 0x80 || matches!(octet, 0 | b'\r' | b'\n');
    }
    if unquotable || escapes > MOST_ESCAPES {
        literal(out, &without_nul(value));
        return;
    }
    out.push(b'"');
    if escapes == 0 {
        out.extend_from_slice(value);
    } else {
        for &octet in value {
            if octet == b'"' || octet == b'\\' {
                out.push(b'\\');
            }
            out.push(octet);
        }
    }
    out.push(b'"');
}

/// A field body on one line: a line end before a blank is removed, any other becomes a SP.
pub(crate) fn unfolded_string(out: &mut Vec<u8>, value: &[u8]) {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        string(out, value);
        return;
    }
    let mut line = Vec::with_capacity(value.len());
    for (index, &octet) in value.iter().enumerate() {
        if !matches!(octet, b'\r' | b'\n') {
            line.push(octet);
        } else if !matches!(
            value.get(index + 1),
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | 0)
        ) {
            line.push(b' ');
        }
    }
    string(out, &line);
}

/// A text for human readers: blanks and line ends collapse into one SP, and are removed at the ends.
pub(crate) fn text_for_humans(out: &mut Vec<u8>, value: &[u8]) {
    let mut simple = true;
    let mut blank = true;
    for &octet in value {
        let space = octet == b' ';
        simple &= !(octet >= 0x80
            || matches!(octet, 0 | b'"' | b'\\' | b'\r' | b'\n' | b'\t')
            || (space && blank));
        blank = space;
    }
    if simple && (!blank || value.is_empty()) {
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
        return;
    }
    let mut text = Vec::with_capacity(value.len() + 8);
    let mut blank = true;
    for &octet in value {
        match octet {
            b' ' | b'\t' | b'\r' | b'\n' => {
                if !blank {
                    text.push(b' ');
                }
                blank = true;
            }
            0 => {
                text.extend_from_slice(NUL_REPLACEMENT);
                blank = false;
            }
            _ => {
                text.push(octet);
                blank = false;
            }
        }
    }
    if blank {
        text.pop();
    }
    if text.is_empty() {
        out.extend_from_slice(b"\"\"");
    } else {
        literal(out, &text);
    }
}
