//! LIST patterns over many names (RFC 3501 §6.3.8, RFC 5258 §3).

use std::collections::HashSet;

/// Patterns; a name has to match one of them.
#[derive(Debug, Clone)]
pub struct Patterns {
    /// Those without wildcards: a client may send thousands of them.
    plain: HashSet<Vec<u8>>,
    wild: Vec<Vec<u8>>,
    delimiter: u8,
}

const INBOX: &[u8] = b"INBOX";

/// A name as plain patterns are compared: its INBOX in upper case.
fn folded(name: &[u8], delimiter: u8) -> Vec<u8> {
    let mut folded = name.to_vec();
    if let Some(head) = folded.get_mut(..inbox_of(name, delimiter)) {
        head.make_ascii_uppercase();
    }
    folded
}

/// How many octets at the beginning of a name are compared without case: `INBOX`, alone or above others (§5.1).
fn inbox_of(name: &[u8], delimiter: u8) -> usize {
    let head = name.get(..INBOX.len());
    let alone = name.get(INBOX.len()).is_none_or(|next| *next == delimiter);
    if alone && head.is_some_and(|head| head.eq_ignore_ascii_case(INBOX)) {
        INBOX.len()
    } else {
        0
    }
}

impl Patterns {
    /// Take patterns; the delimiter and the wildcards are ASCII, so octets can be compared instead of characters.
    #[must_use]
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p str>, delimiter: u8) -> Self {
        let (wild, plain): (Vec<&[u8]>, Vec<&[u8]>) = patterns
            .into_iter()
            .map(str::as_bytes)
            .partition(|pattern| pattern.iter().any(|octet| matches!(octet, b'*' | b'%')));
        Self {
            plain: plain
                .into_iter()
                .map(|pattern| folded(pattern, delimiter))
                .collect(),
            wild: wild.into_iter().map(<[u8]>::to_vec).collect(),
            delimiter,
        }
    }

    /// How many have wildcards: what matching costs for each name.
    #[must_use]
    pub fn wild(&self) -> usize {
        self.wild.len()
    }

    /// Whether one of the patterns matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        (!self.plain.is_empty() && self.plain.contains(&folded(name, self.delimiter)))
            || self
                .wild
                .iter()
                .any(|pattern| matches(pattern, name, self.delimiter))
    }
}

/// A wildcard that was passed: where the pattern goes on after it, and the first octet that it does not cover.
#[derive(Clone, Copy)]
struct Passed {
    pattern: usize,
    name: usize,
}

/// Match in time of at most the product of the lengths, and without taking memory.
///
/// After a wildcard the leftmost match is as good as any other. So only the last `*`, and the last `%` after it, are
/// ever returned to: what an earlier `%` could reach is bounded by the same delimiter.
fn matches(pattern: &[u8], name: &[u8], delimiter: u8) -> bool {
    let insensitive = inbox_of(name, delimiter);
    let (mut at, mut read) = (0, 0);
    let (mut star, mut percent): (Option<Passed>, Option<Passed>) = (None, None);
    loop {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                (star, percent) = (
                    Some(Passed {
                        pattern: at,
                        name: read,
                    }),
                    None,
                );
                continue;
            }
            Some(b'%') => {
                at += 1;
                percent = Some(Passed {
                    pattern: at,
                    name: read,
                });
                continue;
            }
            Some(wanted) => {
                if let Some(octet) = name.get(read)
                    && (octet == wanted
                        || (read < insensitive && octet.eq_ignore_ascii_case(wanted)))
                {
                    at += 1;
                    read += 1;
                    continue;
                }
            }
            None if read == name.len() => return true,
            None => {}
        }
        // Let the last wildcard that can take another octet do so.
        let again = match (&mut percent, &mut star) {
            (Some(passed), _)
                if name
                    .get(passed.name)
                    .is_some_and(|octet| *octet != delimiter) =>
            {
                passed
            }
            (_, Some(passed)) if passed.name < name.len() => {
                percent = None;
                passed
            }
            _ => return false,
        };
        again.name += 1;
        (at, read) = (again.pattern, again.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(pattern: &str, name: &str) -> bool {
        Patterns::new([pattern], b'/').matches(name)
    }

    #[test]
    fn wildcards_match_as_the_rfc_says() {
        for (pattern, name, matches) in [
            ("*", "a/b/c", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("%", "", true),
            ("a*c", "a/b/c", true),
            ("a%c", "a/c", false),
            ("*/%", "a/b/c", true),
            ("%*%", "a/b", true),
            ("%/b*d", "a/b/c/d", true),
            ("%b/%", "a/b/c", false),
            ("*b/%", "a/b/c", true),
            ("inbox", "INBOX", true),
            ("inb%", "INBOX", true),
            ("inbox/%", "INBOX/a", true),
            ("*box/a", "INBOX/a", true),
            ("INBOX/A", "INBOX/a", false),
            ("inboxes", "INBOXES", false),
            ("inboxe%", "INBOXES", false),
            ("", "", true),
            ("", "a", false),
            ("*%*%*%b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("%ü", "für/ü", false),
            ("*ü", "für/ü", true),
        ] {
            assert_eq!(one(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_has_to_match_one_of_several() {
        let patterns = Patterns::new(["INBOX", "Sent/%", "Drafts"], b'/');
        assert_eq!(patterns.wild(), 1);
        for (name, matches) in [
            ("INBOX", true),
            ("Sent", false),
            ("Sent/2024", true),
            ("Drafts", true),
            ("drafts", false),
        ] {
            assert_eq!(patterns.matches(name), matches, "{name}");
        }
    }

    /// The definition: each wildcard takes any number of octets.
    fn defined(pattern: &[u8], name: &[u8]) -> bool {
        let rest_of = |taken: usize| name.get(taken..).unwrap_or_default();
        let crossed = |taken: usize| name.get(..taken).unwrap_or_default().contains(&b'/');
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|taken| defined(rest, rest_of(taken))),
            Some((b'%', rest)) => (0..=name.len())
                .take_while(|taken| !crossed(*taken))
                .any(|taken| defined(rest, rest_of(taken))),
            Some((wanted, rest)) => name.first() == Some(wanted) && defined(rest, rest_of(1)),
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_it_is_defined_to_be(pattern in "[ab/%*]{0,8}", name in "[ab/]{0,10}") {
            prop_assert_eq!(one(&pattern, &name), defined(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
