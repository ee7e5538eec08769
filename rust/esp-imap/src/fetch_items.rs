//! What a FETCH asks for (RFC 3501 §6.4.5, RFC 3516, RFC 7162, RFC 8474, RFC 8514, RFC 8970, RFC 9394).

use crate::cursor::{Cursor, SyntaxError, is_astring_char, is_atom_char};
use crate::returns::{Partial, read_partial};
use esp_mime::Section;
use std::collections::HashSet;

/// Up to so many items, comparing is faster than hashing.
const FEW: usize = 16;

/// How the octets of an item are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As they are in the message.
    Raw,
    /// With the transfer encoding undone (RFC 3516 §4.2).
    Decoded,
    /// Only how many octets the decoded form has.
    DecodedSize,
}

/// An item made from the octets of the message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SectionItem {
    /// Which part of the message.
    pub section: Section,
    /// The name that the response carries: `BODY[HEADER]<0>`, `RFC822.TEXT`.
    pub label: String,
    /// `<origin.octets>`
    pub partial: Option<(u64, u64)>,
    /// How the octets are made.
    pub form: Form,
}

/// One `fetch-att`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FetchItem {
    /// UID
    Uid,
    /// FLAGS
    Flags,
    /// INTERNALDATE
    InternalDate,
    /// RFC822.SIZE
    Size,
    /// ENVELOPE
    Envelope,
    /// BODYSTRUCTURE
    BodyStructure,
    /// BODY
    Body,
    /// MODSEQ
    ModSeq,
    /// SAVEDATE
    SaveDate,
    /// EMAILID
    EmailId,
    /// THREADID
    ThreadId,
    /// PREVIEW
    Preview,
    /// BODY[…], BINARY[…], RFC822 …
    Section(SectionItem),
}

/// All items of a FETCH and its modifiers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchItems {
    /// In the order asked for, each only once.
    pub items: Vec<FetchItem>,
    /// Whether an item sets `\Seen`.
    pub sets_seen: bool,
    /// `(CHANGEDSINCE n)`
    pub changed_since: Option<i64>,
    /// `(VANISHED)`
    pub vanished: bool,
    /// `(PARTIAL …)`
    pub partial: Option<Partial>,
    /// `PREVIEW (LAZY)`: a missing preview is not made for this.
    pub lazy: bool,
}

impl FetchItems {
    /// Parse a complete text.
    ///
    /// # Errors
    /// `SyntaxError` when it is not fetch items.
    pub fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor::new(text);
        let items = Self::read(&mut cursor)?;
        cursor.end()?;
        Ok(items)
    }

    /// `("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")") [fetch-modifiers]`.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut all = Self::default();
        if cursor.peek() == Some(b'(') {
            cursor.list(false, |cursor| all.item(cursor))?;
        } else if let Some(length) = ["ALL", "FULL", "FAST"]
            .iter()
            .position(|name| cursor.take_word(name))
            .map(|position| [4, 5, 3].get(position).copied().unwrap_or(3))
        {
            let full = [
                FetchItem::Flags,
                FetchItem::InternalDate,
                FetchItem::Size,
                FetchItem::Envelope,
                FetchItem::Body,
            ];
            all.items.extend(full.into_iter().take(length));
        } else {
            all.item(cursor)?;
        }
        if cursor.take_octet(b' ') {
            cursor.list(false, |cursor| all.modifier(cursor))?;
        }
        Ok(all.name_once())
    }

    /// `"(" fetch-att *(SP fetch-att) ")"`, for messages that no client has asked to see yet (RFC 5465 §5.2).
    pub(crate) fn read_peeking(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut all = Self::default();
        cursor.list(false, |cursor| all.item(cursor))?;
        all.sets_seen = false;
        Ok(all.name_once())
    }

    fn push(&mut self, item: FetchItem) {
        if self.items.len() >= FEW || !self.items.contains(&item) {
            self.items.push(item);
        }
    }

    /// Keep the first of equal items; clients may name thousands.
    fn name_once(mut self) -> Self {
        if self.items.len() > FEW {
            let mut seen = HashSet::with_capacity(self.items.len());
            let firsts: Vec<bool> = self.items.iter().map(|item| seen.insert(item)).collect();
            let mut firsts = firsts.into_iter();
            self.items.retain(|_| firsts.next().unwrap_or(true));
        }
        self
    }

    fn modifier(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        if self.changed_since.is_none() && cursor.take_word("CHANGEDSINCE") {
            cursor.space()?;
            self.changed_since = Some(cursor.modseq()?);
            // RFC 7162 §3.1.4.1: it implies the item MODSEQ.
            self.push(FetchItem::ModSeq);
        } else if !self.vanished && cursor.take_word("VANISHED") {
            self.vanished = true;
        } else if self.partial.is_none() && cursor.take_word("PARTIAL") {
            cursor.space()?;
            self.partial = Some(read_partial(cursor)?);
        } else {
            return Err(cursor.error("CHANGEDSINCE, VANISHED or PARTIAL, each once"));
        }
        Ok(())
    }

    fn item(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let start = cursor.offset();
        let name = cursor
            .take_while(|octet| is_atom_char(octet) && octet != b'[')
            .to_ascii_uppercase();
        let section = cursor.peek() == Some(b'[');
        let item = match (name.as_slice(), section) {
            (b"UID", false) => FetchItem::Uid,
            (b"FLAGS", false) => FetchItem::Flags,
            (b"INTERNALDATE", false) => FetchItem::InternalDate,
            (b"RFC822.SIZE", false) => FetchItem::Size,
            (b"ENVELOPE", false) => FetchItem::Envelope,
            (b"BODYSTRUCTURE", false) => FetchItem::BodyStructure,
            (b"BODY", false) => FetchItem::Body,
            (b"MODSEQ", false) => FetchItem::ModSeq,
            (b"SAVEDATE", false) => FetchItem::SaveDate,
            (b"EMAILID", false) => FetchItem::EmailId,
            (b"THREADID", false) => FetchItem::ThreadId,
            (b"PREVIEW", false) => self.preview(cursor)?,
            (b"RFC822", false) => self.rfc822(cursor, "RFC822", b"", false)?,
            (b"RFC822.HEADER", false) => self.rfc822(cursor, "RFC822.HEADER", b"HEADER", true)?,
            (b"RFC822.TEXT", false) => self.rfc822(cursor, "RFC822.TEXT", b"TEXT", false)?,
            (b"BODY", true) => self.section(cursor, "BODY", false, Form::Raw)?,
            (b"BODY.PEEK", true) => self.section(cursor, "BODY", true, Form::Raw)?,
            (b"BINARY", true) => self.section(cursor, "BINARY", false, Form::Decoded)?,
            (b"BINARY.PEEK", true) => self.section(cursor, "BINARY", true, Form::Decoded)?,
            (b"BINARY.SIZE", true) => {
                self.section(cursor, "BINARY.SIZE", true, Form::DecodedSize)?
            }
            _ => {
                return Err(SyntaxError {
                    offset: start,
                    expected: "a fetch item".into(),
                });
            }
        };
        self.push(item);
        Ok(())
    }

    /// `"PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"]` (RFC 8970 §6).
    fn preview(&mut self, cursor: &mut Cursor<'_>) -> Result<FetchItem, SyntaxError> {
        let modified = cursor
            .rest()
            .get(..6)
            .is_some_and(|next| next.eq_ignore_ascii_case(b" (LAZY"));
        if modified {
            cursor.space()?;
            cursor.list(false, |cursor| match cursor.take_word("LAZY") {
                true => Ok(()),
                false => Err(cursor.error("LAZY")),
            })?;
            self.lazy = true;
        }
        Ok(FetchItem::Preview)
    }

    fn rfc822(
        &mut self,
        cursor: &Cursor<'_>,
        label: &str,
        spec: &[u8],
        peek: bool,
    ) -> Result<FetchItem, SyntaxError> {
        self.sets_seen |= !peek;
        Ok(FetchItem::Section(SectionItem {
            section: Section::parse(spec).ok_or_else(|| cursor.error("a section"))?,
            label: label.to_owned(),
            partial: None,
            form: Form::Raw,
        }))
    }

    /// `section ["<" number64 "." nz-number64 ">"]`.
    fn section(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: &str,
        peek: bool,
        form: Form,
    ) -> Result<FetchItem, SyntaxError> {
        cursor.expect(b'[')?;
        let start = cursor.offset();
        let spec = section_spec(cursor)?;
        let section = Section::parse(spec.as_bytes())
            .filter(|section| {
                form == Form::Raw || matches!(section.text, esp_mime::SectionText::Whole)
            })
            .ok_or(SyntaxError {
                offset: start,
                expected: "a section".into(),
            })?;
        cursor.expect(b']')?;
        let mut label = format!("{name}[{spec}]");
        let mut partial = None;
        if form != Form::DecodedSize && cursor.take_octet(b'<') {
            let origin = cursor.number()?;
            cursor.expect(b'.')?;
            let length = cursor.number()?;
            // RFC 9051 §9: number64 and nz-number64, of 63 bits.
            if length == 0 || (origin | length) >> 63 != 0 {
                return Err(cursor.error("a partial range"));
            }
            cursor.expect(b'>')?;
            label = format!("{label}<{origin}>");
            partial = Some((origin, length));
        }
        self.sets_seen |= !peek;
        Ok(FetchItem::Section(SectionItem {
            section,
            label,
            partial,
            form,
        }))
    }

    /// Whether some item is made from the octets of the message.
    #[must_use]
    pub fn reads_files(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item, FetchItem::Section(_)))
    }

    /// Whether some item is a wire string kept by content.
    #[must_use]
    pub fn needs_contents(&self) -> bool {
        self.items.iter().any(|item| {
            matches!(
                item,
                FetchItem::Envelope | FetchItem::BodyStructure | FetchItem::Body
            )
        })
    }

    /// Whether some item is made when the message is indexed.
    #[must_use]
    pub fn needs_indexed(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item, FetchItem::ThreadId | FetchItem::Preview))
    }

    /// Whether a message that is not indexed yet has to be indexed for this.
    #[must_use]
    pub fn makes_indexed(&self) -> bool {
        self.items.contains(&FetchItem::ThreadId)
            || (self.items.contains(&FetchItem::Preview) && !self.lazy)
    }

    /// Whether mod-sequences are asked for.
    #[must_use]
    pub fn modseq(&self) -> bool {
        self.items.contains(&FetchItem::ModSeq)
    }
}

/// The octets between `[` and `]` in the form that `Section::parse` reads and responses carry.
fn section_spec(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let text = cursor.take_while(|octet| octet.is_ascii_alphanumeric() || octet == b'.');
    let mut spec = String::from_utf8_lossy(text).to_ascii_uppercase();
    if spec.ends_with("HEADER.FIELDS") || spec.ends_with("HEADER.FIELDS.NOT") {
        cursor.space()?;
        // header-list = "(" header-fld-name *(SP header-fld-name) ")"; header-fld-name = astring
        let names = cursor.list(false, |cursor| {
            let start = cursor.offset();
            let name = cursor.astring_text()?;
            // RFC 5322 §2.2: printable, no colon. Other octets could not be quoted back either.
            let named = !name.is_empty()
                && name.bytes().all(|octet| {
                    matches!(octet, 0x21..=0x7e) && !matches!(octet, b':' | b'"' | b'\\')
                });
            named.then_some(name).ok_or(SyntaxError {
                offset: start,
                expected: "a header field name".into(),
            })
        })?;
        spec.push_str(" (");
        for (position, name) in names.iter().enumerate() {
            if position > 0 {
                spec.push(' ');
            }
            if name.bytes().all(is_astring_char) {
                spec.push_str(name);
            } else {
                spec.push('"');
                spec.push_str(name);
                spec.push('"');
            }
        }
        spec.push(')');
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn ranges_are_of_63_bits_and_part_numbers_have_no_leading_zero() {
        let parsed = |text: &str| FetchItems::parse(text.as_bytes()).is_ok();
        assert!(parsed("BODY[]<0.4294967296>"));
        assert!(parsed("BINARY[1]<4294967296.9223372036854775807>"));
        assert!(!parsed("BODY[]<0.9223372036854775808>"));
        assert!(!parsed("BODY[]<0.0>"));
        assert!(parsed("BODY[10.1]"));
        assert!(!parsed("BODY[01]"));
        assert!(!parsed("BODY[1.02.MIME]"));
    }

    fn label(text: &str) -> String {
        match FetchItems::parse(text.as_bytes()).unwrap().items.first() {
            Some(FetchItem::Section(item)) => item.label.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_response_carries_the_section_and_the_origin() {
        assert_eq!(
            label("body.peek[header.fields (Date FROM)]"),
            "BODY[HEADER.FIELDS (Date FROM)]"
        );
        assert_eq!(label("BODY[1.2.mime]<10.20>"), "BODY[1.2.MIME]<10>");
        assert_eq!(label("BODY[]<0.1>"), "BODY[]<0>");
        assert_eq!(label("BINARY.SIZE[1]"), "BINARY.SIZE[1]");
        assert_eq!(
            label("BODY[HEADER.FIELDS.NOT (\"X(Y\")]"),
            "BODY[HEADER.FIELDS.NOT (\"X(Y\")]"
        );
    }

    #[test]
    fn macros_stand_for_their_items() {
        assert_eq!(FetchItems::parse(b"fast").unwrap().items.len(), 3);
        assert_eq!(FetchItems::parse(b"ALL").unwrap().items.len(), 4);
        assert_eq!(FetchItems::parse(b"FULL").unwrap().items.len(), 5);
        assert!(FetchItems::parse(b"(ALL)").is_err());
    }

    #[test]
    fn each_item_is_told_once_in_the_order_asked_for() {
        let names = |count: usize| (1..=count).map(|part| format!("BODY[{part}]"));
        for count in [2, 15, 16, 17, 100] {
            let text: Vec<String> = names(count).chain(names(count)).collect();
            let text = format!("({} UID BODY[1])", text.join(" "));
            let mut items = FetchItems::parse(text.as_bytes()).unwrap().items;
            assert_eq!(items.pop(), Some(FetchItem::Uid));
            let labels = items.into_iter().map(|item| match item {
                FetchItem::Section(item) => item.label,
                other => panic!("{other:?}"),
            });
            assert_eq!(labels.collect::<Vec<_>>(), names(count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_items_that_do_not_peek_set_seen() {
        for (text, seen) in [
            ("BODY[]", true),
            ("BODY.PEEK[]", false),
            ("RFC822", true),
            ("RFC822.HEADER", false),
            ("RFC822.TEXT", true),
            ("BODY", false),
            ("BINARY[1]", true),
            ("BINARY.SIZE[1]", false),
        ] {
            assert_eq!(
                FetchItems::parse(text.as_bytes()).unwrap().sets_seen,
                seen,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_item_is_an_error() {
        for text in [
            "",
            "()",
            "FOO",
            "BODY[FOO]",
            "BODY[1.]",
            "BODY[MIME]",
            "BODY[]<0.0>",
            "BODY[]<1>",
            "(UID  FLAGS)",
            "BODY.PEEK",
            "BODY[HEADER.FIELDS ()]",
            "BODY[HEADER.FIELDS]",
            "BODY[0]",
            "BINARY[TEXT]",
            "UID (FOO)",
            "BODY[HEADER.FIELDS (\"a\r\nb\")]",
        ] {
            assert!(FetchItems::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
