//! A section of a message file, read on its own: the URL parts of CATENATE (RFC 4469, RFC 5092).

use crate::fetch_items::{Form, SectionItem};
use crate::files::{Listing, open_named};
use crate::parts::PartCache;
use crate::source::{Piece, Source, Value};
use esp_mime::Section;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// The section; see the module.
#[derive(Debug)]
pub struct MessageSection {
    piece: Option<Piece>,
    size: u64,
}

impl MessageSection {
    /// Find a section of a message in a Maildir folder.
    ///
    /// # Errors
    /// `NotFound`: there is no such file; `InvalidInput`: the message has no such section, or it is not a section;
    /// otherwise those of the file system.
    pub fn open(
        folder: &Path,
        base: &str,
        letters: Option<&str>,
        spec: &str,
        partial: Option<(u64, u64)>,
    ) -> Result<Self> {
        let no_section = || Error::new(ErrorKind::InvalidInput, "there is no such section");
        let section = Section::parse(spec.as_bytes()).ok_or_else(no_section)?;
        let file = open_named(folder, base, letters, None, &mut Listing::default())?
            .ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        let item = SectionItem {
            section,
            label: String::new(),
            partial,
            form: Form::Raw,
        };
        let values = Source::new(file)?.values(&[&item], &PartCache::default(), 0)?;
        match values.into_iter().next() {
            Some(Value::Octets(piece)) => Ok(Self {
                size: piece.len(),
                piece: Some(piece),
            }),
            _ => Err(no_section()),
        }
    }

    /// Octets.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next octets, about `wanted`; empty at the end.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(&mut self, wanted: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if let Some(piece) = self.piece.take() {
            self.piece = piece.write(&mut out, wanted)?;
        }
        Ok(out)
    }
}
