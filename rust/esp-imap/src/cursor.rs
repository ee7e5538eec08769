//! The terminals of the grammar (RFC 3501 §9), read from the octets of one complete command.

use crate::date;
use std::borrow::Cow;

/// What was expected, and at which octet of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Offset in the command.
    pub offset: usize,
    /// What the grammar requires there.
    pub expected: Cow<'static, str>,
}

impl std::fmt::Display for SyntaxError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "Expected {} at octet {}",
            self.expected,
            self.offset + 1
        )
    }
}

impl std::error::Error for SyntaxError {}

type Read<T> = Result<T, SyntaxError>;

/// A position in a command; literals are in line: `{3}` CRLF and three octets.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    octets: &'a [u8],
    at: usize,
    /// How many parentheses are open; see `descend`.
    depth: u32,
    /// Whether the session has enabled UTF-8, for quoted strings and names of mailboxes.
    pub(crate) utf8: bool,
}

/// Deepest nesting of parentheses and search keys; each level costs stack.
const MAX_DEPTH: u32 = 100;

/// `ATOM-CHAR`: any CHAR but `( ) { SP CTL % * " \ ]`.
pub(crate) fn is_atom_char(octet: u8) -> bool {
    matches!(octet, 0x21..=0x7e)
        && !matches!(
            octet,
            b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']'
        )
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`.
pub(crate) fn is_astring_char(octet: u8) -> bool {
    is_atom_char(octet) || octet == b']'
}

fn is_list_char(octet: u8) -> bool {
    is_astring_char(octet) || matches!(octet, b'%' | b'*')
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self {
            octets,
            at: 0,
            depth: 0,
            utf8: false,
        }
    }

    /// What a session has sent that has, or has not, enabled UTF-8 (RFC 6855 §3).
    pub(crate) fn of_session(octets: &'a [u8], utf8: bool) -> Self {
        Self {
            utf8,
            ..Self::new(octets)
        }
    }

    pub(crate) fn error(&self, expected: impl Into<Cow<'static, str>>) -> SyntaxError {
        SyntaxError {
            offset: self.at,
            expected: expected.into(),
        }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.octets.len()
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn end(&self) -> Read<()> {
        if self.at_end() {
            Ok(())
        } else {
            Err(self.error("the end of the command"))
        }
    }

    pub(crate) fn take_octet(&mut self, octet: u8) -> bool {
        let hit = self.peek() == Some(octet);
        self.at += usize::from(hit);
        hit
    }

    pub(crate) fn expect(&mut self, octet: u8) -> Read<()> {
        if self.take_octet(octet) {
            return Ok(());
        }
        Err(self.error(match octet {
            b' ' => Cow::Borrowed("a space"),
            other => Cow::Owned(format!("'{}'", char::from(other))),
        }))
    }

    pub(crate) fn space(&mut self) -> Read<()> {
        self.expect(b' ')
    }

    /// Take `word` in any case, if it is next as a complete word.
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let hit = rest
            .get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
            && !rest
                .get(word.len())
                .is_some_and(|next| is_atom_char(*next) && *next != b'[' && *next != b'<');
        if hit {
            self.at += word.len();
        }
        hit
    }

    /// One of several words, and what it means.
    pub(crate) fn named<T: Copy>(
        &mut self,
        expected: &'static str,
        words: &[(&str, T)],
    ) -> Read<T> {
        words
            .iter()
            .find(|(word, _)| self.take_word(word))
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| self.error(expected))
    }

    pub(crate) fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest
            .iter()
            .position(|octet| !accept(*octet))
            .unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Go one level deeper while `inner` reads.
    pub(crate) fn descend<T>(&mut self, inner: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error("less nesting"));
        }
        self.depth += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    /// `"(" item *(SP item) ")"`; with `empty`, also `"()"`.
    pub(crate) fn list<T>(
        &mut self,
        empty: bool,
        mut item: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        self.expect(b'(')?;
        let mut items = Vec::new();
        if empty && self.take_octet(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.take_octet(b')') {
                return Ok(items);
            }
            self.space()?;
        }
    }

    /// `1*DIGIT` up to 64 bits; the callers have their own limits.
    pub(crate) fn number(&mut self) -> Read<u64> {
        let start = self.at;
        let digits = self.take_while(|octet| octet.is_ascii_digit());
        let value = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse().ok());
        value.ok_or_else(|| {
            self.at = start;
            self.error("a number")
        })
    }

    /// `mod-sequence-value`: 63 bits (RFC 7162 §7).
    pub(crate) fn modseq(&mut self) -> Read<i64> {
        let start = self.at;
        let value = self.number()?;
        i64::try_from(value).map_err(|_| {
            self.at = start;
            self.error("a mod-sequence below 2^63")
        })
    }

    pub(crate) fn atom(&mut self, expected: &'static str) -> Read<&'a str> {
        let atom = self.take_while(is_atom_char);
        match std::str::from_utf8(atom) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => Err(self.error(expected)),
        }
    }

    /// `atom`, in upper case.
    pub(crate) fn word(&mut self, expected: &'static str) -> Read<String> {
        Ok(self.atom(expected)?.to_ascii_uppercase())
    }

    /// `string = quoted / literal`.
    pub(crate) fn string(&mut self) -> Read<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => Ok(Cow::Borrowed(self.literal()?)),
            _ => Err(self.error("a string")),
        }
    }

    /// `quoted = DQUOTE *QUOTED-CHAR DQUOTE`; UTF-8 is accepted (RFC 6855, RFC 9051).
    fn quoted(&mut self) -> Read<Cow<'a, [u8]>> {
        let start = self.at;
        let value = self.quoted_octets()?;
        if self.utf8 && std::str::from_utf8(&value).is_err() {
            self.at = start;
            return Err(self.error("UTF-8"));
        }
        Ok(value)
    }

    fn quoted_octets(&mut self) -> Read<Cow<'a, [u8]>> {
        let start = self.at;
        self.at += 1;
        let rest = self.rest();
        let stop = |octet: u8| matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0);
        let plain = rest.iter().position(|octet| stop(*octet));
        if let Some(length) = plain
            && rest.get(length) == Some(&b'"')
        {
            self.at += length + 1;
            return Ok(Cow::Borrowed(rest.get(..length).unwrap_or_default()));
        }
        let mut value = Vec::new();
        loop {
            value.extend_from_slice(self.take_while(|octet| !stop(octet)));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(value));
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(octet @ (b'"' | b'\\')) => value.push(octet),
                        // Outlook and others send a single backslash in a path or password; only CR, LF and NUL cannot
                        // be text.
                        Some(octet) if !matches!(octet, b'\r' | b'\n' | 0) => {
                            value.extend_from_slice(&[b'\\', octet]);
                        }
                        _ => return Err(self.error("a quoted character")),
                    }
                    self.at += 1;
                }
                _ => {
                    self.at = start;
                    return Err(self.error("a quoted string with its end"));
                }
            }
        }
    }

    /// `literal = "{" number ["+"] "}" CRLF *CHAR8`; `CHAR8` has no NUL.
    fn literal(&mut self) -> Read<&'a [u8]> {
        let start = self.at;
        let octets = self.literal8()?;
        if memchr::memchr(0, octets).is_some() {
            self.at = start;
            return Err(self.error("a literal without NUL"));
        }
        Ok(octets)
    }

    /// What follows the tilde of `literal8 = "~{" number ["+"] "}" CRLF *OCTET` (RFC 3516 §6).
    pub(crate) fn literal8(&mut self) -> Read<&'a [u8]> {
        self.expect(b'{')?;
        let length = self.number()?;
        self.take_octet(b'+');
        self.expect(b'}')?;
        self.take_octet(b'\r');
        if !self.take_octet(b'\n') {
            return Err(self.error("the end of the line behind a literal's size"));
        }
        let octets = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest().get(..length))
            .ok_or_else(|| self.error("the octets of a literal"))?;
        self.at += octets.len();
        Ok(octets)
    }

    /// `astring = 1*ASTRING-CHAR / string`.
    pub(crate) fn astring(&mut self) -> Read<Cow<'a, [u8]>> {
        self.string_or(is_astring_char)
    }

    /// `list-mailbox = 1*list-char / string`.
    pub(crate) fn list_mailbox(&mut self) -> Read<Cow<'a, [u8]>> {
        self.string_or(is_list_char)
    }

    fn string_or(&mut self, accept: impl Fn(u8) -> bool) -> Read<Cow<'a, [u8]>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string();
        }
        // Clients that were told UTF8=ACCEPT, and a few that were not, send UTF-8 in atoms.
        let atom = self.take_while(|octet| accept(octet) || octet >= 0x80);
        if atom.is_empty() {
            return Err(self.error("a string or an atom"));
        }
        Ok(Cow::Borrowed(atom))
    }

    /// An astring that must be UTF-8.
    pub(crate) fn astring_text(&mut self) -> Read<String> {
        let start = self.at;
        let octets = self.astring()?;
        self.utf8(octets, start)
    }

    pub(crate) fn string_text(&mut self) -> Read<String> {
        let start = self.at;
        let octets = self.string()?;
        self.utf8(octets, start)
    }

    fn utf8(&self, octets: Cow<'a, [u8]>, offset: usize) -> Read<String> {
        String::from_utf8(octets.into_owned()).map_err(|_| SyntaxError {
            offset,
            expected: "UTF-8".into(),
        })
    }

    /// `nstring = string / "NIL"`.
    pub(crate) fn nstring_text(&mut self) -> Read<Option<String>> {
        if self.take_word("NIL") {
            return Ok(None);
        }
        self.string_text().map(Some)
    }

    /// `date = date-text / DQUOTE date-text DQUOTE`, as days since the epoch.
    pub(crate) fn date(&mut self) -> Read<i64> {
        let start = self.at;
        let text = if self.peek() == Some(b'"') {
            self.quoted()?
        } else {
            Cow::Borrowed(self.take_while(is_atom_char))
        };
        date::parse_date(&text).ok_or(SyntaxError {
            offset: start,
            expected: "a date like 1-Feb-1994".into(),
        })
    }

    /// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`, as microseconds.
    pub(crate) fn date_time(&mut self) -> Read<i64> {
        let start = self.at;
        let text = self.quoted()?;
        date::parse_date_time(&text).ok_or(SyntaxError {
            offset: start,
            expected: "a date and time like \"17-Jul-1996 02:44:25 -0700\"".into(),
        })
    }
}
