//! What APPEND and REPLACE say before, between and after the literals of their messages.
//!
//! ```text
//! append         = "APPEND" SP mailbox 1*append-message                  ; RFC 3502
//! replace        = ["UID" SP] "REPLACE" SP seq-number SP mailbox append-message  ; RFC 8508 §5
//! append-message = [SP flag-list] [SP date-time] SP append-data
//! append-data    = literal / literal8 / utf8-literal                     ; RFC 3516 §7, RFC 6855 §4
//!                / "CATENATE" SP "(" cat-part *(SP cat-part) ")"         ; RFC 4469 §5
//! cat-part       = "TEXT" SP literal / "URL" SP astring / utf8-literal   ; RFC 4469 §5, RFC 6855 §4
//! utf8-literal   = "UTF8" SP "(" literal8 ")"
//! ```

use crate::command::{self, Refusal};
use crate::cursor::{Cursor, SyntaxError};
use crate::flags::FlagList;
use crate::mailbox_name;
use crate::set::SequenceSet;

/// Which part of which message comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendHead {
    /// The tag of the command.
    pub tag: String,
    /// `APPEND` or `REPLACE`.
    pub name: &'static str,
    /// Whether `replaces` is a UID.
    pub uid: bool,
    /// The one message that REPLACE replaces.
    pub replaces: Option<SequenceSet>,
    /// Unicode.
    pub mailbox: String,
    /// The number of the message, counted from 0 (RFC 3502).
    pub position: usize,
    /// The number of the part in CATENATE, counted from 0; `None` if the literal is the whole message.
    pub part: Option<usize>,
    /// Flags that the message is to have.
    pub flags: FlagList,
    /// Microseconds since the epoch.
    pub internal_date: Option<i64>,
}

/// Where in the grammar the next octets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before `append-message`.
    Message,
    /// In the parentheses of CATENATE: whether a part was read just before, and whether `UTF8 (` is open.
    Parts { behind: bool, wrapped: bool },
    /// After the data of a message; whether `UTF8 (` is open.
    Behind { wrapped: bool },
}

/// A command whose messages are being read.
#[derive(Debug, Clone)]
pub(crate) struct Append {
    pub(crate) head: AppendHead,
    place: Place,
}

/// What comes at the end of the octets read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The literal announced is a message, or a part of one.
    Literal { wrapped: bool },
    /// The literal announced is a URL, in a part that begins at `at`: more of the command is needed.
    InLine { at: usize },
    /// The end of the command.
    End,
}

/// The result of reading a line up to its end, or to the literal announced at its end.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The state to read on with, from the end or from where `InLine` says.
    pub(crate) append: Append,
    /// URL parts, each with its place.
    pub(crate) urls: Vec<(AppendHead, String)>,
    pub(crate) next: Next,
}

/// Read on, or from the beginning of a command if there is no `append`. `None`: it is another command.
pub(crate) fn read(
    octets: &[u8],
    append: Option<Append>,
    utf8: bool,
    literal: bool,
) -> Option<Result<Reading, Refusal>> {
    let mut cursor = Cursor::of_session(octets, utf8);
    let begun = match append {
        Some(append) => Ok(Some(append)),
        None => begin(&mut cursor, literal)?,
    };
    let mut tag = None;
    let result = match begun {
        Ok(Some(append)) => {
            tag = Some(append.head.tag.clone());
            go_on(&mut cursor, append, literal)
        }
        Ok(None) => return None, // the mailbox name is a literal, which is read with the command
        Err(error) => Err(error),
    };
    Some(result.map_err(|error| Refusal {
        tag: tag.or_else(|| command::tag_of(octets)),
        response: format!("BAD {error}"),
        unsaved: false,
    }))
}

/// Read up to and including the mailbox name. `None`: another command; `Ok(None)`: the name is the announced literal.
fn begin(cursor: &mut Cursor<'_>, literal: bool) -> Option<Result<Option<Append>, SyntaxError>> {
    let tag = command::tag(cursor).ok()?;
    if !cursor.take_octet(b' ') {
        return None;
    }
    let uid = cursor.take_word("UID");
    if uid && !cursor.take_octet(b' ') {
        return None;
    }
    let name = if !uid && cursor.take_word("APPEND") {
        "APPEND"
    } else if cursor.take_word("REPLACE") {
        "REPLACE"
    } else {
        return None;
    };
    if !cursor.take_octet(b' ') {
        return None;
    }
    let rest = || {
        let mut replaces = None;
        if name == "REPLACE" {
            replaces = Some(one_message(cursor)?);
            cursor.space()?;
        }
        if literal && cursor.at_end() {
            return Ok(None);
        }
        let head = AppendHead {
            tag,
            name,
            uid,
            replaces,
            mailbox: mailbox_name::read(cursor)?,
            position: 0,
            part: None,
            flags: FlagList::default(),
            internal_date: None,
        };
        Ok(Some(Append {
            head,
            place: Place::Message,
        }))
    };
    Some(rest())
}

/// `seq-number`, as a set of one.
fn one_message(cursor: &mut Cursor<'_>) -> Result<SequenceSet, SyntaxError> {
    let error = cursor.error("one message");
    let set = SequenceSet::read(cursor)?;
    match set.ranges() {
        [(first, last)] if first == last => Ok(set),
        _ => Err(error),
    }
}

fn go_on(
    cursor: &mut Cursor<'_>,
    mut append: Append,
    literal: bool,
) -> Result<Reading, SyntaxError> {
    let mut urls = Vec::new();
    let next = loop {
        let announced = |cursor: &Cursor<'_>| literal && cursor.at_end();
        let head = &mut append.head;
        match append.place {
            Place::Message => {
                options(cursor, head)?;
                if cursor.take_word("CATENATE") {
                    cursor.space()?;
                    cursor.expect(b'(')?;
                    head.part = Some(0);
                    append.place = Place::Parts {
                        behind: false,
                        wrapped: false,
                    };
                    continue;
                }
                let wrapped = open_utf8(cursor)?;
                if !announced(cursor) {
                    return Err(cursor.error("flags, a date or a message literal"));
                }
                append.place = Place::Behind { wrapped };
                break Next::Literal { wrapped };
            }
            Place::Parts { behind, wrapped } => {
                let (at, part) = (cursor.offset(), head.part);
                if wrapped {
                    cursor.expect(b')')?;
                }
                if behind {
                    if cursor.take_octet(b')') {
                        append.place = Place::Behind { wrapped: false };
                        continue;
                    }
                    cursor.space()?;
                    head.part = head.part.map(|part| part + 1);
                }
                let wrapped = open_utf8(cursor)?;
                append.place = Place::Parts {
                    behind: true,
                    wrapped,
                };
                let text = !wrapped && cursor.take_word("TEXT");
                if text {
                    cursor.space()?;
                }
                if text || wrapped {
                    if !announced(cursor) {
                        return Err(cursor.error("a literal"));
                    }
                    break Next::Literal { wrapped };
                }
                if !cursor.take_word("URL") {
                    return Err(cursor.error("TEXT, UTF8 or URL"));
                }
                cursor.space()?;
                if announced(cursor) {
                    append.place = Place::Parts { behind, wrapped };
                    append.head.part = part;
                    break Next::InLine { at };
                }
                urls.push((head.clone(), cursor.astring_text()?));
            }
            Place::Behind { wrapped } => {
                if wrapped {
                    cursor.expect(b')')?;
                }
                // RFC 8508 §4.7: exactly one message replaces one.
                let more = head.name == "APPEND" && cursor.peek() == Some(b' ');
                if more {
                    head.position += 1;
                    append.place = Place::Message;
                } else if literal {
                    return Err(cursor.error("a space"));
                } else {
                    cursor.end()?;
                    head.position += 1;
                    break Next::End;
                }
            }
        }
    };
    Ok(Reading { append, urls, next })
}

/// `"UTF8" SP "("`, if it is next.
fn open_utf8(cursor: &mut Cursor<'_>) -> Result<bool, SyntaxError> {
    let opened = cursor.take_word("UTF8");
    if opened {
        cursor.space()?;
        cursor.expect(b'(')?;
    }
    Ok(opened)
}

/// `[SP flag-list] [SP date-time] SP`.
fn options(cursor: &mut Cursor<'_>, head: &mut AppendHead) -> Result<(), SyntaxError> {
    cursor.space()?;
    head.flags = FlagList::default();
    head.internal_date = None;
    head.part = None;
    if cursor.peek() == Some(b'(') {
        head.flags = FlagList::read_list(cursor)?;
        cursor.space()?;
    }
    if cursor.peek() == Some(b'"') {
        head.internal_date = Some(cursor.date_time()?);
        cursor.space()?;
    }
    Ok(())
}
