//! One whole command to a typed value (RFC 3501 §9, `command`).

use crate::charset::BADCHARSET;
use crate::cursor::{Cursor, SyntaxError, is_astring_char};
use crate::fetch_items::FetchItems;
use crate::flags::FlagList;
use crate::names::{self, Annotations};
use crate::notify::{self, Notify};
use crate::returns::Returns;
use crate::scope::MailboxFilter;
use crate::search_program::{SearchError, SearchProgram};
use crate::set::SequenceSet;
use crate::sort::{SortBy, SortKey};
use crate::thread::Algorithm;
use crate::utf7;
use std::sync::Arc;

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

/// What `STORE` does with the flags given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// `(QRESYNC (…))` of SELECT (RFC 7162 §3.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qresync {
    /// The value the client knows.
    pub uidvalidity: u32,
    /// Up to where it knows changes.
    pub modseq: i64,
    /// UIDs that it knows.
    pub known_uids: Option<SequenceSet>,
    /// Sequence numbers and the UIDs they had.
    pub known_sequence: Option<(SequenceSet, SequenceSet)>,
}

/// Of LIST and LSUB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListArguments {
    /// The reference name.
    pub reference: String,
    /// Patterns; not empty.
    pub patterns: Vec<String>,
    /// Whether the form of RFC 5258 was used.
    pub extended: bool,
    /// Selection options.
    pub selection: Vec<String>,
    /// Return options.
    pub returns: Vec<String>,
    /// Items of the return option STATUS.
    pub status: Vec<String>,
    /// Of the return option METADATA (RFC 9590).
    pub metadata: Option<Annotations>,
}

/// The arguments of all commands.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are named as in the grammar")]
pub enum Arguments {
    /// None at all.
    None,
    Login {
        username: String,
        password: String,
    },
    Authenticate {
        mechanism: String,
        initial: Option<Vec<u8>>,
    },
    Id(Option<Vec<(String, Option<String>)>>),
    Enable(Vec<String>),
    Select {
        mailbox: String,
        condstore: bool,
        qresync: Option<Qresync>,
    },
    Create {
        mailbox: String,
        special_use: Vec<String>,
    },
    Mailbox(String),
    Quota(String),
    SetQuota {
        root: String,
        limits: Vec<(String, u64)>,
    },
    Acl {
        mailbox: String,
        identifier: String,
        rights: Option<String>,
    },
    GetMetadata {
        mailbox: String,
        annotations: Annotations,
    },
    SetMetadata {
        mailbox: String,
        values: Vec<(String, Option<Vec<u8>>)>,
    },
    Rename {
        mailbox: String,
        new_name: String,
    },
    List(ListArguments),
    Status {
        mailbox: String,
        items: Vec<String>,
    },
    Append {
        mailbox: String,
        count: usize,
    },
    Expunge(SequenceSet),
    Copy {
        set: SequenceSet,
        mailbox: String,
    },
    Fetch {
        set: SequenceSet,
        items: Arc<FetchItems>,
    },
    Store {
        set: SequenceSet,
        mode: StoreMode,
        silent: bool,
        flags: FlagList,
        unchanged_since: Option<i64>,
    },
    Search {
        program: Arc<SearchProgram>,
        returns: Option<Arc<Returns>>,
        charset: bool,
    },
    Sort {
        keys: Vec<SortKey>,
        program: Arc<SearchProgram>,
        returns: Option<Arc<Returns>>,
    },
    Thread {
        algorithm: Algorithm,
        program: Arc<SearchProgram>,
    },
    Compress(String),
    Esearch {
        /// `None` without IN: the selected mailbox.
        scope: Option<Vec<MailboxFilter>>,
        program: Arc<SearchProgram>,
        returns: Option<Arc<Returns>>,
        charset: bool,
    },
    /// Tags of commands whose results are no longer to be kept up to date.
    CancelUpdate(Vec<String>),
    Notify(Notify),
}

/// Why a command cannot be done: what follows the tag of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// If it could be read.
    pub tag: Option<String>,
    /// `BAD …` or `NO […] …`.
    pub response: String,
    /// Whether a search is refused with NO whose result was to be saved: then `$` is empty (RFC 5182 §2.1).
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
        }
    }
}

type Read<T> = Result<T, Fault>;

const STATUS_ITEMS: [&str; 11] = [
    "MESSAGES",
    "RECENT",
    "UIDNEXT",
    "UIDVALIDITY",
    "UNSEEN",
    "DELETED",
    "SIZE",
    "HIGHESTMODSEQ",
    "MAILBOXID",
    "APPENDLIMIT",
    "DELETED-STORAGE",
];

/// `tag = 1*<any ASTRING-CHAR except "+">`.
pub(crate) fn tag(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let tag = cursor.take_while(|octet| is_astring_char(octet) && octet != b'+');
    match std::str::from_utf8(tag) {
        Ok(tag) if !tag.is_empty() && tag.len() <= 256 => Ok(tag.to_owned()),
        _ => Err(cursor.error("a tag")),
    }
}

/// The tag of a command that is not (or cannot be) read any further.
pub(crate) fn tag_of(octets: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(octets);
    let tag = tag(&mut cursor).ok()?;
    cursor.take_octet(b' ').then_some(tag)
}

/// `mailbox = "INBOX" / astring`, as Unicode.
pub(crate) fn mailbox(cursor: &mut Cursor<'_>, utf8: bool) -> Result<String, SyntaxError> {
    let start = cursor.offset();
    let name = cursor.astring_text()?;
    if !utf8 && utf7::is_second_spelling(&name) {
        return Err(SyntaxError {
            offset: start,
            expected: "a mailbox name in modified UTF-7".into(),
        });
    }
    Ok(mailbox_name(name, utf8))
}

fn mailbox_name(name: String, utf8: bool) -> String {
    if name.eq_ignore_ascii_case("INBOX") {
        return "INBOX".to_owned();
    }
    if utf8 {
        return name;
    }
    // Clients that do not know modified UTF-7 send `AT&T` or UTF-8 as it is; it can only mean that.
    utf7::decode(&name).unwrap_or(name)
}

/// Read one command, its CRLF taken off, its literals in line.
///
/// # Errors
/// What to answer when it is none.
pub fn parse(octets: &[u8], utf8: bool) -> Result<Command, Refusal> {
    let mut cursor = Cursor::new(octets);
    let tag = tag(&mut cursor)
        .and_then(|tag| cursor.space().map(|()| tag))
        .map_err(|error| Refusal {
            tag: None,
            response: format!("BAD {error}"),
            unsaved: false,
        })?;
    let mut reader = Reader {
        cursor: &mut cursor,
        utf8,
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
    utf8: bool,
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
            // Some clients leave a space behind; it means nothing.
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
                self.after_space(|reader| {
                    Ok(Arguments::Notify(notify::read(reader.cursor, reader.utf8)?))
                })?,
            ),
            ("APPEND", false) | ("REPLACE", _) => {
                // Their literals are taken before the command comes here; without one it is incomplete.
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
        Ok(mailbox(self.cursor, self.utf8)?)
    }

    fn one_mailbox(&mut self) -> Read<Arguments> {
        Ok(Arguments::Mailbox(self.mailbox()?))
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

    fn select(&mut self) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        let (mut condstore, mut qresync) = (false, None);
        if self.cursor.take_octet(b' ') {
            self.cursor.list(false, |cursor| {
                if cursor.take_word("CONDSTORE") {
                    condstore = true;
                } else if cursor.take_word("QRESYNC") {
                    cursor.space()?;
                    qresync = Some(read_qresync(cursor)?);
                } else {
                    return Err(cursor.error("CONDSTORE or QRESYNC"));
                }
                Ok(())
            })?;
        }
        Ok(Arguments::Select {
            mailbox,
            condstore,
            qresync,
        })
    }

    fn create(&mut self) -> Read<Arguments> {
        let name = self.mailbox()?;
        let mailbox = match name.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() => mailbox_name(shorter.to_owned(), true),
            _ => name,
        };
        let mut special_use = Vec::new();
        if self.cursor.take_octet(b' ') {
            self.cursor.expect(b'(')?;
            if !self.cursor.take_word("USE") {
                return Err(self.cursor.error("USE").into());
            }
            self.cursor.space()?;
            special_use = self.cursor.list(true, |cursor| {
                cursor.expect(b'\\')?;
                Ok(format!("\\{}", cursor.atom("a special use")?))
            })?;
            self.cursor.expect(b')')?;
        }
        Ok(Arguments::Create {
            mailbox,
            special_use,
        })
    }

    fn rename(&mut self) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        let new_name = self.mailbox()?;
        Ok(Arguments::Rename { mailbox, new_name })
    }

    fn set_quota(&mut self) -> Read<Arguments> {
        let root = self.cursor.astring_text()?;
        self.cursor.space()?;
        let limits = names::quota_limits(self.cursor)?;
        Ok(Arguments::SetQuota { root, limits })
    }

    /// `mailbox SP identifier [SP mod-rights]` (RFC 4314 §7).
    fn acl(&mut self, rights: bool) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        let identifier = self.cursor.astring_text()?;
        let rights = rights
            .then(|| {
                self.cursor.space()?;
                self.cursor.astring_text()
            })
            .transpose()?;
        Ok(Arguments::Acl {
            mailbox,
            identifier,
            rights,
        })
    }

    fn get_metadata(&mut self) -> Read<Arguments> {
        let utf8 = self.utf8;
        let (mailbox, annotations) =
            names::get_metadata(self.cursor, |cursor| mailbox(cursor, utf8))?;
        Ok(Arguments::GetMetadata {
            mailbox,
            annotations,
        })
    }

    fn set_metadata(&mut self) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        let values = names::entry_values(self.cursor)?;
        Ok(Arguments::SetMetadata { mailbox, values })
    }

    /// `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]` (RFC 5258 §6).
    fn list(&mut self, extended: bool) -> Read<Arguments> {
        let mut list = ListArguments::default();
        if extended && self.cursor.peek() == Some(b'(') {
            list.extended = true;
            list.selection = self.cursor.list(true, |cursor| {
                one_of(
                    cursor,
                    &["SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"],
                )
            })?;
            // RFC 5258 §3.1: it needs another option that selects.
            if list
                .selection
                .iter()
                .any(|option| option == "RECURSIVEMATCH")
                && !list
                    .selection
                    .iter()
                    .any(|option| option == "SUBSCRIBED" || option == "SPECIAL-USE")
            {
                return Err(self.cursor.error("an option beside RECURSIVEMATCH").into());
            }
            self.cursor.space()?;
        }
        list.reference = self.mailbox()?;
        self.cursor.space()?;
        let utf8 = self.utf8;
        let pattern = |cursor: &mut Cursor<'_>| {
            let octets = cursor.list_mailbox()?.into_owned();
            let text = String::from_utf8(octets).map_err(|_| cursor.error("UTF-8"))?;
            Ok(mailbox_name(text, utf8))
        };
        if extended && self.cursor.peek() == Some(b'(') {
            list.extended = true;
            list.patterns = self.cursor.list(false, pattern)?;
        } else {
            list.patterns = vec![pattern(self.cursor)?];
        }
        if extended && self.cursor.take_octet(b' ') {
            if !self.cursor.take_word("RETURN") {
                return Err(self.cursor.error("RETURN").into());
            }
            self.cursor.space()?;
            list.extended = true;
            let (mut status, mut metadata) = (Vec::new(), None);
            list.returns = self.cursor.list(true, |cursor| {
                let option = one_of(
                    cursor,
                    &[
                        "SUBSCRIBED",
                        "CHILDREN",
                        "SPECIAL-USE",
                        "MYRIGHTS",
                        "METADATA",
                        "STATUS",
                    ],
                )?;
                if option == "STATUS" {
                    cursor.space()?;
                    status = cursor.list(false, |cursor| one_of(cursor, &STATUS_ITEMS))?;
                } else if option == "METADATA" {
                    cursor.space()?;
                    metadata = Some(names::list_annotations(cursor)?);
                }
                Ok(option)
            })?;
            list.status = status;
            list.metadata = metadata;
        }
        Ok(Arguments::List(list))
    }

    fn status(&mut self) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        let items = self
            .cursor
            .list(false, |cursor| one_of(cursor, &STATUS_ITEMS))?;
        Ok(Arguments::Status { mailbox, items })
    }

    fn set(&mut self) -> Read<SequenceSet> {
        let set = SequenceSet::read(self.cursor)?;
        self.cursor.space()?;
        Ok(set)
    }

    fn copy(&mut self) -> Read<Arguments> {
        let set = self.set()?;
        let mailbox = self.mailbox()?;
        Ok(Arguments::Copy { set, mailbox })
    }

    fn fetch(&mut self) -> Read<Arguments> {
        let set = self.set()?;
        let items = Arc::new(FetchItems::read(self.cursor)?);
        Ok(Arguments::Fetch { set, items })
    }

    /// `"STORE" SP sequence-set [SP "(" "UNCHANGEDSINCE" SP n ")"] SP ["+" / "-"] "FLAGS" [".SILENT"] SP flags`.
    fn store(&mut self) -> Read<Arguments> {
        let set = self.set()?;
        let mut unchanged_since = None;
        if self.cursor.take_octet(b'(') {
            if !self.cursor.take_word("UNCHANGEDSINCE") {
                return Err(self.cursor.error("UNCHANGEDSINCE").into());
            }
            self.cursor.space()?;
            unchanged_since = Some(self.cursor.modseq()?);
            self.cursor.expect(b')')?;
            self.cursor.space()?;
        }
        let mode = if self.cursor.take_octet(b'+') {
            StoreMode::Add
        } else if self.cursor.take_octet(b'-') {
            StoreMode::Remove
        } else {
            StoreMode::Replace
        };
        let silent = if self.cursor.take_word("FLAGS.SILENT") {
            true
        } else if self.cursor.take_word("FLAGS") {
            false
        } else {
            return Err(self.cursor.error("FLAGS or FLAGS.SILENT").into());
        };
        self.cursor.space()?;
        let flags = FlagList::read_store(self.cursor)?;
        Ok(Arguments::Store {
            set,
            mode,
            silent,
            flags,
            unchanged_since,
        })
    }

    fn returns(&mut self) -> Read<Option<Arc<Returns>>> {
        let returns = Returns::read(self.cursor)?.map(Arc::new);
        self.saves = returns
            .as_ref()
            .is_some_and(|returns| returns.options.contains(&"SAVE"));
        Ok(returns)
    }

    /// `"CANCELUPDATE" 1*(SP quoted)` (RFC 5267 §5).
    fn cancel_update(&mut self) -> Read<Arguments> {
        let mut tags = vec![self.cursor.string_text()?];
        while self.cursor.take_octet(b' ') {
            tags.push(self.cursor.string_text()?);
        }
        Ok(Arguments::CancelUpdate(tags))
    }

    fn search(&mut self) -> Read<Arguments> {
        let returns = self.returns()?;
        let charset = self.cursor.clone().take_word("CHARSET");
        let program = Arc::new(SearchProgram::read(self.cursor)?);
        self.check_relevancy(wants_scores(returns.as_deref()), &program)?;
        Ok(Arguments::Search {
            program,
            returns,
            charset,
        })
    }

    /// `"ESEARCH" [SP scope] [SP return] SP search-program` (RFC 7377 §3).
    fn esearch(&mut self) -> Read<Arguments> {
        let scope = MailboxFilter::read_scope(self.cursor, self.utf8)?;
        let returns = self.returns()?;
        let charset = self.cursor.clone().take_word("CHARSET");
        let program = Arc::new(SearchProgram::read(self.cursor)?);
        self.check_relevancy(wants_scores(returns.as_deref()), &program)?;
        Ok(Arguments::Esearch {
            scope,
            program,
            returns,
            charset,
        })
    }

    /// `"SORT" [SP return] SP "(" sort-key *(SP sort-key) ")" SP charset SP search-keys` (RFC 5256 §5).
    fn sort(&mut self) -> Read<Arguments> {
        let returns = self.returns()?;
        let keys = SortKey::read_list(self.cursor)?;
        self.cursor.space()?;
        let program = Arc::new(SearchProgram::read_sort(self.cursor)?);
        let scored = keys.iter().any(|key| key.by == SortBy::Relevancy);
        self.check_relevancy(scored || wants_scores(returns.as_deref()), &program)?;
        Ok(Arguments::Sort {
            keys,
            program,
            returns,
        })
    }

    /// RFC 6203 §4 and §6: neither the option nor the sort key RELEVANCY may be used without the search key FUZZY.
    fn check_relevancy(&self, wanted: bool, program: &SearchProgram) -> Read<()> {
        if wanted && !program.fuzzy() {
            return Err(self.cursor.error("FUZZY where RELEVANCY is wanted").into());
        }
        Ok(())
    }

    fn thread(&mut self) -> Read<Arguments> {
        let algorithm = Algorithm::read(self.cursor)?;
        self.cursor.space()?;
        let program = Arc::new(SearchProgram::read_sort(self.cursor)?);
        Ok(Arguments::Thread { algorithm, program })
    }
}

fn wants_scores(returns: Option<&Returns>) -> bool {
    returns.is_some_and(|returns| returns.has("RELEVANCY"))
}

fn one_of(cursor: &mut Cursor<'_>, words: &[&str]) -> Result<String, SyntaxError> {
    words
        .iter()
        .find(|word| cursor.take_word(word))
        .map(|word| (*word).to_owned())
        .ok_or_else(|| cursor.error(format!("one of {}", words.join(" "))))
}

/// `"(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"` (RFC 7162 §7).
fn read_qresync(cursor: &mut Cursor<'_>) -> Result<Qresync, SyntaxError> {
    cursor.expect(b'(')?;
    let uidvalidity = u32::try_from(cursor.number()?)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| cursor.error("a UIDVALIDITY"))?;
    cursor.space()?;
    let modseq = cursor.modseq()?;
    let mut qresync = Qresync {
        uidvalidity,
        modseq,
        known_uids: None,
        known_sequence: None,
    };
    let mut more = cursor.take_octet(b' ');
    if more && cursor.peek() != Some(b'(') {
        qresync.known_uids = Some(read_known(cursor)?);
        more = cursor.take_octet(b' ');
    }
    if more {
        cursor.expect(b'(')?;
        let numbers = read_known(cursor)?;
        cursor.space()?;
        let uids = read_known(cursor)?;
        // RFC 7162 §3.2.5.2: the n-th of one belongs to the n-th of the other, both rising.
        if numbers.count() != uids.count() || !numbers.rises() || !uids.rises() {
            return Err(cursor.error("as many UIDs as sequence numbers, both rising"));
        }
        cursor.expect(b')')?;
        qresync.known_sequence = Some((numbers, uids));
    }
    cursor.expect(b')')?;
    Ok(qresync)
}

/// A sequence-set in which `*` (and `$`) is not allowed.
fn read_known(cursor: &mut Cursor<'_>) -> Result<SequenceSet, SyntaxError> {
    let set = SequenceSet::read(cursor)?;
    if set.saved() || set.has_star() {
        return Err(cursor.error("a set of numbers alone"));
    }
    Ok(set)
}
