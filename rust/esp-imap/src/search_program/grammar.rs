//! The grammar of SEARCH keys (RFC 3501 §9; RFC 5032 OLDER and YOUNGER; RFC 6203 FUZZY; RFC 7162 MODSEQ;
//! RFC 8474 EMAILID and THREADID; RFC 8514 SAVED…; RFC 9738 UIDAFTER and UIDBEFORE).

use super::{DateOf, Key, Place, SearchError, SearchProgram};
use crate::charset::Charset;
use crate::cursor::{Cursor, SyntaxError, is_atom_char};
use crate::flags;
use crate::set::SequenceSet;

type Read<T> = Result<T, SearchError>;

struct Reader<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    charset: Charset,
}

impl SearchProgram {
    /// Parse a complete text.
    ///
    /// # Errors
    /// As `SearchError` says.
    pub fn parse(text: &[u8]) -> Read<Self> {
        let mut cursor = Cursor::new(text);
        let program = Self::read(&mut cursor)?;
        cursor.end()?;
        Ok(program)
    }

    /// `["CHARSET" SP astring SP] search-key *(SP search-key)`.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Read<Self> {
        let mut charset = Charset::UTF_8;
        if cursor.take_word("CHARSET") {
            cursor.space()?;
            charset = Charset::named(&cursor.astring_text()?).ok_or(SearchError::Charset)?;
            cursor.space()?;
        }
        Self::read_in(cursor, charset)
    }

    /// `charset SP search-key *(SP search-key)`, as SORT and THREAD have it.
    pub(crate) fn read_sort(cursor: &mut Cursor<'_>) -> Read<Self> {
        let charset = Charset::named(&cursor.astring_text()?).ok_or(SearchError::Charset)?;
        cursor.space()?;
        Self::read_in(cursor, charset)
    }

    fn read_in(cursor: &mut Cursor<'_>, charset: Charset) -> Read<Self> {
        let mut reader = Reader { cursor, charset };
        let key = reader.keys(None)?;
        Ok(Self { key })
    }
}

fn not(key: Key) -> Key {
    match key {
        Key::Not(inner) => *inner,
        key => Key::Not(Box::new(key)),
    }
}

impl Reader<'_, '_> {
    /// Keys separated by spaces, up to `close` or the end.
    fn keys(&mut self, close: Option<u8>) -> Read<Key> {
        let mut keys = Vec::new();
        loop {
            match self.key()? {
                Key::Every(inner) => keys.extend(inner),
                key => keys.push(key),
            }
            match close {
                None if self.cursor.at_end() => break,
                Some(close) if self.cursor.take_octet(close) => break,
                _ => self.cursor.space()?,
            }
        }
        Ok(match <[Key; 1]>::try_from(keys) {
            Ok([key]) => key,
            Err(keys) => Key::Every(keys),
        })
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Reader<'_, '_>) -> Read<T>) -> Read<T> {
        let charset = self.charset;
        // `descend` reads with its own error type; a charset cannot be refused inside.
        let mut result = None;
        self.cursor.descend(|cursor| {
            result = Some(inner(&mut Reader { cursor, charset }));
            Ok(())
        })?;
        result.unwrap_or_else(|| Err(self.cursor.error("a search key").into()))
    }

    fn key(&mut self) -> Read<Key> {
        match self.cursor.peek() {
            Some(b'(') => {
                self.cursor.expect(b'(')?;
                return self.nested(|reader| reader.keys(Some(b')')));
            }
            Some(b'*' | b'$' | b'0'..=b'9') => {
                return Ok(Key::Numbers(SequenceSet::read(self.cursor)?));
            }
            _ => {}
        }
        let start = self.cursor.offset();
        let word = self.cursor.word("a search key")?;
        let key = match word.as_str() {
            "ALL" => Key::All,
            "ANSWERED" => Key::Flag(flags::ANSWERED),
            "DELETED" => Key::Flag(flags::DELETED),
            "DRAFT" => Key::Flag(flags::DRAFT),
            "FLAGGED" => Key::Flag(flags::FLAGGED),
            "SEEN" => Key::Flag(flags::SEEN),
            "UNANSWERED" => not(Key::Flag(flags::ANSWERED)),
            "UNDELETED" => not(Key::Flag(flags::DELETED)),
            "UNDRAFT" => not(Key::Flag(flags::DRAFT)),
            "UNFLAGGED" => not(Key::Flag(flags::FLAGGED)),
            "UNSEEN" => not(Key::Flag(flags::SEEN)),
            "NEW" => Key::Every(vec![Key::Recent, not(Key::Flag(flags::SEEN))]),
            "OLD" => not(Key::Recent),
            "RECENT" => Key::Recent,
            "KEYWORD" => Key::Keyword(self.keyword()?),
            "UNKEYWORD" => not(Key::Keyword(self.keyword()?)),
            "BEFORE" => self.day(DateOf::Internal, |day| (i64::MIN, day))?,
            "ON" => self.day(DateOf::Internal, |day| (day, day + 1))?,
            "SINCE" => self.day(DateOf::Internal, |day| (day, i64::MAX))?,
            "SENTBEFORE" => self.day(DateOf::Sent, |day| (i64::MIN, day))?,
            "SENTON" => self.day(DateOf::Sent, |day| (day, day + 1))?,
            "SENTSINCE" => self.day(DateOf::Sent, |day| (day, i64::MAX))?,
            "SAVEDBEFORE" => self.day(DateOf::Saved, |day| (i64::MIN, day))?,
            "SAVEDON" => self.day(DateOf::Saved, |day| (day, day + 1))?,
            "SAVEDSINCE" => self.day(DateOf::Saved, |day| (day, i64::MAX))?,
            "SAVEDATESUPPORTED" => Key::All,
            "LARGER" => Key::Larger(self.number()?),
            "SMALLER" => Key::Smaller(self.number()?),
            "YOUNGER" => Key::Younger(self.interval()?),
            "OLDER" => not(Key::Younger(self.interval()?)),
            "MODSEQ" => self.modseq()?,
            "EMAILID" => self.object(b'E')?.map_or(not(Key::All), Key::Content),
            "THREADID" => self.object(b'T')?.map_or(not(Key::All), Key::Thread),
            "UIDAFTER" => match self.unique_id()?.checked_add(1) {
                Some(first) => Key::Uids(SequenceSet::range(first, u32::MAX)),
                None => not(Key::All),
            },
            "UIDBEFORE" => match self.unique_id()? {
                0 | 1 => not(Key::All),
                uid => Key::Uids(SequenceSet::range(1, uid - 1)),
            },
            "UID" => {
                self.cursor.space()?;
                Key::Uids(SequenceSet::read(self.cursor)?)
            }
            "TEXT" => Key::Contains(Place::Text, self.needle()?),
            "BODY" => Key::Contains(Place::Body, self.needle()?),
            "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => {
                Key::Contains(Place::Header(word.to_ascii_lowercase()), self.needle()?)
            }
            "HEADER" => {
                self.cursor.space()?;
                let name = self.cursor.astring_text()?.to_ascii_lowercase();
                Key::Contains(Place::Header(name), self.needle()?)
            }
            "NOT" => {
                self.cursor.space()?;
                not(self.nested(|reader| reader.key())?)
            }
            "OR" => self.alternatives()?,
            // `"FUZZY" SP search-key` (RFC 6203 §7)
            "FUZZY" => {
                self.cursor.space()?;
                Key::Fuzzy(Box::new(self.nested(|reader| reader.key())?))
            }
            _ => {
                return Err(SyntaxError {
                    offset: start,
                    expected: "a search key".into(),
                }
                .into());
            }
        };
        Ok(key)
    }

    /// `OR SP search-key SP search-key`. Clients write long lists as `OR a OR b OR c d` or as `OR OR OR a b c d`;
    /// neither is nesting here: an OR in place of a key asks for one key more.
    fn alternatives(&mut self) -> Read<Key> {
        let mut keys = Vec::new();
        let mut wanted = 2;
        while wanted > 0 {
            self.cursor.space()?;
            if self.cursor.take_word("OR") {
                wanted += 1;
            } else {
                keys.push(self.nested(|reader| reader.key())?);
                wanted -= 1;
            }
        }
        Ok(Key::Any(keys))
    }

    fn day(&mut self, of: DateOf, range: impl Fn(i64) -> (i64, i64)) -> Read<Key> {
        self.cursor.space()?;
        let (from, to) = range(self.cursor.date()?);
        Ok(Key::Day(of, from, to))
    }

    fn number(&mut self) -> Read<u64> {
        self.cursor.space()?;
        Ok(self.cursor.number()?)
    }

    fn interval(&mut self) -> Read<u64> {
        match self.number()? {
            0 => Err(self.cursor.error("a number above zero").into()),
            seconds => Ok(seconds),
        }
    }

    /// `objectid = 1*255(ALPHA / DIGIT / "_" / "-")` (RFC 8474 §7); `None` for one that we did not make.
    fn object(&mut self, kind: u8) -> Read<Option<i64>> {
        self.cursor.space()?;
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-');
        let text = self.cursor.take_while(allowed);
        if text.is_empty() || text.len() > 255 {
            return Err(self.cursor.error("an object identifier").into());
        }
        let digits = text
            .strip_prefix(&[kind])
            .filter(|digits| digits.first() != Some(&b'0'));
        Ok(digits
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()))
    }

    /// `uniqueid = nz-number` (RFC 9738 §3.2).
    fn unique_id(&mut self) -> Read<u32> {
        match u32::try_from(self.number()?) {
            Ok(uid) if uid > 0 => Ok(uid),
            _ => Err(self.cursor.error("a UID").into()),
        }
    }

    /// `flag-keyword = atom`, or in quotes, as sent by KIMAP 22.12, with which KMail and its kin search.
    fn keyword(&mut self) -> Read<String> {
        self.cursor.space()?;
        if self.cursor.peek() != Some(b'"') {
            return Ok(self.cursor.atom("a keyword")?.to_owned());
        }
        let keyword = self.cursor.string_text()?;
        if keyword.is_empty() || !keyword.bytes().all(is_atom_char) {
            return Err(self.cursor.error("a keyword").into());
        }
        Ok(keyword)
    }

    /// `"MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer` (RFC 7162 §3.1.5).
    fn modseq(&mut self) -> Read<Key> {
        self.cursor.space()?;
        if self.cursor.peek() == Some(b'"') {
            // Flags have no mod-sequences of their own here; that of the message is never lower.
            self.cursor.string()?;
            self.cursor.space()?;
            if !["PRIV", "SHARED", "ALL"]
                .iter()
                .any(|word| self.cursor.take_word(word))
            {
                return Err(self.cursor.error("priv, shared or all").into());
            }
            self.cursor.space()?;
        }
        Ok(Key::ModSeq(self.cursor.modseq()?))
    }

    fn needle(&mut self) -> Read<String> {
        self.cursor.space()?;
        let octets = self.cursor.astring()?;
        // RFC 9051 §6.4.4: NO where we "can't search that charset or criteria". Not BAD, although a quoted string has
        // no such octets: Angus Mail 2.0.3 (Jakarta Mail) writes ISO-8859-1 once UTF8=ACCEPT is enabled, cutting wider
        // letters to their low octet, so that a guess at the meaning would be wrong. After NO it searches the messages
        // itself, after BAD it gives up.
        let text = self.charset.decode(&octets).ok_or(SearchError::Text)?;
        Ok(text.into_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(text: &str) -> Key {
        SearchProgram::parse(text.as_bytes()).unwrap().key
    }

    #[test]
    fn every_key_of_rfc_3501_is_known() {
        for text in [
            "1:3,5",
            "ALL",
            "ANSWERED",
            "BCC x",
            "BEFORE 1-Feb-1994",
            "BODY x",
            "CC x",
            "DELETED",
            "DRAFT",
            "FLAGGED",
            "FROM x",
            "HEADER x-y \"\"",
            "KEYWORD a",
            "KEYWORD \"$TODO\"",
            "LARGER 1",
            "NEW",
            "NOT ALL",
            "OLD",
            "ON \"1-Feb-1994\"",
            "OR ALL NEW",
            "RECENT",
            "SEEN",
            "SENTBEFORE 1-Feb-1994",
            "SENTON 1-Feb-1994",
            "SENTSINCE 1-Feb-1994",
            "SINCE 1-Feb-1994",
            "SMALLER 1",
            "SUBJECT x",
            "TEXT x",
            "TO x",
            "UID 1:*",
            "UNANSWERED",
            "UNDELETED",
            "UNDRAFT",
            "UNFLAGGED",
            "UNKEYWORD a",
            "UNSEEN",
            "(1 (2 3))",
        ] {
            assert!(SearchProgram::parse(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "",
            "FOO",
            "FUZZY",
            "FUZZY FOO",
            "FUZZY 1 FUZZY",
            "ALL FOO",
            "NOT",
            "OR ALL",
            "()",
            "(ALL",
            "ALL)",
            "SINCE x",
            "KEYWORD {1}\r\na",
            "KEYWORD \"\"",
            "KEYWORD \"a b\"",
            "UNKEYWORD \"\\\\Seen\"",
            "UID",
            "ALL  NEW",
            "SINCE 31-Feb-2020",
        ] {
            assert!(SearchProgram::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn text_is_decoded() {
        let program = SearchProgram::parse(b"CHARSET ISO-8859-1 SUBJECT \"\xc4B\"").unwrap();
        assert_eq!(program.key, key("SUBJECT \"ÄB\""));
        assert_eq!(
            SearchProgram::parse(b"CHARSET X-KLINGON ALL"),
            Err(SearchError::Charset)
        );
        let program = SearchProgram::parse("CHARSET US-ASCII SUBJECT \"ÄB\"".as_bytes()).unwrap();
        assert_eq!(program.key, key("SUBJECT \"ÄB\""));
    }

    #[test]
    fn text_that_is_not_in_its_charset_cannot_be_searched_for() {
        for octets in [
            &b"SUBJECT \"Gr\xfc\xdfe\""[..],
            b"(NOT SUBJECT \"\xfc\")",
            b"CHARSET UTF-16 BODY a",
        ] {
            assert_eq!(SearchProgram::parse(octets), Err(SearchError::Text));
        }
    }

    #[test]
    fn fuzzy_takes_one_key_of_any_kind() {
        let contains = |text: &str| Key::Contains(Place::Text, text.to_owned());
        let fuzzy = |key| Key::Fuzzy(Box::new(key));
        assert_eq!(
            key("FUZZY TEXT a TEXT b"),
            Key::Every(vec![fuzzy(contains("a")), contains("b")])
        );
        assert_eq!(
            key("FUZZY (TEXT a TEXT b)"),
            fuzzy(Key::Every(vec![contains("a"), contains("b")]))
        );
        assert_eq!(key("NOT FUZZY TEXT a"), not(fuzzy(contains("a"))));
        let program = |text: &str| SearchProgram::parse(text.as_bytes()).unwrap();
        assert!(program("OR NOT FUZZY SEEN ALL").fuzzy());
        assert!(program("FUZZY NOT TEXT a").needs_text());
        assert!(program("FUZZY 1:3").numbers());
        assert!(!program("TEXT FUZZY").fuzzy());
    }

    #[test]
    fn long_alternatives_are_flat_and_deep_nesting_is_refused() {
        for long in [
            format!("{}ALL", "OR SEEN ".repeat(5_000)),
            format!("{}{}ALL", "OR ".repeat(5_000), "SEEN ".repeat(5_000)),
            format!("{}ALL", "OR OR SEEN ALL ".repeat(2_500)),
        ] {
            assert!(matches!(key(&long), Key::Any(keys) if keys.len() == 5_001));
        }
        let text = |word: &str| Key::Contains(Place::Text, word.into());
        assert_eq!(
            key("OR OR TEXT a NOT OR TEXT b TEXT c OR TEXT d TEXT e"),
            Key::Any(vec![
                text("a"),
                not(Key::Any(vec![text("b"), text("c")])),
                text("d"),
                text("e"),
            ])
        );
        for deep in ["(", "NOT ", "OR OR ", "FUZZY ", "OR NOT "] {
            assert!(SearchProgram::parse(deep.repeat(20_000).as_bytes()).is_err());
        }
    }
}
