//! Letters without their case: simple folding, one character for one, so that a folded part of a text is a part of
//! the folded text (in the spirit of RFC 5051; accents are kept).

use std::sync::LazyLock;

/// Latin, Greek, Cyrillic and Armenian.
const TABLE: usize = 0x590;

static FOLDED: LazyLock<Vec<char>> = LazyLock::new(|| {
    (0..TABLE)
        .map(|code| {
            u32::try_from(code)
                .ok()
                .and_then(char::from_u32)
                .map_or(char::REPLACEMENT_CHARACTER, compute)
        })
        .collect()
});

fn only(mut chars: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if chars.len() == 1 { chars.next() } else { None }
}

fn compute(char: char) -> char {
    let upper = only(char.to_uppercase()).unwrap_or(char);
    only(upper.to_lowercase()).unwrap_or(upper)
}

fn fold_char(char: char) -> char {
    match u32::from(char) {
        // scripts without case: Hebrew to Burmese, CJK, Hangul
        0x590..0x10a0 | 0x2e80..0xa640 | 0xac00..0xfb00 => char,
        code => usize::try_from(code)
            .ok()
            .and_then(|code| FOLDED.get(code))
            .copied()
            .unwrap_or_else(|| compute(char)),
    }
}

/// Text as [`SearchText`](crate::SearchText) has it: without case, CRLF as LF.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut folded = Vec::with_capacity(text.len());
    fold_into(&mut folded, text);
    String::from_utf8_lossy(&folded).into_owned()
}

/// Add `text` to `out`, folded, CRLF as LF.
pub(crate) fn fold_into(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    if text.is_ascii() {
        without_cr(out, text.as_bytes());
    } else {
        out.reserve(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let ascii = ascii_length(rest);
            let (plain, behind) = rest.split_at_checked(ascii).unwrap_or((rest, ""));
            without_cr(out, plain.as_bytes());
            let mut chars = behind.chars();
            rest = behind;
            while let Some(char) = chars.next() {
                if char.is_ascii() {
                    break;
                }
                rest = chars.as_str();
                out.extend_from_slice(fold_char(char).encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    if let Some(added) = out.get_mut(start..) {
        added.make_ascii_lowercase();
    }
}

fn ascii_length(text: &str) -> usize {
    encoding_rs::Encoding::ascii_valid_up_to(text.as_bytes())
}

/// Add `text` with the CR of each CRLF dropped.
fn without_cr(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(cr) = memchr::memchr(b'\r', text) {
        let keep = if text.get(cr + 1) == Some(&b'\n') {
            cr
        } else {
            cr + 1
        };
        out.extend_from_slice(text.get(..keep).unwrap_or_default());
        text = text.get(cr + 1..).unwrap_or_default();
    }
    out.extend_from_slice(text);
}
