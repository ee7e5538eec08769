//! What follows the name of a command, as values.

use super::annotations::Annotations;
use super::list::ListArguments;
use super::mailboxes::Qresync;
use crate::fetch_items::FetchItems;
use crate::flags::FlagList;
use crate::notify::Notify;
use crate::returns::Returns;
use crate::scope::MailboxFilter;
use crate::search_program::SearchProgram;
use crate::set::SequenceSet;
use crate::sort::SortKey;
use crate::thread::Algorithm;
use std::sync::Arc;

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

/// The arguments of all commands.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are named as in the grammar")]
pub enum Arguments {
    /// No arguments.
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
