//! `Content-Type` and parameters (RFC 2045 §5.1, RFC 2231).

use crate::grammar::{Broken, Cursor, Rest};
use std::borrow::Cow;

/// A parameter as IMAP shows it: continuations joined, an extended value still in its charset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param<'a> {
    /// The attribute; ends with `*` when the value is extended (RFC 2231 §4).
    pub(crate) name: Cow<'a, [u8]>,
    /// The value without quotes.
    pub(crate) value: Cow<'a, [u8]>,
}

/// A `Content-Type` field body.
#[derive(Clone, Debug)]
pub(crate) struct MediaType<'a> {
    pub(crate) kind: &'a [u8],
    pub(crate) subtype: &'a [u8],
    rest: Cursor<'a>,
}

impl<'a> MediaType<'a> {
    /// `content := "Content-Type" ":" type "/" subtype *(";" parameter)`
    ///
    /// `None` if there is no such pair: by RFC 2045 §5.2, the part is then `text/plain`.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        if cursor.skip_blanks() != Ok(Rest::More) {
            return None;
        }
        let (kind, _) = cursor.token().ok()?;
        if kind.is_empty() || cursor.peek() != Some(b'/') {
            return None;
        }
        cursor.pos += 1;
        cursor.skip_blanks().ok()?;
        let (subtype, _) = cursor.token().ok()?;
        if subtype.is_empty() || cursor.peek().is_some_and(|octet| octet != b';') {
            return None;
        }
        Some(Self {
            kind,
            subtype,
            rest: cursor,
        })
    }

    pub(crate) fn params(&self) -> Vec<Param<'a>> {
        params(self.rest.clone())
    }

    /// The value of one parameter, with RFC 2231 continuations joined but not decoded.
    pub(crate) fn param(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        find(&self.params(), name)
    }
}

/// The first parameter with the name `name`.
pub(crate) fn find<'a>(params: &[Param<'a>], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    params
        .iter()
        .find(|param| param.name.eq_ignore_ascii_case(name))
        .map(|param| param.value.clone())
}

/// A `Content-Disposition` field body: its type and parameters (RFC 2183 §2).
pub(crate) fn disposition(value: &[u8]) -> Option<(&[u8], Vec<Param<'_>>)> {
    let mut cursor = Cursor::new(value);
    cursor.skip_blanks().ok()?;
    let (kind, _) = cursor.token().ok()?;
    Some((kind, params(cursor)))
}

/// `parameter := attribute "=" value`; `Ok(None)` at the end.
#[expect(clippy::type_complexity, reason = "a name and its value")]
fn parameter<'a>(cursor: &mut Cursor<'a>) -> Result<Option<(&'a [u8], Cow<'a, [u8]>)>, Broken> {
    match cursor.peek() {
        None => return Ok(None),
        Some(b';') => cursor.pos += 1,
        Some(_) => return Err(Broken),
    }
    if cursor.skip_blanks()? == Rest::End {
        return Err(Broken);
    }
    let (name, rest) = cursor.token()?;
    if rest == Rest::End || cursor.peek() != Some(b'=') {
        return Err(Broken);
    }
    cursor.pos += 1;
    if cursor.skip_blanks()? == Rest::End {
        return Ok(Some((name, Cow::Borrowed(b""))));
    }
    let value = match cursor.peek() {
        Some(b'"') => cursor.quoted()?.0,
        // an encoded-word where RFC 2047 §5 forbids it: name==?utf-8?b?...?=
        Some(b'=') => Cow::Borrowed(cursor.until_separator()),
        _ => Cow::Borrowed(cursor.token()?.0),
    };
    Ok(Some((name, value)))
}

struct Segment<'a> {
    name: &'a [u8],
    index: u32,
    extended: bool,
    value: Cow<'a, [u8]>,
}

/// `name *1("*" digits) *1"*"` (RFC 2231 §7); `None` for an ordinary name.
fn segment<'a>(name: &'a [u8], value: &Cow<'a, [u8]>) -> Option<Segment<'a>> {
    let star = memchr::memchr(b'*', name)?;
    let (base, mut section) = (name.get(..star)?, name.get(star + 1..)?);
    let mut extended = section.is_empty();
    if let [digits @ .., b'*'] = section {
        section = digits;
        extended = true;
    }
    let mut index = 0_u32;
    for digit in section {
        if !digit.is_ascii_digit() {
            return None;
        }
        index = index
            .saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'));
    }
    Some(Segment {
        name: base,
        index,
        extended,
        value: value.clone(),
    })
}

/// All parameters from a cursor at the first `;`.
fn params(mut cursor: Cursor<'_>) -> Vec<Param<'_>> {
    let mut list = Vec::new();
    let mut segments = Vec::new();
    loop {
        match parameter(&mut cursor) {
            Ok(None) => break,
            Ok(Some((name, value))) => match segment(name, &value) {
                Some(segment) => segments.push(segment),
                None => list.push(Param {
                    name: Cow::Borrowed(name),
                    value,
                }),
            },
            // go on after the next semicolon
            Err(Broken) if cursor.at_end() => break,
            Err(Broken) => cursor.pos += 1,
        }
    }
    if !segments.is_empty() {
        join(segments, &mut list);
    }
    list
}

/// RFC 2231 §3 and §6: an IMAP server joins the segments of a continued parameter.
fn join<'a>(mut segments: Vec<Segment<'a>>, list: &mut Vec<Param<'a>>) {
    segments.sort_by(|a, b| a.name.cmp(b.name).then(a.index.cmp(&b.index)));
    for group in segments.chunk_by(|a, b| a.name.eq_ignore_ascii_case(b.name)) {
        let complete = (0_u32..)
            .zip(group)
            .all(|(index, segment)| segment.index == index);
        if complete {
            list.push(joined(group));
            continue;
        }
        // With a gap they cannot be joined: each is shown as it is.
        list.extend(group.iter().map(|segment| {
            Param {
                name: Cow::Owned(
                    [
                        segment.name,
                        b"*",
                        segment.index.to_string().as_bytes(),
                        if segment.extended { b"*" } else { b"" },
                    ]
                    .concat(),
                ),
                value: segment.value.clone(),
            }
        }));
    }
}

fn joined<'a>(group: &[Segment<'a>]) -> Param<'a> {
    let extended = group.iter().any(|segment| segment.extended);
    let mut value = Vec::new();
    if extended && group.first().is_some_and(|segment| !segment.extended) {
        // no charset and no language were given
        value.extend_from_slice(b"''");
    }
    for segment in group {
        if extended && !segment.extended {
            for &octet in segment.value.iter() {
                match octet {
                    b'%' => value.extend_from_slice(b"%25"),
                    _ => value.push(octet),
                }
            }
        } else {
            value.extend_from_slice(&segment.value);
        }
    }
    let base = group.first().map_or(b"".as_slice(), |segment| segment.name);
    Param {
        name: if extended {
            Cow::Owned([base, b"*"].concat())
        } else {
            Cow::Borrowed(base)
        },
        value: Cow::Owned(value),
    }
}
