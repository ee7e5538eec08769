//! Annotations as GETMETADATA, SETMETADATA and LIST name them (RFC 5464, RFC 9590).

use crate::cursor::{Cursor, SyntaxError};

/// Octets; more than any registered name needs.
const LONGEST_ENTRY: usize = 1024;
const MOST_ENTRIES: usize = 1000;

/// Entries with their values; `None` for NIL.
pub(crate) type Values = Vec<(String, Option<Vec<u8>>)>;

/// How far below an entry GETMETADATA looks (RFC 5464 §4.2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// The entry itself.
    #[default]
    Zero,
    /// And the entries directly below.
    One,
    /// And all entries below.
    Infinity,
}

/// Which annotations are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Lower case.
    pub entries: Vec<String>,
    /// Longer values are not wanted.
    pub max_size: Option<u64>,
    /// How far below the entries to look.
    pub depth: Depth,
}

/// `entry = astring`, a path below `/private` or `/shared` without `*`, `%`, empty or non-ASCII parts (RFC 5464 §3.2).
fn entry(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let start = cursor.offset();
    let name = cursor.astring_text()?.to_ascii_lowercase();
    let scope = name.split('/').nth(1).unwrap_or_default();
    let valid = name.starts_with('/')
        && matches!(scope, "private" | "shared")
        && !name.ends_with('/')
        && !name.contains("//")
        && name.len() <= LONGEST_ENTRY
        && name
            .bytes()
            .all(|octet| matches!(octet, 0x20..=0x7e) && !matches!(octet, b'*' | b'%'));
    if valid {
        return Ok(name);
    }
    Err(SyntaxError {
        offset: start,
        expected: "an entry below /private or /shared".into(),
    })
}

/// `"(" getmetadata-option *(SP getmetadata-option) ")"`.
fn options(cursor: &mut Cursor<'_>, wanted: &mut Annotations) -> Result<(), SyntaxError> {
    cursor.list(false, |cursor| {
        if cursor.take_word("MAXSIZE") {
            cursor.space()?;
            wanted.max_size = Some(cursor.number()?);
        } else if cursor.take_word("DEPTH") {
            cursor.space()?;
            wanted.depth = if cursor.take_word("0") {
                Depth::Zero
            } else if cursor.take_word("1") {
                Depth::One
            } else if cursor.take_word("infinity") {
                Depth::Infinity
            } else {
                return Err(cursor.error("0, 1 or infinity"));
            };
        } else {
            return Err(cursor.error("MAXSIZE or DEPTH"));
        }
        Ok(())
    })?;
    Ok(())
}

/// Whether options come next; entries begin with a slash.
fn at_options(cursor: &Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    ahead.take_octet(b'(') && (ahead.take_word("MAXSIZE") || ahead.take_word("DEPTH"))
}

/// `entries = entry / "(" entry *(SP entry) ")"`.
fn entries(cursor: &mut Cursor<'_>) -> Result<Vec<String>, SyntaxError> {
    let entries = if cursor.peek() == Some(b'(') {
        cursor.list(false, entry)?
    } else {
        vec![entry(cursor)?]
    };
    if entries.len() > MOST_ENTRIES {
        return Err(cursor.error("fewer entries"));
    }
    Ok(entries)
}

/// What follows `METADATA` among the return options of LIST (RFC 9590 §3).
pub(crate) fn list_annotations(cursor: &mut Cursor<'_>) -> Result<Annotations, SyntaxError> {
    let mut wanted = Annotations::default();
    if at_options(cursor) {
        options(cursor, &mut wanted)?;
        cursor.space()?;
    }
    wanted.entries = entries(cursor)?;
    Ok(wanted)
}

/// `"GETMETADATA" [SP getmetadata-options] SP mailbox SP entries`.
///
/// The examples of RFC 5464 have the options after the mailbox, and entries without parentheses; both are accepted.
pub(crate) fn get_metadata(
    cursor: &mut Cursor<'_>,
    mailbox: impl FnOnce(&mut Cursor<'_>) -> Result<String, SyntaxError>,
) -> Result<(String, Annotations), SyntaxError> {
    let mut wanted = Annotations::default();
    if cursor.peek() == Some(b'(') {
        options(cursor, &mut wanted)?;
        cursor.space()?;
    }
    let mailbox = mailbox(cursor)?;
    cursor.space()?;
    if at_options(cursor) {
        options(cursor, &mut wanted)?;
        cursor.space()?;
    }
    wanted.entries = entries(cursor)?;
    while cursor.take_octet(b' ') && wanted.entries.len() < MOST_ENTRIES {
        wanted.entries.push(entry(cursor)?);
    }
    Ok((mailbox, wanted))
}

/// `entry-values = "(" entry-value *(SP entry-value) ")"`, `entry-value = entry SP value`.
pub(crate) fn entry_values(cursor: &mut Cursor<'_>) -> Result<Values, SyntaxError> {
    cursor.list(false, |cursor| {
        let name = entry(cursor)?;
        cursor.space()?;
        Ok((name, value(cursor)?))
    })
}

/// `value = nstring / literal8`.
fn value(cursor: &mut Cursor<'_>) -> Result<Option<Vec<u8>>, SyntaxError> {
    if cursor.take_word("NIL") {
        return Ok(None);
    }
    if cursor.take_octet(b'~') {
        return Ok(Some(cursor.literal8()?.to_vec()));
    }
    Ok(Some(cursor.string()?.into_owned()))
}

/// The part of `entry-values` that comes before a value.
pub(crate) fn up_to_value(cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
    cursor.expect(b'(')?;
    loop {
        entry(cursor)?;
        cursor.space()?;
        if cursor.at_end() {
            return Ok(());
        }
        value(cursor)?;
        cursor.space()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<(String, Annotations), SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let read = get_metadata(&mut cursor, |cursor| cursor.astring_text())?;
        cursor.end()?;
        Ok(read)
    }

    #[test]
    fn options_may_stand_before_and_behind_the_mailbox() {
        let wanted = Annotations {
            entries: vec!["/shared/comment".into(), "/private/comment".into()],
            max_size: Some(1024),
            depth: Depth::One,
        };
        for text in [
            "(MAXSIZE 1024 DEPTH 1) INBOX (/shared/comment /private/comment)",
            "INBOX (DEPTH 1 maxsize 1024) (/Shared/Comment /private/comment)",
            "(DEPTH 1) INBOX (MAXSIZE 1024) /shared/comment /private/comment",
        ] {
            assert_eq!(asked(text), Ok(("INBOX".into(), wanted.clone())), "{text}");
        }
        assert_eq!(
            asked("\"\" (DEPTH infinity) /shared").map(|read| read.1.depth),
            Ok(Depth::Infinity)
        );
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "INBOX comment",
            "INBOX /comment",
            "INBOX /shared/",
            "INBOX /shared//a",
            "INBOX /sharedx/a",
            "INBOX \"/shared/%\"",
            "INBOX \"/shared/*\"",
            "INBOX \"/shared/\u{e9}\"",
            "INBOX ()",
            "(DEPTH 2) INBOX /shared/a",
            "(SIZE 2) INBOX /shared/a",
            "INBOX /shared/a /shared/b ",
        ] {
            assert!(asked(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_strings_literals_of_any_octets_or_nothing() {
        let mut cursor = Cursor::new(
            b"(/shared/a \"x\" /private/b NIL /shared/c ~{3}\r\n\0a\xff /shared/d {1+}\r\ny)",
        );
        assert_eq!(
            entry_values(&mut cursor),
            Ok(vec![
                ("/shared/a".into(), Some(b"x".to_vec())),
                ("/private/b".into(), None),
                ("/shared/c".into(), Some(b"\0a\xff".to_vec())),
                ("/shared/d".into(), Some(b"y".to_vec())),
            ])
        );
    }
}
