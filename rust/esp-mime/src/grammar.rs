//! The lexical grammar of RFC 5322 §3.2 and RFC 2045 §5.1, as lenient as mail requires.

use crate::octets::{after, is_space};
use std::borrow::Cow;

/// What is left after a token; blanks and comments after it are already skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// More octets follow.
    More,
    /// The value ends here.
    End,
}

/// The octets do not follow the grammar; the cursor's position shows how far they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

pub(crate) type Parsed = Result<Rest, Broken>;

/// U+FFFD replaces a NUL, which no IMAP string may contain (RFC 3501 §4.3).
pub(crate) const NUL_REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

const ATOM: u8 = 1;
const TOKEN: u8 = 2;

/// Which octets are `atext` (8-bit ones too, as RFC 6532 and old mail have them) and which may be in a MIME token.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let c = octet as u8;
        table[octet] = match c {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | 0x80.. => ATOM | TOKEN,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'^' | b'_' | b'`'
            | b'{' | b'|' | b'}' | b'~' => ATOM | TOKEN,
            b'/' | b'=' | b'?' => ATOM,
            _ => 0,
        };
        octet += 1;
    }
    table
};

#[inline]
fn class(octet: u8) -> u8 {
    CLASSES.get(usize::from(octet)).copied().unwrap_or(0)
}

#[inline]
pub(crate) fn is_atext(octet: u8) -> bool {
    class(octet) & ATOM != 0
}

/// A position in a field body.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    data: &'a [u8],
    pub(crate) pos: usize,
    /// The inside of the comment read last: `(Display Name)` after an address.
    comment: Option<(usize, usize)>,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            pos: 0,
            comment: None,
        }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.data.get(self.pos).copied()
    }

    #[inline]
    pub(crate) fn at_end(&self) -> bool {
        self.pos >= self.data.len()
    }

    fn rest(&self) -> Rest {
        if self.at_end() { Rest::End } else { Rest::More }
    }

    #[inline]
    fn slice(&self, from: usize) -> &'a [u8] {
        self.data.get(from..self.pos).unwrap_or_default()
    }

    #[inline]
    fn skip_class(&mut self, wanted: u8, dots: bool) {
        while let Some(octet) = self.peek() {
            if class(octet) & wanted == 0 && !(dots && octet == b'.') {
                break;
            }
            self.pos += 1;
        }
    }

    pub(crate) fn forget_comment(&mut self) {
        self.comment = None;
    }

    /// The text of the last comment, unfolded and unescaped.
    pub(crate) fn take_comment(&mut self) -> Option<Vec<u8>> {
        let (start, end) = self.comment.take()?;
        let mut text = Vec::with_capacity(end.saturating_sub(start));
        let mut octets = self
            .data
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .copied()
            .peekable();
        while let Some(octet) = octets.next() {
            match octet {
                0 => text.extend_from_slice(NUL_REPLACEMENT),
                b'\n' => {}
                b'\r' if octets.peek() == Some(&b'\n') => {}
                b'\\' => match octets.peek() {
                    // obs-qp: CR, LF and NUL are not escaped
                    Some(b'\r' | b'\n' | 0) | None => text.push(b'\\'),
                    Some(&escaped) => {
                        octets.next();
                        text.push(escaped);
                    }
                },
                _ => text.push(octet),
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// `comment = "(" *([FWS] ccontent) [FWS] ")"`, nested to any depth without recursion.
    fn comment(&mut self) -> Parsed {
        self.comment = None;
        self.pos += 1;
        let start = self.pos;
        let mut level = 1_usize;
        while let Some(octet) = self.peek() {
            match octet {
                b'(' => level += 1,
                b')' => {
                    level -= 1;
                    if level == 0 {
                        self.comment = Some((start, self.pos));
                        self.pos += 1;
                        return Ok(self.rest());
                    }
                }
                b'\\' => match self.data.get(self.pos + 1) {
                    None => {
                        self.pos = self.data.len();
                        return Err(Broken);
                    }
                    Some(b'\r' | b'\n' | 0) => {}
                    Some(_) => self.pos += 1,
                },
                _ => {}
            }
            self.pos += 1;
        }
        Err(Broken)
    }

    /// `[CFWS]`
    pub(crate) fn skip_blanks(&mut self) -> Parsed {
        while let Some(octet) = self.peek() {
            if is_space(octet) {
                self.pos += 1;
            } else if octet == b'(' {
                self.comment()?;
            } else {
                break;
            }
        }
        Ok(self.rest())
    }

    /// `atom = 1*atext [CFWS]`
    pub(crate) fn atom(&mut self, out: &mut Vec<u8>) -> Parsed {
        let start = self.pos;
        self.skip_class(ATOM, false);
        if start == self.pos {
            return Err(Broken);
        }
        out.extend_from_slice(self.slice(start));
        self.skip_blanks()
    }

    /// `obs-domain = atom *("." atom)`, blanks around the dots allowed.
    pub(crate) fn dot_atom(&mut self, out: &mut Vec<u8>) -> Parsed {
        loop {
            let start = self.pos;
            self.skip_class(ATOM, false);
            if start == self.pos {
                return Err(Broken);
            }
            out.extend_from_slice(self.slice(start));
            if self.skip_blanks()? == Rest::End {
                return Ok(Rest::End);
            }
            if self.peek() != Some(b'.') {
                return Ok(Rest::More);
            }
            self.pos += 1;
            out.push(b'.');
            if self.skip_blanks()? == Rest::End {
                return Err(Broken);
            }
        }
    }

    /// A local part with dots where the grammar has none (`a..b@`, `.a@`), as real addresses have them.
    pub(crate) fn loose_dot_atom(&mut self, out: &mut Vec<u8>) -> Parsed {
        let mut parsed = Err(Broken);
        loop {
            while self.peek() == Some(b'.') {
                out.push(b'.');
                self.pos += 1;
                if self.at_end() {
                    return Ok(Rest::End);
                }
                parsed = Ok(Rest::More);
            }
            if self.peek() == Some(b'@') {
                return parsed;
            }
            parsed = self.atom(out);
            if parsed != Ok(Rest::More) || self.peek() != Some(b'.') {
                return parsed;
            }
        }
    }

    /// A MIME `token` (RFC 2045 §5.1), possibly empty, and the blanks after it.
    pub(crate) fn token(&mut self) -> Result<(&'a [u8], Rest), Broken> {
        let token = self.token_only();
        let rest = self.skip_blanks()?;
        Ok((token, rest))
    }

    /// A MIME `token`, possibly empty.
    pub(crate) fn token_only(&mut self) -> &'a [u8] {
        let start = self.pos;
        self.skip_class(TOKEN, true);
        self.slice(start)
    }

    /// `quoted-string`, unfolded and unescaped; it is invalid without an end.
    pub(crate) fn quoted_string(&mut self, out: &mut Vec<u8>) -> Parsed {
        let before = out.len();
        self.pos += 1;
        loop {
            let rest = after(self.data, self.pos);
            let plain = rest
                .iter()
                .position(|octet| matches!(octet, b'"' | b'\\' | b'\n' | 0))
                .unwrap_or(rest.len());
            out.extend_from_slice(rest.get(..plain).unwrap_or_default());
            self.pos += plain;
            match self.peek() {
                None => {
                    out.truncate(before);
                    return Err(Broken);
                }
                Some(b'"') => {
                    self.pos += 1;
                    return self.skip_blanks();
                }
                Some(b'\n') => {
                    if plain > 0 && out.last() == Some(&b'\r') {
                        out.pop();
                    }
                }
                Some(b'\\') => match self.data.get(self.pos + 1) {
                    None => {
                        self.pos = self.data.len();
                        return Err(Broken);
                    }
                    Some(b'\r' | b'\n' | 0) => out.push(b'\\'),
                    Some(&escaped) => {
                        out.push(escaped);
                        self.pos += 1;
                    }
                },
                Some(_) => out.extend_from_slice(NUL_REPLACEMENT),
            }
            self.pos += 1;
        }
    }

    /// A `quoted-string`, borrowed if there is nothing to unfold or unescape.
    pub(crate) fn quoted(&mut self) -> Result<(Cow<'a, [u8]>, Rest), Broken> {
        let inside = after(self.data, self.pos + 1);
        let plain = inside
            .iter()
            .position(|octet| matches!(octet, b'"' | b'\\' | b'\n' | 0));
        if let Some(length) = plain
            && inside.get(length) == Some(&b'"')
        {
            self.pos += length + 2;
            let rest = self.skip_blanks()?;
            return Ok((
                Cow::Borrowed(inside.get(..length).unwrap_or_default()),
                rest,
            ));
        }
        let mut out = Vec::new();
        let rest = self.quoted_string(&mut out)?;
        Ok((Cow::Owned(out), rest))
    }

    /// Everything up to `;` or a blank.
    pub(crate) fn until_separator(&mut self) -> &'a [u8] {
        let start = self.pos;
        while self
            .peek()
            .is_some_and(|octet| octet != b';' && !is_space(octet))
        {
            self.pos += 1;
        }
        self.slice(start)
    }

    /// `phrase = 1*word / obs-phrase`; words are joined by one SP.
    pub(crate) fn phrase(&mut self, out: &mut Vec<u8>) -> Parsed {
        match self.peek() {
            None => return Ok(Rest::End),
            Some(b'.') => return Err(Broken),
            Some(_) => {}
        }
        loop {
            let rest = if self.peek() == Some(b'"') {
                self.quoted_string(out)?
            } else {
                let start = self.pos;
                self.skip_class(ATOM, true);
                out.extend_from_slice(self.slice(start));
                self.skip_blanks()?
            };
            if rest == Rest::End {
                return Ok(Rest::End);
            }
            match self.peek() {
                Some(octet) if is_atext(octet) || matches!(octet, b'"' | b'.') => out.push(b' '),
                _ => return self.skip_blanks(),
            }
        }
    }

    /// `domain-literal`, its brackets and escapes kept.
    fn domain_literal(&mut self, out: &mut Vec<u8>) -> Parsed {
        out.push(b'[');
        self.pos += 1;
        while let Some(octet) = self.peek() {
            self.pos += 1;
            match octet {
                0 => out.extend_from_slice(NUL_REPLACEMENT),
                b'[' => {
                    self.pos -= 1;
                    return Err(Broken);
                }
                b']' => {
                    out.push(b']');
                    return self.skip_blanks();
                }
                b'\n' => {
                    if out.last() == Some(&b'\r') {
                        out.pop();
                    }
                }
                b'\\' => {
                    out.push(b'\\');
                    match self.peek() {
                        None => return Err(Broken),
                        Some(b'\r' | b'\n' | 0) => {}
                        Some(escaped) => {
                            out.push(escaped);
                            self.pos += 1;
                        }
                    }
                }
                _ => out.push(octet),
            }
        }
        Err(Broken)
    }

    /// `"@" domain`
    pub(crate) fn domain(&mut self, out: &mut Vec<u8>) -> Parsed {
        self.pos += 1;
        if self.skip_blanks()? == Rest::End {
            return Err(Broken);
        }
        if self.peek() == Some(b'[') {
            self.domain_literal(out)
        } else {
            self.dot_atom(out)
        }
    }
}
