//! One complete command to a typed value (RFC 3501 §9, `command`).
//!
//! In: its octets, without CRLF and with literals in line. Out: a [`Command`], or the [`Refusal`] that answers it. This
//! module knows which name has which arguments; `mailboxes`, `list` and `messages` read them. APPEND and REPLACE come
//! in pieces (`append`), and never here.

mod annotations;
mod arguments;
mod list;
mod mailboxes;
mod messages;

pub use annotations::{Annotations, Depth};
pub use arguments::{Arguments, StoreMode};
pub use list::ListArguments;
pub use mailboxes::Qresync;

use crate::charset::BADCHARSET;
use crate::cursor::{Cursor, SyntaxError, is_astring_char};
use crate::mailbox_name;
use crate::notify;
use crate::search_program::SearchError;
use crate::set::SequenceSet;

/// A well-formed command.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// As given.
    pub tag: String,
    /// Upper case, without `UID`.
    pub name: &'static str,
    /// Whether `UID` stood before the name.
    pub uid: bool,
    /// What follows the name.
    pub arguments: Arguments,
}

/// Why a command cannot be executed: what follows the tag of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The tag, if it could be read.
    pub tag: Option<String>,
    /// `BAD …` or `NO […] …`.
    pub response: String,
    /// Whether this is a search, refused with NO, whose result was to be saved: `$` is then empty (RFC 5182 §2.1).
    pub unsaved: bool,
}

enum Fault {
    Bad(String),
    No(&'static str),
}

impl From<SyntaxError> for Fault {
    fn from(error: SyntaxError) -> Self {
        Self::Bad(error.to_string())
    }
}

impl From<SearchError> for Fault {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Syntax(error) => error.into(),
            SearchError::Charset => Self::No(BADCHARSET),
            SearchError::Text => Self::No("Text is not in the charset of the search"),
        }
    }
}

type Read<T> = Result<T, Fault>;

/// `tag = 1*<any ASTRING-CHAR except "+">`.
pub(crate) fn tag(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let tag = cursor.take_while(|octet| is_astring_char(octet) && octet != b'+');
    match std::str::from_utf8(tag) {
        Ok(tag) if !tag.is_empty() && tag.len() <= 256 => Ok(tag.to_owned()),
        _ => Err(cursor.error("a tag")),
    }
}

/// The tag of a command that cannot, or need not, be read any further.
pub(crate) fn tag_of(octets: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(octets);
    let tag = tag(&mut cursor).ok()?;
    cursor.take_octet(b' ').then_some(tag)
}

/// Whether this is a SETMETADATA and the value of an annotation comes next.
pub(crate) fn awaits_annotation(octets: &[u8], utf8: bool) -> bool {
    let mut cursor = Cursor::of_session(octets, utf8);
    let begins = tag(&mut cursor).is_ok()
        && cursor.take_octet(b' ')
        && cursor.take_word("SETMETADATA")
        && cursor.take_octet(b' ');
    let mut reader = Reader {
        cursor: &mut cursor,
        saves: false,
    };
    begins && reader.set_metadata_up_to_value().is_ok()
}

/// Read one command, without its CRLF and with its literals in line.
///
/// # Errors
/// The answer, when it is not a valid command.
pub fn parse(octets: &[u8], utf8: bool) -> Result<Command, Refusal> {
    let mut cursor = Cursor::of_session(octets, utf8);
    let tag = tag(&mut cursor)
        .and_then(|tag| cursor.space().map(|()| tag))
        .map_err(|error| Refusal {
            tag: None,
            response: format!("BAD {error}"),
            unsaved: false,
        })?;
    let mut reader = Reader {
        cursor: &mut cursor,
        saves: false,
    };
    match reader.command() {
        Ok((name, uid, arguments)) => Ok(Command {
            tag,
            name,
            uid,
            arguments,
        }),
        Err(fault) => Err(Refusal {
            tag: Some(tag),
            unsaved: reader.saves && matches!(fault, Fault::No(_)),
            response: match fault {
                Fault::Bad(text) => format!("BAD {text}"),
                Fault::No(text) => format!("NO {text}"),
            },
        }),
    }
}

struct Reader<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    /// Whether the result of a search is to be saved.
    saves: bool,
}

const PLAIN: [&str; 10] = [
    "CAPABILITY",
    "NOOP",
    "LOGOUT",
    "STARTTLS",
    "CHECK",
    "CLOSE",
    "UNSELECT",
    "IDLE",
    "NAMESPACE",
    "UNAUTHENTICATE",
];

impl Reader<'_, '_> {
    fn command(&mut self) -> Read<(&'static str, bool, Arguments)> {
        let mut word = self.cursor.word("a command")?;
        let uid = word == "UID";
        if uid {
            self.cursor.space()?;
            word = self.cursor.word("a command after UID")?;
        }
        if let Some(name) = PLAIN.iter().find(|name| **name == word)
            && !uid
        {
            // Some clients leave a space at the end; it means nothing.
            self.cursor.take_octet(b' ');
            self.cursor.end()?;
            return Ok((name, false, Arguments::None));
        }
        let read = match (word.as_str(), uid) {
            ("COPY", _) => ("COPY", self.after_space(Self::copy)?),
            ("MOVE", _) => ("MOVE", self.after_space(Self::copy)?),
            ("FETCH", _) => ("FETCH", self.after_space(Self::fetch)?),
            ("STORE", _) => ("STORE", self.after_space(Self::store)?),
            ("SEARCH", _) => ("SEARCH", self.after_space(Self::search)?),
            ("SORT", _) => ("SORT", self.after_space(Self::sort)?),
            ("THREAD", _) => ("THREAD", self.after_space(Self::thread)?),
            ("EXPUNGE", true) => (
                "EXPUNGE",
                self.after_space(|reader| {
                    Ok(Arguments::Expunge(SequenceSet::read(reader.cursor)?))
                })?,
            ),
            ("EXPUNGE", false) => {
                self.cursor.take_octet(b' ');
                ("EXPUNGE", Arguments::None)
            }
            ("LOGIN", false) => ("LOGIN", self.after_space(Self::login)?),
            ("AUTHENTICATE", false) => ("AUTHENTICATE", self.after_space(Self::authenticate)?),
            ("ID", false) => ("ID", self.after_space(Self::id)?),
            ("ESEARCH", false) => ("ESEARCH", self.after_space(Self::esearch)?),
            ("ENABLE", false) => ("ENABLE", self.after_space(Self::enable)?),
            ("SELECT", false) => ("SELECT", self.after_space(Self::select)?),
            ("EXAMINE", false) => ("EXAMINE", self.after_space(Self::select)?),
            ("CANCELUPDATE", false) => ("CANCELUPDATE", self.after_space(Self::cancel_update)?),
            ("CREATE", false) => ("CREATE", self.after_space(Self::create)?),
            ("DELETE", false) => ("DELETE", self.after_space(Self::one_mailbox)?),
            ("SUBSCRIBE", false) => ("SUBSCRIBE", self.after_space(Self::one_mailbox)?),
            ("UNSUBSCRIBE", false) => ("UNSUBSCRIBE", self.after_space(Self::one_mailbox)?),
            ("GETQUOTAROOT", false) => ("GETQUOTAROOT", self.after_space(Self::one_mailbox)?),
            ("GETQUOTA", false) => (
                "GETQUOTA",
                self.after_space(|reader| Ok(Arguments::Quota(reader.cursor.astring_text()?)))?,
            ),
            ("SETQUOTA", false) => ("SETQUOTA", self.after_space(Self::set_quota)?),
            ("GETACL", false) => ("GETACL", self.after_space(Self::one_mailbox)?),
            ("MYRIGHTS", false) => ("MYRIGHTS", self.after_space(Self::one_mailbox)?),
            ("SETACL", false) => ("SETACL", self.after_space(|reader| reader.acl(true))?),
            ("DELETEACL", false) => ("DELETEACL", self.after_space(|reader| reader.acl(false))?),
            ("LISTRIGHTS", false) => ("LISTRIGHTS", self.after_space(|reader| reader.acl(false))?),
            ("GETMETADATA", false) => ("GETMETADATA", self.after_space(Self::get_metadata)?),
            ("SETMETADATA", false) => ("SETMETADATA", self.after_space(Self::set_metadata)?),
            ("RENAME", false) => ("RENAME", self.after_space(Self::rename)?),
            ("LIST", false) => ("LIST", self.after_space(|reader| reader.list(true))?),
            ("LSUB", false) => ("LSUB", self.after_space(|reader| reader.list(false))?),
            ("STATUS", false) => ("STATUS", self.after_space(Self::status)?),
            ("COMPRESS", false) => (
                "COMPRESS",
                self.after_space(|reader| {
                    Ok(Arguments::Compress(reader.cursor.word("an algorithm")?))
                })?,
            ),
            ("NOTIFY", false) => (
                "NOTIFY",
                self.after_space(|reader| Ok(Arguments::Notify(notify::read(reader.cursor)?)))?,
            ),
            ("APPEND", false) | ("REPLACE", _) => {
                // Their literals are taken before the command comes here; a command without one is incomplete.
                return Err(self.cursor.error("a message literal").into());
            }
            _ => return Err(Fault::Bad(format!("Unknown command {word}"))),
        };
        self.cursor.end()?;
        Ok((read.0, uid, read.1))
    }

    fn after_space(&mut self, read: impl FnOnce(&mut Self) -> Read<Arguments>) -> Read<Arguments> {
        self.cursor.space()?;
        read(self)
    }

    fn mailbox(&mut self) -> Read<String> {
        Ok(mailbox_name::read(self.cursor)?)
    }

    fn login(&mut self) -> Read<Arguments> {
        let username = self.cursor.astring_text()?;
        self.cursor.space()?;
        let password = self.cursor.astring_text()?;
        Ok(Arguments::Login { username, password })
    }

    /// `"AUTHENTICATE" SP auth-type [SP initial-resp]` (RFC 4959).
    fn authenticate(&mut self) -> Read<Arguments> {
        let mechanism = self.cursor.word("a SASL mechanism")?;
        let mut initial = None;
        if self.cursor.take_octet(b' ') {
            let encoded = self.cursor.take_while(|octet| {
                octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
            });
            initial = Some(match encoded {
                b"=" => Vec::new(),
                encoded => crate::wire::base64(encoded)
                    .ok_or_else(|| self.cursor.error("a response in base64"))?,
            });
        }
        Ok(Arguments::Authenticate { mechanism, initial })
    }

    /// `"ID" SP ("(" [string SP nstring *(SP string SP nstring)] ")" / NIL)` (RFC 2971 §4).
    fn id(&mut self) -> Read<Arguments> {
        if self.cursor.take_word("NIL") {
            return Ok(Arguments::Id(None));
        }
        let fields = self.cursor.list(true, |cursor| {
            let key = cursor.string_text()?.to_ascii_lowercase();
            cursor.space()?;
            Ok((key, cursor.nstring_text()?))
        })?;
        if fields.len() > 30 {
            return Err(self.cursor.error("at most 30 fields").into());
        }
        Ok(Arguments::Id(Some(fields)))
    }

    fn enable(&mut self) -> Read<Arguments> {
        let mut capabilities = vec![self.cursor.word("a capability")?];
        while self.cursor.take_octet(b' ') {
            capabilities.push(self.cursor.word("a capability")?);
        }
        Ok(Arguments::Enable(capabilities))
    }
}
