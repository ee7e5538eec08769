//! Message ids (RFC 5322 §3.6.4), without their angle brackets.

use crate::octets::trim;

/// The most references that are kept; the last ones are nearest to the message.
const MOST_REFERENCES: usize = 1000;
/// Longer than any line may be (RFC 5322 §2.1.1): it is not an identifier but an attack.
const LONGEST: usize = 998;

/// `msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]`; blanks inside are removed, since they come from folding.
fn clean(inside: &[u8]) -> Option<String> {
    let mut octets: Vec<u8> = inside
        .iter()
        .copied()
        .filter(|octet| *octet > b' ' && *octet != 0x7f)
        .collect();
    if let Some(unquoted) = unquoted(&octets) {
        octets = unquoted;
    }
    (!octets.is_empty() && octets.len() <= LONGEST)
        .then(|| String::from_utf8_lossy(&octets).into_owned())
}

/// An identifier whose `id-left` is a quoted string, without its quotes: both are the same one (RFC 5256 §3).
fn unquoted(octets: &[u8]) -> Option<Vec<u8>> {
    let mut left = Vec::with_capacity(octets.len());
    let mut rest = octets.strip_prefix(b"\"")?.iter();
    loop {
        match rest.next()? {
            b'"' => break,
            b'\\' => left.push(*rest.next()?),
            octet => left.push(*octet),
        }
    }
    let rest = rest.as_slice();
    (rest.first() == Some(&b'@')).then(|| [left.as_slice(), rest].concat())
}

/// The identifiers in brackets in field bodies.
pub(crate) fn all<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut list = Vec::new();
    for value in values {
        let mut rest = value;
        while let Some(open) = memchr::memchr(b'<', rest) {
            rest = rest.get(open + 1..).unwrap_or_default();
            let Some(close) = memchr::memchr2(b'<', b'>', rest) else {
                break;
            };
            if rest.get(close) == Some(&b'>') {
                list.extend(clean(rest.get(..close).unwrap_or_default()));
                rest = rest.get(close + 1..).unwrap_or_default();
            }
        }
    }
    if list.len() > MOST_REFERENCES {
        list.drain(..list.len() - MOST_REFERENCES);
    }
    list
}

/// The identifier of a `Message-ID` body, which may lack its brackets.
pub(crate) fn message_id(value: &[u8]) -> Option<String> {
    all(std::iter::once(value)).into_iter().next().or_else(|| {
        let word = trim(value);
        let word = word
            .split(|&octet| octet <= b' ')
            .next()
            .unwrap_or_default();
        clean(word.strip_prefix(b"<").unwrap_or(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_left_side_is_the_same_as_without_quotes() {
        let id = |text: &str| message_id(text.as_bytes());
        assert_eq!(
            id("<\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>"),
            id("<01KF8JCEOCBS0045PS@xxx.yyy.com>")
        );
        assert_eq!(id(r#"<"a\"b"@x>"#).as_deref(), Some("a\"b@x"));
        assert_eq!(id("<\"a\">").as_deref(), Some("\"a\""));
        assert_eq!(id("<\"a@x>").as_deref(), Some("\"a@x"));
        assert_eq!(id("<\"a\"b@x>").as_deref(), Some("\"a\"b@x"));
    }
}
