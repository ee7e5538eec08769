//! Where in the tree of parts the octets of a literal8 are, so that the binary parts become base64 (RFC 3516 §4.2).

use super::MisplacedNul;
use super::base64::{self, ENCODING};
use super::lines::Lines;
use crate::header::{Fields, newline_at};
use crate::octets::{trim, within};
use crate::params::MediaType;
use crate::structure::{Boundaries, Delimiter, MAX_DEPTH};
use std::borrow::Cow;

/// Octets held back of a line: more than has to be looked at.
const HELD_BACK: usize = 1_024;
/// A longer header is not treated as a header.
const LONGEST_HEADER: usize = 1 << 20;

#[derive(Debug, Default)]
enum Mode {
    /// In the header of the message or of a part.
    #[default]
    Header,
    /// In a part that is copied.
    Text,
    /// In a part that becomes base64.
    Binary(base64::Body),
}

/// What is known at a place in the message.
#[derive(Debug, Default)]
pub(super) struct Parts {
    lines: Lines,
    mode: Mode,
    boundaries: Boundaries<'static>,
    /// The line that is coming.
    line: Vec<u8>,
    /// Whether the beginning of the line was passed on already.
    mid_line: bool,
    /// Whether that line was a boundary.
    behind_boundary: bool,
    header: Vec<u8>,
}

impl Parts {
    /// Take octets, and append the converted ones.
    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.whole_line(out)?;
            } else if self.line.len() > HELD_BACK {
                self.long_line(out)?;
            }
        }
        Ok(())
    }

    /// Append what was held back; the message is complete.
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

    /// Copy a line, or the beginning of one, that is a boundary.
    fn begin_part(
        &mut self,
        delimiter: &Delimiter,
        line: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), MisplacedNul> {
        let after = if delimiter.closing {
            Mode::Text
        } else {
            Mode::Header
        };
        match std::mem::replace(&mut self.mode, after) {
            Mode::Header => self.copy_header(out)?,
            Mode::Text => {}
            Mode::Binary(mut body) => {
                let newline = body.end(out);
                self.copy(&newline, out)?;
            }
        }
        self.boundaries
            .keep(delimiter.level + usize::from(!delimiter.closing));
        self.copy(line, out)
    }

    fn whole_line(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        let line = std::mem::take(&mut self.line);
        let mid_line = std::mem::take(&mut self.mid_line);
        if std::mem::take(&mut self.behind_boundary) {
            return self.copy(&line, out);
        }
        if !mid_line && let Some(delimiter) = self.boundaries.delimiter_at(&line, 0) {
            return self.begin_part(&delimiter, &line, out);
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

    /// Pass on a line of which as much has come as is held back.
    fn long_line(&mut self, out: &mut Vec<u8>) -> Result<(), MisplacedNul> {
        if self.behind_boundary {
            let line = std::mem::take(&mut self.line);
            return self.copy(&line, out);
        }
        if !self.mid_line
            && let Some(delimiter) = self.boundaries.delimiter_at(&self.line, 0)
        {
            let line = std::mem::take(&mut self.line);
            self.mid_line = true;
            self.behind_boundary = true;
            return self.begin_part(&delimiter, &line, out);
        }
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
            // The first field of each name counts, as in the structure.
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
            // Each line is compared with all boundaries; the structure does not show deeper ones either.
            if self.boundaries.count() < MAX_DEPTH
                && let Some(boundary) = media.and_then(|media| media.param(b"boundary"))
            {
                self.boundaries.open(0, Cow::Owned(boundary.into_owned()));
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
