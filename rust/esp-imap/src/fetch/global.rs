//! BODY and BODYSTRUCTURE without IMAP4rev2: in RFC 3501 §9, `message/global` is a type like any other.

use memchr::memmem;
use std::borrow::Cow;
use std::sync::LazyLock;

/// How the structure of a `message/global` begins, as `esp_mime` writes it.
const GLOBAL: &[u8] = b"(\"message\" \"global\"";
/// Made once: making it takes longer than searching a structure.
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(GLOBAL));

/// Write a structure without envelope, structure and lines of the messages in `message/global` (RFC 9051 §9,
/// `media-message`, has them).
pub(super) fn without_global(structure: &[u8]) -> Cow<'_, [u8]> {
    if FINDER.find(structure).is_none() {
        return Cow::Borrowed(structure);
    }
    let mut out = Vec::with_capacity(structure.len());
    let mut rest = structure;
    // Item by item: a literal may contain anything, and a parameter or a name may look the same.
    while let Some(&octet) = rest.first() {
        let (copied, after) = match inner(rest) {
            Some((head, after)) => (head, after),
            None if octet == b'(' || octet == b')' || octet == b' ' => split(rest, 1),
            None => split(rest, item(rest)),
        };
        out.extend_from_slice(copied);
        rest = after;
    }
    Cow::Owned(out)
}

/// `(head, after)`: what is between them describes the message in a `message/global`.
fn inner(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = octets.starts_with(GLOBAL).then_some(GLOBAL.len())?;
    let mut last = at;
    // body-fields = body-fld-param SP body-fld-id SP body-fld-desc SP body-fld-enc SP body-fld-octets
    for _ in 0..5 {
        last = at + 1;
        at = behind_item(octets, at)?;
    }
    let number = octets.get(last..at)?.iter().all(u8::is_ascii_digit);
    if !number || !octets.get(at..)?.starts_with(b" (") {
        return None;
    }
    let head = octets.get(..at)?;
    // SP envelope SP body SP body-fld-lines
    for _ in 0..3 {
        at = behind_item(octets, at)?;
    }
    Some((head, octets.get(at..)?))
}

/// The end of the item after the space at `at`.
fn behind_item(octets: &[u8], at: usize) -> Option<usize> {
    let rest = octets.get(at..)?.strip_prefix(b" ")?;
    if rest.first() == Some(&b')') {
        return None;
    }
    Some(at + 1 + item(rest))
}

/// The length of a list, a string or an atom.
fn item(octets: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&octet) = octets.get(at) {
        match octet {
            b'(' => depth += 1,
            b')' if depth == 0 => break,
            b')' => depth -= 1,
            b'"' => at += quoted(octets.get(at..).unwrap_or_default()),
            b'{' => at += literal(octets.get(at..).unwrap_or_default()),
            b' ' if depth == 0 => break,
            _ => {}
        }
        at += 1;
    }
    at.min(octets.len())
}

/// The length of a quoted string without its last octet.
fn quoted(octets: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&octet) = octets.get(at) {
        match octet {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The length of a literal without its last octet.
fn literal(octets: &[u8]) -> usize {
    let Some(end) = memchr::memchr(b'\n', octets) else {
        return octets.len();
    };
    let size = octets
        .iter()
        .skip(1)
        .take_while(|octet| octet.is_ascii_digit())
        .fold(0_usize, |sum, digit| {
            sum.saturating_mul(10)
                .saturating_add(usize::from(digit - b'0'))
        });
    end.saturating_add(size)
}

fn split(octets: &[u8], at: usize) -> (&[u8], &[u8]) {
    octets.split_at_checked(at.max(1)).unwrap_or((octets, b""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_octets_make_it_panic(words in prop::collection::vec(prop::sample::select(vec![
            "(\"message\" \"global\"", " ", "(", ")", "NIL", "\"", "\\", "{3}\r\n", "{", "7", "x",
        ]), 0..40)) {
            let text = words.concat();
            prop_assert!(without_global(text.as_bytes()).len() <= text.len());
        }
    }

    fn without(structure: &str) -> String {
        String::from_utf8_lossy(&without_global(structure.as_bytes())).into_owned()
    }

    #[test]
    fn what_is_of_the_message_inside_is_left_out() {
        let inside = "(NIL {9}\r\n(\"a\" (b)) NIL NIL NIL NIL NIL NIL NIL NIL) (\"text\" \"plain\" NIL NIL NIL \"7bit\" 3 1) 4";
        let basic = "(\"message\" \"global\" (\"x\" \"y\\\")\") NIL {2}\r\n(( \"8bit\" 18";
        for more in ["", " NIL NIL NIL NIL"] {
            let both = format!("({basic} {inside}{more}){basic}{more}) \"mixed\"{more})");
            assert_eq!(
                without(&both),
                format!("({basic}{more}){basic}{more}) \"mixed\"{more})")
            );
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for structure in [
            "(\"text\" \"plain\" (\"message\" \"global\" \"a\" \"b\" \"c\" \"d\") NIL NIL \"7bit\" 3 1)",
            "(\"text\" \"plain\" (\"message\" \"global\") NIL NIL \"7bit\" 3 1)",
            // An envelope with this date and this subject.
            "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 9 (\"message\" \"global\" ((NIL NIL \"a\" \"b\")) \
             ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) \
             ((NIL NIL \"a\" \"b\")) NIL NIL) (\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) 1)",
            "(\"text\" \"plain\" NIL NIL {36}\r\n(\"message\" \"global\" NIL NIL NIL \"\" 1 ( \"7bit\" 3 1)",
            "(\"message\" \"global\"",
            "(\"message\" \"global\" {999}\r\n",
            "(\"message\" \"global\" \"\\",
        ] {
            assert_eq!(without(structure), structure);
        }
    }
}
