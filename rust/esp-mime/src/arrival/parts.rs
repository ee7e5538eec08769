//! Where in the tree of parts the octets of a literal8 are, so that the binary ones become base64 (RFC 3516 §4.2).

use super::MisplacedNul;
use super::base64::{self, ENCODING};
use super::lines::Lines;
use crate::header::{Fields, newline_at};
use crate::octets::{trim, within};
use crate::params::MediaType;
use crate::structure::MAX_DEPTH;

/// A line that is longer is no boundary.
const LONGEST_LINE: usize = 1_024;
/// A header that is longer is no header.
const LONGEST_HEADER: usize = 1 << 20;

#[derive(Debug, Default)]
enum Mode {
    /// In the header of the message or of a part.
    #[default]
    Header,
    /// In what is copied.
    Text,
    /// In what becomes base64.
    Binary(base64::Body),
}

/// What is known at a place of the message.
#[derive(Debug, Default)]
pub(super) struct Parts {
    lines: Lines,
    mode: Mode,
    boundaries: Vec<Vec<u8>>,
    /// The line that is coming.
    line: Vec<u8>,
    /// Whether the beginning of the line is gone already.
    mid_line: bool,
    header: Vec<u8>,
}

impl Parts {
    /// Take octets, and append what becomes of them.
    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.whole_line(out)?;
            } else if self.line.len() > LONGEST_LINE {
                self.long_line(out)?;
            }
        }
        Ok(())
    }

    /// Append what was held back; the message is whole.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        if !self.line.is_empty() {
            self.whole_line(out)?;
        }
        match &mut self.mode {
            Mode::Header => self.copy_header(out),
            Mode::Text => Ok(()),
            Mode::Binary(body) => {
                body.finish(out);
                Ok(())
            }
        }
    }

    /// Copy what is not binary.
    fn copy(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        if memchr::memchr(0, octets).is_some() {
            return Err(MisplacedNul);
        }
        self.lines.push(octets, out);
        Ok(())
    }

    fn copy_header(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        let header = std::mem::take(&mut self.header);
        self.copy(&header, out)
    }

    /// The number of the boundary that `line` is, counted from outside, and whether it is the closing one.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        // Decided by its length, not by whether it came in one piece.
        if line.strip_suffix(b"\n").unwrap_or(line).len() > LONGEST_LINE {
            return None;
        }
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

    fn whole_line(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        let line = std::mem::take(&mut self.line);
        let mid_line = std::mem::take(&mut self.mid_line);
        if !mid_line && let Some((number, closing)) = self.boundary(&line) {
            let after = if closing { Mode::Text } else { Mode::Header };
            match std::mem::replace(&mut self.mode, after) {
                Mode::Header => self.copy_header(out)?,
                Mode::Text => {}
                Mode::Binary(mut body) => {
                    let newline = body.end(out);
                    self.copy(&newline, out)?;
                }
            }
            self.boundaries.truncate(number + usize::from(!closing));
            return self.copy(&line, out);
        }
        match &mut self.mode {
            Mode::Header => {
                self.header.extend_from_slice(&line);
                if newline_at(&line, 0) == line.len() {
                    self.end_of_header(out)?;
                } else if self.header.len() > LONGEST_HEADER {
                    self.mode = Mode::Text;
                    self.copy_header(out)?;
                }
                Ok(())
            }
            Mode::Text => self.copy(&line, out),
            Mode::Binary(body) => {
                body.push(&line, out);
                Ok(())
            }
        }
    }

    /// The beginning of a line that is too long for a boundary.
    fn long_line(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        if matches!(self.mode, Mode::Header) {
            if self.header.len() + self.line.len() <= LONGEST_HEADER {
                return Ok(());
            }
            self.mode = Mode::Text;
            self.copy_header(out)?;
        }
        let line = std::mem::take(&mut self.line);
        self.mid_line = true;
        if let Mode::Binary(body) = &mut self.mode {
            body.push(&line, out);
            return Ok(());
        }
        self.copy(&line, out)
    }

    fn end_of_header(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
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
            // Each line is compared with all of them; what is deeper the structure does not show either.
            if self.boundaries.len() < MAX_DEPTH
                && let Some(boundary) = media.and_then(|media| media.param(b"boundary"))
            {
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
            self.mode = Mode::Binary(base64::Body::default());
            return self.copy(&base64::header(&header), out);
        }
        self.copy(&header, out)
    }
}
