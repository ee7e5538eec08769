//! Flag sets as bits, the same in PostgreSQL, here and in Python's `core.message`.

use crate::cursor::{Cursor, SyntaxError, is_atom_char};
use std::collections::HashSet;

/// `\Answered`
pub const ANSWERED: i64 = 1;
/// `\Flagged`
pub const FLAGGED: i64 = 2;
/// `\Deleted`
pub const DELETED: i64 = 4;
/// `\Seen`
pub const SEEN: i64 = 8;
/// `\Draft`
pub const DRAFT: i64 = 16;
/// Keyword n of a mailbox is bit `FIRST_KEYWORD_BIT + n`.
pub const FIRST_KEYWORD_BIT: usize = 8;

pub(crate) const SYSTEM: [(i64, &str); 5] = [
    (ANSWERED, "\\Answered"),
    (FLAGGED, "\\Flagged"),
    (DELETED, "\\Deleted"),
    (SEEN, "\\Seen"),
    (DRAFT, "\\Draft"),
];

/// System flags and keywords of a `flag-list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagList {
    /// System flags.
    pub bits: i64,
    /// Keywords as spelled, each only once.
    pub keywords: Vec<String>,
}

impl FlagList {
    fn read_flag(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        if !cursor.take_octet(b'\\') {
            self.keywords.push(cursor.atom("a flag")?.to_owned());
            return Ok(());
        }
        let name = cursor.take_while(is_atom_char);
        for (bit, flag) in SYSTEM {
            if flag
                .as_bytes()
                .get(1..)
                .is_some_and(|flag| flag.eq_ignore_ascii_case(name))
            {
                self.bits |= bit;
                return Ok(());
            }
        }
        // Clients that copy messages send back what FETCH returned; only the server sets it (RFC 3501 §2.3.2).
        if name.eq_ignore_ascii_case(b"Recent") {
            return Ok(());
        }
        Err(cursor.error("a flag"))
    }

    /// Keep the first of equal keywords; clients may name thousands.
    fn name_once(mut self) -> Self {
        if self.keywords.len() > 1 {
            let mut seen = HashSet::with_capacity(self.keywords.len());
            self.keywords
                .retain(|keyword| seen.insert(keyword.to_ascii_lowercase()));
        }
        self
    }

    /// `flag-list = "(" [flag *(SP flag)] ")"`.
    pub(crate) fn read_list(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut flags = Self::default();
        cursor.list(true, |cursor| flags.read_flag(cursor))?;
        Ok(flags.name_once())
    }

    /// `flag-list / (flag *(SP flag))`.
    pub(crate) fn read_store(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        if cursor.peek() == Some(b'(') {
            return Self::read_list(cursor);
        }
        let mut flags = Self::default();
        loop {
            flags.read_flag(cursor)?;
            if !cursor.take_octet(b' ') {
                return Ok(flags.name_once());
            }
        }
    }
}

/// The bit of a keyword, 0 if the mailbox does not have it.
pub(crate) fn keyword_bit(keywords: &[String], keyword: &str) -> i64 {
    keywords
        .iter()
        .position(|known| known.eq_ignore_ascii_case(keyword))
        .map(|position| position + FIRST_KEYWORD_BIT)
        .filter(|bit| *bit < 63)
        .map_or(0, |bit| 1 << bit)
}

/// Append `(flag …)`.
pub(crate) fn write(out: &mut Vec<u8>, bits: i64, recent: bool, keywords: &[String]) {
    out.push(b'(');
    let start = out.len();
    let mut one = |name: &str| {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    };
    for (bit, name) in SYSTEM {
        if bits & bit != 0 {
            one(name);
        }
    }
    if recent {
        one("\\Recent");
    }
    let mut rest = (bits as u64) >> FIRST_KEYWORD_BIT;
    while rest != 0 {
        let position = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        if let Some(name) = keywords.get(position) {
            one(name);
        }
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_keyword_counts_once_in_any_case() {
        let mut cursor = Cursor::new(b"(a \\Seen B A \\SEEN b c)");
        let flags = FlagList::read_list(&mut cursor).unwrap();
        assert_eq!(flags.bits, SEEN);
        assert_eq!(flags.keywords, ["a", "B", "c"]);
    }
}
