//! What a search looks at (RFC 3501 §6.4.4): decoded, case-folded, in three sections.

use crate::fold::fold_into;
use crate::header::Fields;
use crate::octets::within;
use crate::params::disposition;
use crate::structure::{Kind, Structure, Tag};
use crate::{charset, encoded_word, html, pack};
use std::borrow::Cow;

/// Characters of a preview (RFC 8970 §3.1).
const PREVIEW: usize = 200;
/// Octets of a part looked at for the preview.
const PREVIEW_OCTETS: usize = 8192;

/// Folded text of a message: its header fields, one per line as `name: value`; the header fields of its parts; its
/// text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchText {
    octets: Vec<u8>,
    headers: usize,
    parts: usize,
}

/// Where a needle is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// `TEXT`: everywhere.
    Text,
    /// `BODY`: in the text.
    Body,
    /// In any field of the message header.
    Headers,
    /// `HEADER name`, `FROM`, `SUBJECT` …: in the fields of this name; an empty needle asks for the field itself.
    Field(&'a str),
}

impl SearchText {
    /// The header fields of the message.
    #[must_use]
    pub fn headers(&self) -> &[u8] {
        within(&self.octets, 0..self.headers)
    }

    /// The header fields of its parts.
    #[must_use]
    pub fn part_headers(&self) -> &[u8] {
        within(&self.octets, self.headers..self.parts)
    }

    /// The values of the message's fields of this name, which is in lower case.
    pub fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        field_values(self.headers(), name)
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        within(&self.octets, self.parts..self.octets.len())
    }

    /// All sections.
    #[must_use]
    pub fn all(&self) -> &[u8] {
        &self.octets
    }

    /// Make this a copy of another's `all`, with `headers` and `text` of these lengths; its memory is reused.
    pub fn assign(&mut self, all: &[u8], headers: usize, text: usize) {
        self.octets.clear();
        self.octets.extend_from_slice(all);
        self.parts = all.len().saturating_sub(text);
        self.headers = headers.min(self.parts);
    }

    /// The stored form, compressed.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        // Before the block: the version, and three numbers.
        let mut out = Vec::with_capacity(pack::bound(self.octets.len()) + 32);
        out.push(PACKED);
        for number in [self.octets.len(), self.headers, self.parts] {
            write_number(&mut out, number);
        }
        pack::compress(&self.octets, &mut out);
        out
    }

    /// Make this what was packed, reusing its memory. `false`, and empty, if `packed` is not such a blob.
    pub fn unpack(&mut self, packed: &[u8]) -> bool {
        self.octets.clear();
        (self.headers, self.parts) = (0, 0);
        let unpacked = self.try_unpack(packed).is_some();
        if !unpacked {
            self.octets.clear();
            (self.headers, self.parts) = (0, 0);
        }
        unpacked
    }

    fn try_unpack(&mut self, packed: &[u8]) -> Option<()> {
        let mut rest = packed.strip_prefix(&[PACKED])?;
        let length = read_number(&mut rest)?;
        self.headers = read_number(&mut rest)?;
        self.parts = read_number(&mut rest)?;
        // No block expands more than 255 times: a wrong length must not cost memory.
        if length > rest.len().saturating_mul(255) {
            return None;
        }
        pack::decompress(rest, length, &mut self.octets)?;
        (self.octets.len() == length && self.headers <= self.parts && self.parts <= length)
            .then_some(())
    }
}

const PACKED: u8 = 1;

fn write_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(0x80 | u8::try_from(number & 0x7f).unwrap_or(0));
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

fn read_number(data: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..56).step_by(7) {
        let (octet, rest) = data.split_first()?;
        *data = rest;
        number |= usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A string to search for, prepared once for many texts.
pub struct Needle {
    folded: Vec<u8>,
    finder: memchr::memmem::Finder<'static>,
}

impl Needle {
    /// Prepare a needle; it is folded like the texts.
    #[must_use]
    pub fn new(needle: &str) -> Self {
        let mut folded = Vec::with_capacity(needle.len());
        fold_into(&mut folded, needle);
        Self {
            finder: memchr::memmem::Finder::new(&folded).into_owned(),
            folded,
        }
    }

    /// Whether a text of this signature may contain it; never `false` for one that does, in any scope.
    #[must_use]
    pub fn may_be_in(&self, signature: &[u8]) -> bool {
        crate::signature::may_contain(signature, &self.folded)
    }

    /// Whether a text contains it.
    #[must_use]
    pub fn is_in(&self, text: &SearchText, scope: Scope<'_>) -> bool {
        match scope {
            Scope::Text => self.finder.find(text.all()).is_some(),
            Scope::Body => self.finder.find(text.text()).is_some(),
            Scope::Headers => self.finder.find(text.headers()).is_some(),
            Scope::Field(name) => is_in_fields(self, text.headers(), name),
        }
    }
}

/// Whether a needle is in a field of this name; `fields` are as `add_field` writes them.
pub(crate) fn is_in_fields(needle: &Needle, fields: &[u8], name: &str) -> bool {
    field_values(fields, name).any(|value| needle.finder.find(value).is_some())
}

pub(crate) fn field_values<'a>(headers: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .split(|&octet| octet == b'\n')
        .filter_map(move |line| {
            let (found, value) = line.split_at_checked(name.len())?;
            found
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value.strip_prefix(b": "))?
        })
}

/// Everything that is stored for searching, made in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// The text.
    pub text: SearchText,
    /// The beginning of the text as written, for lists of messages (RFC 8970).
    pub preview: String,
}

/// The searchable text of a message.
#[must_use]
pub fn search_text(data: &[u8]) -> SearchText {
    index(&Structure::parse(data)).text
}

/// The first characters of the message's text, blanks collapsed (RFC 8970).
#[must_use]
pub fn preview(data: &[u8]) -> String {
    index(&Structure::parse(data)).preview
}

/// The searchable text and the preview of a message.
#[must_use]
pub fn index(structure: &Structure<'_>) -> Indexed {
    let mut octets = Vec::with_capacity(structure.data().len().min(1 << 20) + 64);
    let header = structure.part(0).map_or(0..0, |part| part.header.clone());
    add_fields(structure, header, &mut octets);
    let headers = octets.len();
    for (index, part) in structure.parts().iter().enumerate().skip(1) {
        if !structure.is_message(index) {
            add_fields(structure, part.header.clone(), &mut octets);
        }
    }
    let parts = octets.len();
    let mut preview = Preview::default();
    for (index, part) in structure.parts().iter().enumerate() {
        if index > 0 && structure.is_message(index) {
            // RFC 3501 §6.4.4: the header of a message inside is part of this message's text.
            add_fields(structure, part.header.clone(), &mut octets);
        }
        if is_text(structure, index, part.kind) {
            add_text(structure, index, &mut octets, &mut preview);
        }
    }
    Indexed {
        text: SearchText {
            octets,
            headers,
            parts,
        },
        preview: preview.text,
    }
}

fn add_fields(structure: &Structure<'_>, header: std::ops::Range<usize>, out: &mut Vec<u8>) {
    let data = structure.data();
    for field in Fields::new(data, header) {
        add_field(within(data, field.name), within(data, field.value), out);
    }
}

/// Add a field as a line `name: value`, decoded and folded.
pub(crate) fn add_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    fold_into(out, &String::from_utf8_lossy(name));
    out.extend_from_slice(b": ");
    fold_into(out, &encoded_word::decode(value));
    out.push(b'\n');
}

/// Delivery reports and the like are text although they are not `text/*` (RFC 3464, RFC 8098).
fn is_text(structure: &Structure<'_>, index: usize, kind: Kind) -> bool {
    kind == Kind::Text
        || (kind == Kind::Other
            && structure
                .media_type(index)
                .is_some_and(|media| media.kind.eq_ignore_ascii_case(b"message")))
}

fn add_text(structure: &Structure<'_>, index: usize, out: &mut Vec<u8>, preview: &mut Preview) {
    let content = structure
        .decoded(index)
        .unwrap_or_else(|| Cow::Borrowed(structure.body(index)));
    if content.is_empty() {
        return;
    }
    let media = structure.media_type(index);
    let label = media.as_ref().and_then(|media| media.param(b"charset"));
    let text = charset::decode(label.as_deref(), &content);
    let is_html = media.is_some_and(|media| media.subtype.eq_ignore_ascii_case(b"html"));
    let text = if is_html {
        let mut stripped = String::with_capacity(text.len());
        html::strip(&text, &mut stripped);
        Cow::Owned(stripped)
    } else {
        text
    };
    fold_into(out, &text);
    out.push(b'\n');
    if preview.wants(is_html) && !is_attachment(structure, index) {
        preview.take(&text, is_html);
    }
}

fn is_attachment(structure: &Structure<'_>, index: usize) -> bool {
    structure
        .first(index, Tag::ContentDisposition)
        .and_then(disposition)
        .is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(b"attachment"))
}

/// The first part that has words; plain text is preferred to HTML.
#[derive(Default)]
struct Preview {
    text: String,
    html: bool,
}

impl Preview {
    fn wants(&self, is_html: bool) -> bool {
        self.text.is_empty() || (self.html && !is_html)
    }

    fn take(&mut self, text: &str, is_html: bool) {
        let mut end = text.len().min(PREVIEW_OCTETS);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut taken = String::new();
        let mut count = 0;
        for word in text.get(..end).unwrap_or_default().split_whitespace() {
            if count > 0 {
                taken.push(' ');
                count += 1;
            }
            for char in word.chars().filter(|char| !char.is_control()) {
                if count >= PREVIEW {
                    break;
                }
                taken.push(char);
                count += 1;
            }
            if count >= PREVIEW {
                break;
            }
        }
        taken.truncate(taken.trim_end().len());
        if !taken.is_empty() {
            self.text = taken;
            self.html = is_html;
        }
    }
}
