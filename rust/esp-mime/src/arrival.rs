//! A message as a client appends it, made into one that every `BODY[…]` can show: lines end in CR LF, and there is no
//! NUL (RFC 3501 §4.3.1). One pass in pieces of any size; what is held back is a line or a header.
//!
//! Bare LF becomes CR LF, as Dovecot does, so that sizes and offsets are those of the octets shown. In a literal8
//! (RFC 3516 §4.4) parts with `Content-Transfer-Encoding: binary` become base64, since a FETCH without BINARY must be
//! able to show them (RFC 3516 §4.2).

use crate::header::Fields;
use crate::octets::{after, trim, within};
use crate::params::MediaType;

/// A line that is longer is no boundary.
const LONGEST_LINE: usize = 1_024;
/// A header that is longer is no header.
const LONGEST_HEADER: usize = 1 << 20;
/// Octets of a line of base64 before encoding (RFC 2045 §6.8).
const GROUP: usize = 57;
/// What a NUL is shown as where it cannot be encoded; the same as Dovecot's.
const NUL_SHOWN: u8 = 0x80;

/// A NUL in a literal8 outside the parts that are declared binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MisplacedNul;

impl std::fmt::Display for MisplacedNul {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("NUL outside of parts with Content-Transfer-Encoding: binary")
    }
}

impl std::error::Error for MisplacedNul {}

/// See the module.
#[derive(Debug)]
pub struct Arrival {
    lines: Lines,
    /// `None` for a plain literal.
    parts: Option<Parts>,
}

/// Ends of lines made CR LF.
#[derive(Debug, Default)]
struct Lines {
    /// Whether the last octet was CR.
    cr: bool,
}

impl Lines {
    fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut from = 0;
        for lf in memchr::memchr_iter(b'\n', octets) {
            let cr = match lf.checked_sub(1) {
                Some(before) => octets.get(before) == Some(&b'\r'),
                None => self.cr,
            };
            if !cr {
                out.extend_from_slice(within(octets, from..lf));
                out.push(b'\r');
                from = lf;
            }
        }
        out.extend_from_slice(after(octets, from));
        if let Some(last) = octets.last() {
            self.cr = *last == b'\r';
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// In the header of the message or of a part.
    Header,
    /// In what is copied.
    Text,
    /// In what becomes base64.
    Binary,
}

/// Where in the tree of parts the octets are.
#[derive(Debug)]
struct Parts {
    mode: Mode,
    boundaries: Vec<Vec<u8>>,
    /// The line that is coming.
    line: Vec<u8>,
    /// Whether the beginning of the line is gone already.
    mid_line: bool,
    header: Vec<u8>,
    /// Binary octets that do not fill a line of base64 yet.
    group: Vec<u8>,
    /// The line end before, which belongs to the boundary if one comes (RFC 2046 §5.1.1).
    newline: Vec<u8>,
    /// Whether a line of base64 has been written.
    begun: bool,
}

impl Arrival {
    /// The beginning of a message.
    #[must_use]
    pub fn new(literal8: bool) -> Self {
        Self {
            lines: Lines::default(),
            parts: literal8.then(|| Parts {
                mode: Mode::Header,
                boundaries: Vec::new(),
                line: Vec::new(),
                mid_line: false,
                header: Vec::new(),
                group: Vec::new(),
                newline: Vec::new(),
                begun: false,
            }),
        }
    }

    /// Whether `octets` may stand as they are, and `push` would only copy them.
    #[must_use]
    pub fn is_plain(&self, octets: &[u8]) -> bool {
        self.parts.is_none()
            && memchr::memchr(0, octets).is_none()
            && memchr::memchr_iter(b'\n', octets).all(|lf| match lf.checked_sub(1) {
                Some(before) => octets.get(before) == Some(&b'\r'),
                None => self.lines.cr,
            })
    }

    /// Note octets that stand as they are (`is_plain`).
    pub fn pass(&mut self, octets: &[u8]) {
        if let Some(last) = octets.last() {
            self.lines.cr = *last == b'\r';
        }
    }

    /// Take octets, and append what becomes of them.
    ///
    /// # Errors
    /// The message cannot be kept.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        let Some(parts) = &mut self.parts else {
            let start = out.len();
            self.lines.push(octets, out);
            let added = out.get_mut(start..).unwrap_or_default();
            if memchr::memchr(0, added).is_some() {
                for octet in added.iter_mut().filter(|octet| **octet == 0) {
                    *octet = NUL_SHOWN;
                }
            }
            return Ok(());
        };
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            parts.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                parts.whole_line(&mut self.lines, out)?;
            } else if parts.line.len() > LONGEST_LINE {
                parts.long_line(&mut self.lines, out)?;
            }
        }
        Ok(())
    }

    /// Append what was held back; the message is whole.
    ///
    /// # Errors
    /// The message cannot be kept.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        if !parts.line.is_empty() {
            parts.whole_line(&mut self.lines, out)?;
        }
        match parts.mode {
            Mode::Header => copy(&mut self.lines, &std::mem::take(&mut parts.header), out),
            Mode::Text => Ok(()),
            Mode::Binary => {
                // No boundary came: the last line end is the content's own.
                let newline = std::mem::take(&mut parts.newline);
                parts.encode(&newline, out);
                parts.end_encoding(out);
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

/// Copy what is not binary.
fn copy(lines: &mut Lines, octets: &[u8], out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
    if memchr::memchr(0, octets).is_some() {
        return Err(MisplacedNul);
    }
    lines.push(octets, out);
    Ok(())
}

impl Parts {
    /// The number of the boundary that `line` is, counted from outside, and whether it is the closing one.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.strip_prefix(b"--")?.trim_ascii_end();
        self.boundaries
            .iter()
            .enumerate()
            .rev()
            .find_map(|(number, boundary)| match text.strip_prefix(&**boundary)? {
                b"" => Some((number, false)),
                b"--" => Some((number, true)),
                _ => None,
            })
    }

    fn whole_line(&mut self, lines: &mut Lines, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        let line = std::mem::take(&mut self.line);
        let mid_line = std::mem::take(&mut self.mid_line);
        if !mid_line && let Some((number, closing)) = self.boundary(&line) {
            match self.mode {
                Mode::Header => copy(lines, &std::mem::take(&mut self.header), out)?,
                Mode::Text => {}
                Mode::Binary => {
                    self.end_encoding(out);
                    copy(lines, &std::mem::take(&mut self.newline), out)?;
                }
            }
            self.boundaries.truncate(number + usize::from(!closing));
            self.mode = if closing { Mode::Text } else { Mode::Header };
            return copy(lines, &line, out);
        }
        match self.mode {
            Mode::Header => {
                self.header.extend_from_slice(&line);
                if trim(&line).is_empty() {
                    self.end_of_header(lines, out)?;
                } else if self.header.len() > LONGEST_HEADER {
                    self.mode = Mode::Text;
                    copy(lines, &std::mem::take(&mut self.header), out)?;
                }
                Ok(())
            }
            Mode::Text => copy(lines, &line, out),
            Mode::Binary => {
                self.binary(&line, out);
                Ok(())
            }
        }
    }

    /// The beginning of a line that is too long for a boundary.
    fn long_line(&mut self, lines: &mut Lines, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        match self.mode {
            Mode::Header if self.header.len() + self.line.len() <= LONGEST_HEADER => return Ok(()),
            Mode::Header => {
                self.mode = Mode::Text;
                copy(lines, &std::mem::take(&mut self.header), out)?;
            }
            Mode::Text | Mode::Binary => {}
        }
        let line = std::mem::take(&mut self.line);
        self.mid_line = true;
        if self.mode == Mode::Binary {
            self.binary(&line, out);
            return Ok(());
        }
        copy(lines, &line, out)
    }

    fn end_of_header(&mut self, lines: &mut Lines, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        let header = std::mem::take(&mut self.header);
        let mut of_type: &[u8] = b"";
        let mut encoding: &[u8] = b"";
        let named = |name: &[u8], known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        for field in Fields::new(&header, 0..header.len()) {
            let name = within(&header, field.name);
            // The first of each counts, as for the structure.
            if of_type.is_empty() && named(name, "Content-Type") {
                of_type = within(&header, field.value);
            } else if encoding.is_empty() && named(name, ENCODING) {
                encoding = trim(within(&header, field.value));
            }
        }
        let binary = encoding.eq_ignore_ascii_case(b"binary");
        let media = MediaType::parse(of_type);
        let is = |kind: &str| {
            media
                .as_ref()
                .is_some_and(|media| media.kind.eq_ignore_ascii_case(kind.as_bytes()))
        };
        self.mode = Mode::Text;
        if is("multipart") {
            if let Some(boundary) = media.and_then(|media| media.param(b"boundary")) {
                self.boundaries.push(boundary.trim_ascii_end().to_vec());
            }
        } else if is("message")
            && media.is_some_and(|media| {
                media.subtype.eq_ignore_ascii_case(b"rfc822")
                    || media.subtype.eq_ignore_ascii_case(b"global")
            })
        {
            self.mode = Mode::Header;
        } else if binary {
            self.mode = Mode::Binary;
            self.begun = false;
            return copy(lines, &as_base64(&header), out);
        }
        copy(lines, &header, out)
    }

    /// Take a line, or a part of one, of binary content.
    fn binary(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let newline = std::mem::take(&mut self.newline);
        self.encode(&newline, out);
        let length = if line.ends_with(b"\r\n") {
            2
        } else {
            usize::from(line.ends_with(b"\n"))
        };
        let (text, newline) = line
            .split_at_checked(line.len() - length)
            .unwrap_or((line, b""));
        self.encode(text, out);
        self.newline.extend_from_slice(newline);
    }

    fn encode(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while !octets.is_empty() {
            let room = GROUP - self.group.len();
            let (taken, rest) = octets.split_at_checked(room).unwrap_or((octets, b""));
            self.group.extend_from_slice(taken);
            octets = rest;
            if self.group.len() == GROUP {
                self.write_group(out);
            }
        }
    }

    fn write_group(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"\r\n");
        }
        write_base64(out, &self.group);
        self.group.clear();
    }

    fn end_encoding(&mut self, out: &mut Vec<u8>) {
        if !self.group.is_empty() {
            self.write_group(out);
        }
    }
}

const ENCODING: &str = "Content-Transfer-Encoding";
const MIME_VERSION: &str = "MIME-Version";

/// A header, with its empty line, of which the transfer encoding has become base64.
fn as_base64(header: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len() + 64);
    let mut end = 0;
    let mut mime = false;
    for field in Fields::new(header, 0..header.len()) {
        end = field.lines.end;
        let name = within(header, field.name);
        mime |= [MIME_VERSION, "Content-Type"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        if !name.eq_ignore_ascii_case(ENCODING.as_bytes()) {
            out.extend_from_slice(within(header, field.lines));
        }
    }
    if !mime {
        // Else it is no MIME, and its encoding means nothing.
        out.extend_from_slice(MIME_VERSION.as_bytes());
        out.extend_from_slice(b": 1.0\r\n");
    }
    out.extend_from_slice(ENCODING.as_bytes());
    out.extend_from_slice(b": base64\r\n");
    out.extend_from_slice(after(header, end));
    out
}

fn write_base64(out: &mut Vec<u8>, octets: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in octets.chunks(3) {
        let octet = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for place in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            out.push(match ALPHABET.get(digit) {
                Some(letter) if usize::try_from(place).unwrap_or(0) <= group.len() => *letter,
                _ => b'=',
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::structure::Structure;
    use proptest::prelude::*;

    fn arrived(octets: &[u8], literal8: bool, cut: usize) -> Result<Vec<u8>, MisplacedNul> {
        let mut arrival = Arrival::new(literal8);
        let mut out = Vec::new();
        for piece in octets.chunks(cut.max(1)) {
            if arrival.is_plain(piece) {
                arrival.pass(piece);
                out.extend_from_slice(piece);
            } else {
                arrival.push(piece, &mut out)?;
            }
        }
        arrival.finish(&mut out)?;
        Ok(out)
    }

    const MIXED: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\n\
        --b\r\nContent-Transfer-Encoding: BINARY\r\nX: y\r\n\r\n\0one\ntwo\r\n\
        --b\r\n\r\ntext\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n--b--\r\nend\n";

    #[test]
    fn lines_end_in_crlf_however_they_came() {
        for cut in 1..9 {
            let made = arrived(b"a\nb\r\n\n\rc\n\r\r\nd", false, cut).unwrap();
            assert_eq!(made, b"a\r\nb\r\n\r\n\rc\r\n\r\r\nd", "{cut}");
        }
    }

    #[test]
    fn binary_parts_become_base64_and_the_rest_stays() {
        for cut in 1..MIXED.len() {
            let made = arrived(MIXED, true, cut).unwrap();
            let structure = Structure::parse(&made);
            let decoded = |path: &[u32]| {
                let index = structure.find(path).unwrap();
                structure.decoded(index).unwrap().into_owned()
            };
            assert_eq!(decoded(&[1]), b"\0one\ntwo", "{cut}");
            assert_eq!(decoded(&[2]), b"text", "{cut}");
            assert_eq!(decoded(&[3, 1]), b"\0", "{cut}");
            assert!(!made.contains(&0));
            assert!(made.ends_with(b"--b--\r\nend\r\n"));
            let header =
                b"\r\nX: y\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n";
            assert!(made.windows(header.len()).any(|window| window == header));
        }
    }

    #[test]
    fn a_whole_message_may_be_binary() {
        let mut message = b"Content-Transfer-Encoding: binary\n\n".to_vec();
        let content: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        message.extend(&content);
        let made = arrived(&message, true, 700).unwrap();
        let structure = Structure::parse(&made);
        assert!(structure.decoded(0).unwrap().into_owned() == content);
        assert!(
            made.split(|octet| *octet == b'\n')
                .all(|line| line.len() <= 77)
        );
    }

    #[test]
    fn nul_elsewhere_is_refused_in_a_literal8_and_shown_in_a_literal() {
        assert_eq!(arrived(b"A: b\0\r\n\r\n", true, 3), Err(MisplacedNul));
        assert_eq!(arrived(b"A: b\r\n\r\n\0", true, 3), Err(MisplacedNul));
        assert_eq!(
            arrived(b"A: b\r\n\r\n\0", false, 3).unwrap(),
            b"A: b\r\n\r\n\x80"
        );
    }

    proptest! {
        #[test]
        fn what_has_arrived_arrives_as_it_is(octets in "[a\r\n\0-]{0,40}", cut in 1usize..9) {
            let made = arrived(octets.as_bytes(), false, cut).unwrap();
            prop_assert_eq!(&arrived(&made, false, cut).unwrap(), &made);
            prop_assert!(!made.contains(&0));
        }

        #[test]
        fn cutting_changes_nothing(octets in prop::collection::vec(any::<u8>(), 0..60), cut in 1usize..9) {
            let message = [MIXED, &octets].concat();
            prop_assert_eq!(arrived(&message, true, cut), arrived(&message, true, message.len()));
        }
    }
}
