//! ENVELOPE, BODY and BODYSTRUCTURE as they are on the wire (RFC 3501 §7.4.2, RFC 9051 §7.5.2).

use crate::address::parse_list;
use crate::grammar::{Cursor, Rest};
use crate::params::{MediaType, Param, disposition};
use crate::structure::{Kind, Structure, Tag};
use crate::wire;

/// `envelope = "(" env-date SP env-subject SP env-from SP … SP env-message-id ")"`
pub(crate) fn envelope(structure: &Structure<'_>, index: usize, out: &mut Vec<u8>) {
    out.push(b'(');
    match structure.values(index, Tag::Date).next_back() {
        Some(date) => wire::unfolded_string(out, date),
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    match structure.values(index, Tag::Subject).next_back() {
        Some(subject) => wire::text_for_humans(out, subject),
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    let from = addresses(structure, index, Tag::From, out);
    for tag in [Tag::Sender, Tag::ReplyTo, Tag::To, Tag::Cc, Tag::Bcc] {
        out.push(b' ');
        let written = addresses(structure, index, tag, out);
        // RFC 3501 §7.4.2: an absent or empty Sender or Reply-To is replaced by From.
        if out.get(written.clone()) == Some(b"NIL") && matches!(tag, Tag::Sender | Tag::ReplyTo) {
            out.truncate(written.start);
            out.extend_from_within(from.clone());
        }
    }
    for tag in [Tag::InReplyTo, Tag::MessageId] {
        out.push(b' ');
        match structure.values(index, tag).next_back() {
            Some(value) => wire::unfolded_string(out, value),
            None => out.extend_from_slice(b"NIL"),
        }
    }
    out.push(b')');
}

/// Write one address list; returns where. Several fields are one list, so that none can be hidden by another.
fn addresses(
    structure: &Structure<'_>,
    index: usize,
    tag: Tag,
    out: &mut Vec<u8>,
) -> std::ops::Range<usize> {
    let start = out.len();
    let mut list = Vec::new();
    for value in structure.values(index, tag) {
        parse_list(value, &mut list);
    }
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
    } else {
        out.push(b'(');
        for address in &list {
            address.write(out);
        }
        out.push(b')');
    }
    start..out.len()
}

/// The two forms of the structure, written side by side.
#[derive(Default)]
pub(crate) struct Bodies {
    pub(crate) body: Vec<u8>,
    pub(crate) bodystructure: Vec<u8>,
}

impl Bodies {
    fn both(&mut self, text: &[u8]) {
        self.body.extend_from_slice(text);
        self.bodystructure.extend_from_slice(text);
    }

    /// Write to both what `write` writes.
    fn same(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.body.len();
        write(&mut self.body);
        self.bodystructure
            .extend_from_slice(self.body.get(start..).unwrap_or_default());
    }

    /// `body = "(" (body-type-1part / body-type-mpart) ")"`; depth is bounded by `MAX_DEPTH`.
    pub(crate) fn part(&mut self, structure: &Structure<'_>, index: usize) {
        let Some(part) = structure.part(index) else {
            return;
        };
        self.both(b"(");
        if part.kind == Kind::Multipart {
            self.multipart(structure, index);
        } else {
            self.single(structure, index, part.kind, part.body.len(), part.lines);
        }
        self.both(b")");
    }

    /// `body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]`
    fn multipart(&mut self, structure: &Structure<'_>, index: usize) {
        let mut empty = true;
        for child in structure.children(index) {
            empty = false;
            self.part(structure, child);
        }
        if empty {
            // The grammar requires at least one body.
            const NOTHING: &[u8] =
                b"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0";
            self.both(NOTHING);
            self.body.push(b')');
            self.bodystructure.extend_from_slice(b" NIL NIL NIL NIL)");
        }
        let media = structure.media_type(index);
        self.same(|out| {
            out.push(b' ');
            wire::string(
                out,
                media
                    .as_ref()
                    .map_or(b"mixed".as_slice(), |media| media.subtype),
            );
        });
        self.bodystructure.push(b' ');
        let params = media.map(|media| media.params()).unwrap_or_default();
        write_params(&mut self.bodystructure, &params, false);
        extension(structure, index, &mut self.bodystructure);
    }

    /// `body-type-1part = (body-type-basic / body-type-msg / body-type-text) [SP body-ext-1part]`
    fn single(
        &mut self,
        structure: &Structure<'_>,
        index: usize,
        kind: Kind,
        octets: usize,
        lines: usize,
    ) {
        let media = structure.media_type(index);
        self.same(|out| {
            match (kind, &media) {
                // RFC 9051 §9: media-message = DQUOTE "MESSAGE" DQUOTE SP DQUOTE ("RFC822" / "GLOBAL") DQUOTE
                (Kind::Message, Some(media)) if is_global(media) => {
                    out.extend_from_slice(b"\"message\" \"global\"");
                }
                (Kind::Message, _) => out.extend_from_slice(b"\"message\" \"rfc822\""),
                (Kind::Opaque, _) => out.extend_from_slice(b"\"application\" \"octet-stream\""),
                (_, None) => out.extend_from_slice(b"\"text\" \"plain\""),
                (_, Some(media)) => {
                    wire::string(out, media.kind);
                    out.push(b' ');
                    wire::string(out, media.subtype);
                }
            }
            out.push(b' ');
            let params = media
                .as_ref()
                .map(|media| media.params())
                .unwrap_or_default();
            write_params(out, &params, kind == Kind::Text);
            for tag in [Tag::ContentId, Tag::ContentDescription] {
                out.push(b' ');
                unfolded(structure, index, tag, out);
            }
            out.push(b' ');
            match transfer_encoding(structure, index) {
                Some(encoding) => wire::string(out, encoding),
                None => out.extend_from_slice(b"\"7bit\""),
            }
            out.push(b' ');
            wire::number(out, octets);
        });
        if kind == Kind::Message {
            for child in structure.children(index) {
                self.same(|out| {
                    out.push(b' ');
                    envelope(structure, child, out);
                    out.push(b' ');
                });
                self.part(structure, child);
            }
        }
        if matches!(kind, Kind::Text | Kind::Message) {
            self.same(|out| {
                out.push(b' ');
                wire::number(out, lines);
            });
        }
        self.bodystructure.push(b' ');
        unfolded(structure, index, Tag::ContentMd5, &mut self.bodystructure);
        extension(structure, index, &mut self.bodystructure);
    }
}

fn unfolded(structure: &Structure<'_>, index: usize, tag: Tag, out: &mut Vec<u8>) {
    match structure.first(index, tag) {
        Some(value) => wire::unfolded_string(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Whether the subtype is that of a message with UTF-8 in its header (RFC 6532 §3.7).
pub(crate) fn is_global(media: &MediaType<'_>) -> bool {
    media.subtype.eq_ignore_ascii_case(b"global")
}

/// The `Content-Transfer-Encoding`, if it is one token and nothing else.
pub(crate) fn transfer_encoding<'a>(structure: &Structure<'a>, index: usize) -> Option<&'a [u8]> {
    let mut cursor = Cursor::new(structure.first(index, Tag::ContentTransferEncoding)?);
    cursor.skip_blanks().ok()?;
    match cursor.token() {
        Ok((token, Rest::End)) if !token.is_empty() => Some(token),
        _ => None,
    }
}

/// `body-fld-param = "(" string SP string *(SP string SP string) ")" / nil`
fn write_params(out: &mut Vec<u8>, params: &[Param<'_>], default_charset: bool) {
    let charset = default_charset
        && !params
            .iter()
            .any(|param| param.name.eq_ignore_ascii_case(b"charset"));
    if params.is_empty() && !charset {
        out.extend_from_slice(b"NIL");
        return;
    }
    let mut separator = b'(';
    for param in params {
        out.push(separator);
        wire::string(out, &param.name);
        out.push(b' ');
        wire::string(out, &param.value);
        separator = b' ';
    }
    if charset {
        // RFC 2045 §5.2: without a charset, text is in US-ASCII.
        out.push(separator);
        out.extend_from_slice(b"\"charset\" \"us-ascii\"");
    }
    out.push(b')');
}

/// `SP body-fld-dsp SP body-fld-lang SP body-fld-loc`
fn extension(structure: &Structure<'_>, index: usize, out: &mut Vec<u8>) {
    out.push(b' ');
    match content_disposition(structure, index) {
        Some((kind, params)) => {
            out.push(b'(');
            wire::string(out, kind);
            out.push(b' ');
            write_params(out, &params, false);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    languages(structure, index, out);
    out.push(b' ');
    unfolded(structure, index, Tag::ContentLocation, out);
}

/// The first `Content-Disposition` that has parameters, otherwise the last one.
fn content_disposition<'a>(
    structure: &Structure<'a>,
    index: usize,
) -> Option<(&'a [u8], Vec<Param<'a>>)> {
    let mut chosen = None;
    for value in structure.values(index, Tag::ContentDisposition) {
        if let Some(parsed) = disposition(value) {
            let complete = !parsed.1.is_empty();
            chosen = Some(parsed);
            if complete {
                break;
            }
        }
    }
    chosen
}

/// `body-fld-lang = nstring / "(" string *(SP string) ")"`, from `Content-Language` (RFC 3282).
fn languages(structure: &Structure<'_>, index: usize, out: &mut Vec<u8>) {
    let start = out.len();
    if let Some(value) = structure.first(index, Tag::ContentLanguage) {
        let mut cursor = Cursor::new(value);
        let _ = cursor.skip_blanks();
        let mut language = Vec::new();
        while cursor.atom(&mut language).is_ok() {
            out.push(if out.len() == start { b'(' } else { b' ' });
            wire::string(out, &language);
            language.clear();
            if cursor.peek() != Some(b',') {
                break;
            }
            cursor.pos += 1;
            let _ = cursor.skip_blanks();
        }
    }
    if out.len() == start {
        out.extend_from_slice(b"NIL");
    } else {
        out.push(b')');
    }
}
