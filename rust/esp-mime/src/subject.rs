//! The base subject of RFC 5256 §2.1, by which threads and sorting compare messages.

use crate::encoded_word;

const LONGEST: usize = 4096;

/// A subject without its prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseSubject {
    /// The base subject as written; it is compared without regard to case.
    pub text: String,
    /// Whether a mark of a reply or a forward was removed.
    pub is_reply: bool,
}

/// The base subject of a `Subject` body.
#[must_use]
pub fn base_subject(value: &[u8]) -> BaseSubject {
    // Truncated: no subject is that long.
    let decoded = encoded_word::decode(value.get(..LONGEST).unwrap_or(value));
    // (1) blanks collapse
    let collapsed = decoded.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = collapsed.as_str();
    let mut is_reply = false;
    loop {
        // (2) trailers: "(fwd)" and blanks
        let trimmed = rest.trim_end();
        if let Some(before) = strip_suffix(trimmed, "(fwd)") {
            rest = before;
            is_reply = true;
            continue;
        }
        rest = trimmed;
        // (3), (4), (5) leaders and blobs, as long as something can be removed and something is left
        if let Some(behind) = leader(rest) {
            rest = behind;
            is_reply = true;
            continue;
        }
        // All blobs at once: what is after the last one is not a leader for any of them.
        while let Some(behind) = blob(rest).filter(|behind| !behind.is_empty()) {
            rest = behind;
        }
        // (6) "[fwd: … ]"
        if let Some(inside) =
            strip_prefix(rest, "[fwd:").and_then(|inside| inside.strip_suffix(']'))
        {
            rest = inside.trim_start();
            is_reply = true;
            continue;
        }
        return BaseSubject {
            text: rest.to_owned(),
            is_reply,
        };
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.get(..prefix.len())?
        .eq_ignore_ascii_case(prefix)
        .then(|| text.get(prefix.len()..))?
}

fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    text.get(at..)?
        .eq_ignore_ascii_case(suffix)
        .then(|| text.get(..at))?
}

/// `subj-leader = (*subj-blob subj-refwd) / WSP`
fn leader(text: &str) -> Option<&str> {
    if let Some(behind) = text.strip_prefix(' ') {
        return Some(behind);
    }
    let mut rest = text;
    while let Some(behind) = blob(rest) {
        rest = behind;
    }
    refwd(rest)
}

/// `subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`
fn refwd(text: &str) -> Option<&str> {
    let behind = strip_prefix(text, "re")
        .or_else(|| strip_prefix(text, "fwd"))
        .or_else(|| strip_prefix(text, "fw"))?
        .trim_start();
    let behind = blob(behind).unwrap_or(behind);
    behind.strip_prefix(':')
}

/// `subj-blob = "[" *BLOBCHAR "]" *WSP`
fn blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    inside.get(end..)?.strip_prefix(']').map(str::trim_start)
}
