//! Reverse-paths and forward-paths (RFC 5321 §4.1.2, RFC 6531 §3.3).

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::command::Problem;

/// RFC 5321 §4.5.3.1.1 requires at least 64 octets; rewritten senders (SRS, BATV, VERP) are longer.
const LONGEST_LOCAL_PART: usize = 255;
/// RFC 5321 §4.5.3.1.2.
const LONGEST_DOMAIN: usize = 255;

/// A path without its brackets, source route and quoting.
///
/// If both parts are empty it is the null path; if only the domain is, it is `<postmaster>` (RFC 5321 §4.5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Path {
    /// The local part, with quotes and quoted pairs resolved.
    pub local_part: String,
    /// The domain as written, or the address literal with its brackets.
    pub domain: String,
}

impl Path {
    /// Whether this is `<>`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.local_part.is_empty() && self.domain.is_empty()
    }

    /// Whether RFC 6531 is needed to transport it.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii() && self.domain.is_ascii()
    }
}

/// Read `Path` from the front of `octets`; returns it and what follows.
///
/// ```abnf
/// Path      = "<" [ A-d-l ":" ] Mailbox ">"
/// A-d-l     = At-domain *( "," At-domain )
/// At-domain = "@" Domain
/// Mailbox   = Local-part "@" ( Domain / address-literal )
/// ```
///
/// The source route is read and dropped (RFC 5321 §4.1.1.3, appendix C). A mailbox without brackets is accepted too:
/// old scanners and printers send it.
///
/// # Errors
/// `Problem::Path` when the octets do not begin with a path.
pub fn path(octets: &[u8]) -> Result<(Path, &[u8]), Problem> {
    match octets.strip_prefix(b"<") {
        Some(rest) => {
            if let Some(rest) = rest.strip_prefix(b">") {
                return Ok((Path::default(), rest));
            }
            let (found, rest) = mailbox(source_route(rest)?)?;
            Ok((found, rest.strip_prefix(b">").ok_or(Problem::Path)?))
        }
        None => mailbox(octets),
    }
}

fn source_route(octets: &[u8]) -> Result<&[u8], Problem> {
    if !octets.starts_with(b"@") {
        return Ok(octets);
    }
    let mut rest = octets;
    loop {
        rest = domain(rest.strip_prefix(b"@").ok_or(Problem::Path)?)?.1;
        match rest.split_first() {
            Some((b',', after)) => rest = after,
            Some((b':', after)) => return Ok(after),
            _ => return Err(Problem::Path),
        }
    }
}

fn mailbox(octets: &[u8]) -> Result<(Path, &[u8]), Problem> {
    let (local_part, rest) = match octets.strip_prefix(b"\"") {
        Some(rest) => quoted_string(rest)?,
        None => dot_string(octets)?,
    };
    if local_part.len() > LONGEST_LOCAL_PART {
        return Err(Problem::Path);
    }
    let Some(after) = rest.strip_prefix(b"@") else {
        // RFC 5321 §4.1.1.3: only postmaster may lack a domain; the caller checks where.
        return if local_part.eq_ignore_ascii_case("postmaster") {
            Ok((
                Path {
                    local_part: local_part.into_owned(),
                    domain: String::new(),
                },
                rest,
            ))
        } else {
            Err(Problem::Path)
        };
    };
    let (domain, rest) = if after.starts_with(b"[") {
        address_literal(after)?
    } else {
        domain(after)?
    };
    Ok((
        Path {
            local_part: local_part.into_owned(),
            domain: domain.to_owned(),
        },
        rest,
    ))
}

/// Dots may be anywhere: `a..b@docomo.ne.jp` and `a.@…` are in use, although `Dot-string` forbids them.
fn dot_string(octets: &[u8]) -> Result<(Cow<'_, str>, &[u8]), Problem> {
    let (taken, rest) = split(octets, |octet| atext(octet) || octet == b'.');
    if taken.is_empty() {
        return Err(Problem::Path);
    }
    Ok((Cow::Borrowed(text(taken)?), rest))
}

/// What follows the opening quote: `*QcontentSMTP DQUOTE`.
fn quoted_string(octets: &[u8]) -> Result<(Cow<'_, str>, &[u8]), Problem> {
    let mut content = Vec::new();
    let mut rest = octets;
    loop {
        match rest.split_first() {
            Some((b'"', after)) => {
                return Ok((Cow::Owned(text(&content)?.to_owned()), after));
            }
            Some((b'\\', after)) => {
                let (&octet, after) = after.split_first().ok_or(Problem::Path)?;
                if !(b' '..=b'~').contains(&octet) {
                    return Err(Problem::Path);
                }
                content.push(octet);
                rest = after;
            }
            Some((&octet, after)) if octet >= b' ' && octet != 0x7f => {
                content.push(octet);
                rest = after;
            }
            _ => return Err(Problem::Path),
        }
    }
}

/// `sub-domain *("." sub-domain)`; underscores are in use, and U-labels come from RFC 6531.
fn domain(octets: &[u8]) -> Result<(&str, &[u8]), Problem> {
    let (taken, rest) = split(octets, |octet| {
        octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.') || octet >= 0x80
    });
    let name = text(taken)?;
    let whole = taken.len() <= LONGEST_DOMAIN
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        });
    if whole {
        Ok((name, rest))
    } else {
        Err(Problem::Path)
    }
}

/// `"[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"`
fn address_literal(octets: &[u8]) -> Result<(&str, &[u8]), Problem> {
    let end = memchr::memchr(b']', octets).ok_or(Problem::Path)?;
    let (literal, rest) = octets.split_at_checked(end + 1).ok_or(Problem::Path)?;
    let literal = text(literal)?;
    let inner = literal.trim_start_matches('[').trim_end_matches(']');
    let valid = match inner.split_once(':') {
        None => inner.parse::<Ipv4Addr>().is_ok(),
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        // Standardized-tag ":" 1*dcontent, none is registered today.
        Some((tag, content)) => {
            !tag.is_empty()
                && tag
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
                && !content.is_empty()
                && content
                    .bytes()
                    .all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'[' | b'\\'))
        }
    };
    if valid {
        Ok((literal, rest))
    } else {
        Err(Problem::Path)
    }
}

/// `atext` of RFC 5322 §3.2.3 with UTF8-non-ascii (RFC 6531 §3.3).
const fn atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
        || octet >= 0x80
}

fn split(octets: &[u8], member: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = octets
        .iter()
        .position(|&octet| !member(octet))
        .unwrap_or(octets.len());
    octets.split_at_checked(end).unwrap_or((octets, b""))
}

fn text(octets: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(octets).map_err(|_| Problem::Path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, String)> {
        match path(text.as_bytes()) {
            Ok((found, b"")) => Some((found.local_part, found.domain)),
            _ => None,
        }
    }

    fn pair(local_part: &str, domain: &str) -> Option<(String, String)> {
        Some((local_part.to_owned(), domain.to_owned()))
    }

    #[test]
    fn paths_of_every_form_are_read() {
        assert_eq!(read("<>"), pair("", ""));
        assert_eq!(read("<a@b.example>"), pair("a", "b.example"));
        assert_eq!(read("a@b.example"), pair("a", "b.example"));
        assert_eq!(
            read("<\"a b\\\"@c\"@d.example>"),
            pair("a b\"@c", "d.example")
        );
        assert_eq!(
            read("<@x.example,@y.example:a@b.example>"),
            pair("a", "b.example")
        );
        assert_eq!(read("<a@[192.0.2.1]>"), pair("a", "[192.0.2.1]"));
        assert_eq!(
            read("<a@[IPv6:2001:db8::1]>"),
            pair("a", "[IPv6:2001:db8::1]")
        );
        assert_eq!(read("<Postmaster>"), pair("Postmaster", ""));
        assert_eq!(read("<用户@例え.example>"), pair("用户", "例え.example"));
        assert_eq!(read("<a..b.@c.example>"), pair("a..b.", "c.example"));
        assert_eq!(read("<a%b@c.example>"), pair("a%b", "c.example"));
        assert_eq!(read("<x!a@c.example>"), pair("x!a", "c.example"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "<",
            "<a>",
            "<a@>",
            "<@b>",
            "<a@b",
            "<a@-b.example>",
            "<a@b..c>",
            "<a b@c>",
            "<\"a@b>",
            "<a@[300.1.1.1]>",
            "<a@[IPv6:zz]>",
            "<a@b@c>",
            "<@x.example:>",
            "<@x.example a@b>",
            "<a\u{0}@b>",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert!(path(b"<\xff@b.example>").is_err());
        assert!(path(format!("<{}@b.example>", "a".repeat(256)).as_bytes()).is_err());
    }
}
