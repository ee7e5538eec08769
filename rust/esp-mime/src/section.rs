//! `BODY[section]` (RFC 3501 §6.4.5): which octets a section names.

use crate::header::Fields;
use crate::octets::within;
use crate::structure::{Kind, Structure};
use std::ops::Range;

/// `section-text`: which part of the message or body part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SectionText {
    /// Not given: the whole message, or the body of a part.
    Whole,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (…)`, the names as given.
    HeaderFields(Vec<Vec<u8>>),
    /// `HEADER.FIELDS.NOT (…)`, the names as given.
    HeaderFieldsNot(Vec<Vec<u8>>),
    /// `TEXT`
    Text,
    /// `MIME`, only after a part number.
    Mime,
}

/// `section = "[" [section-spec] "]"` without its brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Section {
    /// `section-part = nz-number *("." nz-number)`; empty for the message itself.
    pub path: Vec<u32>,
    /// What is wanted of it.
    pub text: SectionText,
}

/// The octets of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Octets {
    /// They are contiguous in the message.
    Range(Range<usize>),
    /// They had to be gathered: a subset of the header fields.
    Owned(Vec<u8>),
}

impl Section {
    /// Parse the text between the brackets. `None` if it is not a section.
    #[must_use]
    pub fn parse(spec: &[u8]) -> Option<Self> {
        let mut path = Vec::new();
        let mut rest = spec;
        while rest.first().is_some_and(u8::is_ascii_digit) {
            let digits = rest
                .iter()
                .take_while(|octet| octet.is_ascii_digit())
                .count();
            let (number, behind) = rest.split_at_checked(digits)?;
            let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
            // RFC 9051 §9: nz-number = digit-nz *DIGIT; what is asked for is also told back.
            if rest.first() == Some(&b'0') {
                return None;
            }
            path.push(number);
            match behind {
                [] => {
                    return Some(Self {
                        path,
                        text: SectionText::Whole,
                    });
                }
                [b'.', behind @ ..] if !behind.is_empty() => rest = behind,
                _ => return None,
            }
        }
        let text = section_text(rest, path.is_empty())?;
        Some(Self { path, text })
    }
}

fn section_text(rest: &[u8], whole_message: bool) -> Option<SectionText> {
    let upper = rest.to_ascii_uppercase();
    match upper.as_slice() {
        b"" => whole_message.then_some(SectionText::Whole),
        b"HEADER" => Some(SectionText::Header),
        b"TEXT" => Some(SectionText::Text),
        b"MIME" => (!whole_message).then_some(SectionText::Mime),
        _ if upper.starts_with(b"HEADER.FIELDS.NOT") => {
            names(rest.get(17..)?).map(SectionText::HeaderFieldsNot)
        }
        _ if upper.starts_with(b"HEADER.FIELDS") => {
            names(rest.get(13..)?).map(SectionText::HeaderFields)
        }
        _ => None,
    }
}

/// `header-list = "(" header-fld-name *(SP header-fld-name) ")"`, quoted names allowed.
fn names(list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let inside = list.trim_ascii().strip_prefix(b"(")?.strip_suffix(b")")?;
    let names: Vec<Vec<u8>> = inside
        .split(|&octet| octet == b' ')
        .map(|name| {
            name.strip_prefix(b"\"")
                .and_then(|name| name.strip_suffix(b"\""))
                .unwrap_or(name)
                .to_vec()
        })
        .filter(|name| !name.is_empty())
        .collect();
    (!names.is_empty()).then_some(names)
}

impl Structure<'_> {
    /// The part that a number names (RFC 3501 §6.4.5): within `message/rfc822` the numbers go on with the message in
    /// it, and a message that is not a multipart is its own part 1.
    #[must_use]
    pub fn find(&self, path: &[u32]) -> Option<usize> {
        let mut index = 0;
        let mut numbers = path.iter().peekable();
        while let Some(&number) = numbers.next() {
            let part = self.part(index)?;
            if part.kind == Kind::Multipart {
                index = self
                    .children(index)
                    .nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
            } else if number != 1 || (numbers.peek().is_some() && part.kind != Kind::Message) {
                return None;
            }
            if numbers.peek().is_some() && self.part(index)?.kind == Kind::Message {
                index = self.children(index).next()?;
            }
        }
        Some(index)
    }

    /// The octets of a section, or `None` if the message has no such part.
    #[must_use]
    pub fn section(&self, section: &Section) -> Option<Octets> {
        let mut index = self.find(&section.path)?;
        let in_part = !section.path.is_empty();
        let of_message = !matches!(section.text, SectionText::Whole | SectionText::Mime);
        if in_part && of_message {
            // HEADER and TEXT of a part are those of the message in it.
            if self.part(index)?.kind != Kind::Message {
                return None;
            }
            index = self.children(index).next()?;
        }
        let part = self.part(index)?;
        match &section.text {
            SectionText::Whole if !in_part => Some(Octets::Range(0..self.data().len())),
            SectionText::Whole | SectionText::Text => Some(Octets::Range(part.body.clone())),
            SectionText::Header | SectionText::Mime => Some(Octets::Range(part.header.clone())),
            SectionText::HeaderFields(names) => Some(Octets::Owned(header_fields(
                self.data(),
                part.header.clone(),
                names,
                true,
            ))),
            SectionText::HeaderFieldsNot(names) => Some(Octets::Owned(header_fields(
                self.data(),
                part.header.clone(),
                names,
                false,
            ))),
        }
    }

    /// The octets of a section, copied, or `None` if the message has no such part.
    #[must_use]
    pub fn section_octets(&self, section: &Section) -> Option<Vec<u8>> {
        Some(match self.section(section)? {
            Octets::Range(range) => within(self.data(), range).to_vec(),
            Octets::Owned(octets) => octets,
        })
    }
}

/// The fields of `header` that are among `names` (`listed`) or are not, in the message's order, and the empty line.
#[must_use]
pub fn header_fields(
    data: &[u8],
    header: Range<usize>,
    names: &[Vec<u8>],
    listed: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut end = header.start;
    for field in Fields::new(data, header.clone()) {
        end = field.lines.end;
        let name = within(data, field.name);
        let found = names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
        if found == listed {
            out.extend_from_slice(within(data, field.lines));
        }
    }
    out.extend_from_slice(within(data, end..header.end));
    out
}
