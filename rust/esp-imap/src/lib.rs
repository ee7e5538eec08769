//! IMAP commands to typed values, response rendering, and the mailbox index.
//!
//! In: octets of connections ([`CommandReader`]), rows of messages. Out: [`Command`]s, and the octets of responses. Knows
//! neither Python nor PostgreSQL's protocol beyond the binary COPY format, and decides nothing about policy.
//!
//! RFC 3501, 9051 (grammar), 2971, 3502, 3516, 4314, 4315, 4469, 4731, 4959, 5032, 5161, 5182, 5256, 5258, 5267, 5464,
//! 5530, 5819, 5957, 6154, 6203, 6851, 6855, 7162, 7888, 8508, 8514, 9208, 9590.

mod append;
mod cache;
mod charset;
mod command;
mod context;
mod copy;
mod criteria;
mod cursor;
mod date;
mod fetch;
mod fetch_items;
mod files;
mod flags;
mod fuzzy;
mod heads;
mod index;
mod language;
mod mailbox_name;
mod message_section;
mod notify;
mod parts;
mod patterns;
mod reader;
mod respond;
mod resync;
mod returns;
mod scope;
mod search;
mod search_program;
mod set;
mod sort;
mod source;
mod thread;
mod uids;
mod utf7;
mod view;
mod wire;
mod word_forms;
mod words;

pub use append::AppendHead;
pub use cache::{
    CONTENT_COLUMNS, ContentCache, INDEXED_COLUMNS, SIGNATURE_COLUMNS, TEXT_COLUMNS, TextCache,
};
pub use command::{
    Annotations, Arguments, Command, Depth, ListArguments, Qresync, Refusal, StoreMode, parse,
};
pub use context::Context;
pub use copy::CopyError;
pub use criteria::ThreadContents;
pub use cursor::SyntaxError;
pub use fetch::{Fetch, Step};
pub use fetch_items::{FetchItem, FetchItems, Form, SectionItem};
pub use flags::{ANSWERED, DELETED, DRAFT, FIRST_KEYWORD_BIT, FLAGGED, FlagList, SEEN};
pub use heads::HEAD_COLUMNS;
pub use index::{KeptError, MailboxIndex, MailboxState, ROW_COLUMNS};
pub use message_section::MessageSection;
pub use notify::{EventGroup, Notify};
pub use patterns::Patterns;
pub use reader::{AppendLiteral, CommandReader, Event, Limits};
pub use respond::Correlation;
pub use returns::{Partial, Returns};
pub use scope::MailboxFilter;
pub use search::{Order, Search, SearchNeed};
pub use search_program::{DateOf, Key, Place, SearchError, SearchProgram};
pub use set::{SequenceSet, encode_set};
pub use sort::{SortBy, SortKey};
pub use thread::Algorithm;
pub use utf7::{decode as mailbox_from_utf7, encode as mailbox_to_utf7};
pub use view::{RangeError, StorePlan, Sync, View};
pub use wire::{mailbox as encode_mailbox, write_nstring};
