//! A SEARCH as a value: its keys, and what is needed to answer them (RFC 3501 §6.4.4).

mod grammar;

use crate::cursor::SyntaxError;
use crate::set::SequenceSet;

/// Which of a message's dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOf {
    /// INTERNALDATE
    Internal,
    /// The field `Date:`
    Sent,
    /// SAVEDATE
    Saved,
}

/// Where a needle is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// TEXT: header or body.
    Text,
    /// BODY
    Body,
    /// HEADER with this name, in lower case. An empty needle asks whether the field is there.
    Header(String),
}

/// One search key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// ALL
    All,
    /// Any of these bits is set.
    Flag(i64),
    /// KEYWORD, compared without regard to case.
    Keyword(String),
    /// RECENT
    Recent,
    /// A sequence-set
    Numbers(SequenceSet),
    /// UID
    Uids(SequenceSet),
    /// Days since the epoch, `from <= day < to`.
    Day(DateOf, i64, i64),
    /// LARGER
    Larger(u64),
    /// SMALLER
    Smaller(u64),
    /// YOUNGER, seconds
    Younger(u64),
    /// MODSEQ
    ModSeq(i64),
    /// EMAILID
    Content(i64),
    /// THREADID
    Thread(i64),
    /// A needle, as given; comparing folds it.
    Contains(Place, String),
    /// FUZZY: words are searched for as in `fuzzy`; any other key is as without FUZZY.
    Fuzzy(Box<Key>),
    /// NOT
    Not(Box<Key>),
    /// OR
    Any(Vec<Key>),
    /// A list of keys
    Every(Vec<Key>),
}

/// Why a search cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchError {
    /// It is not a search.
    Syntax(SyntaxError),
    /// Its charset is unknown: `NO [BADCHARSET]`.
    Charset,
    /// A text of it is invalid in its charset: `NO`.
    Text,
}

impl From<SyntaxError> for SearchError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

/// The complete search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchProgram {
    /// What messages must have.
    pub key: Key,
}

impl SearchProgram {
    fn any(key: &Key, wanted: &impl Fn(&Key) -> bool) -> bool {
        wanted(key)
            || match key {
                Key::Not(inner) | Key::Fuzzy(inner) => Self::any(inner, wanted),
                Key::Any(keys) | Key::Every(keys) => keys.iter().any(|key| Self::any(key, wanted)),
                _ => false,
            }
    }

    /// Whether some key searches header or body.
    #[must_use]
    pub fn needs_text(&self) -> bool {
        Self::any(&self.key, &|key| {
            matches!(key, Key::Contains(..) | Key::Fuzzy(_))
        })
    }

    /// Whether there is a key FUZZY; without it messages have no relevancy (RFC 6203 §4 and §6).
    #[must_use]
    pub fn fuzzy(&self) -> bool {
        Self::any(&self.key, &|key| matches!(key, Key::Fuzzy(_)))
    }

    /// Whether messages are named by sequence numbers.
    #[must_use]
    pub fn numbers(&self) -> bool {
        Self::any(
            &self.key,
            &|key| matches!(key, Key::Numbers(set) if !set.saved()),
        )
    }

    /// Whether messages are named in a way that only the selected mailbox has: by sequence numbers or `$`.
    #[must_use]
    pub fn needs_selected(&self) -> bool {
        Self::any(&self.key, &|key| match key {
            Key::Numbers(_) => true,
            Key::Uids(set) => set.saved(),
            _ => false,
        })
    }

    /// Threads that are searched for.
    #[must_use]
    pub fn threads(&self) -> Vec<i64> {
        let threads = std::cell::RefCell::new(Vec::new());
        Self::any(&self.key, &|key| {
            if let Key::Thread(thread) = key {
                threads.borrow_mut().push(*thread);
            }
            false
        });
        threads.into_inner()
    }

    /// Whether the key MODSEQ is used.
    #[must_use]
    pub fn modseq(&self) -> bool {
        Self::any(&self.key, &|key| matches!(key, Key::ModSeq(_)))
    }
}
