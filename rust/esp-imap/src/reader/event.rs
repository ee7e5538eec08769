//! What a reader of commands returns.

use crate::append::AppendHead;
use crate::command::{Command, Refusal};

/// A message, or a part of one, that APPEND or REPLACE is about to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendLiteral {
    /// Which message or part it is.
    pub head: AppendHead,
    /// Octets.
    pub size: u64,
    /// Whether the client waits for `+`.
    pub synchronising: bool,
    /// Whether it is a literal8.
    pub binary: bool,
    /// Whether it is in `UTF8 (…)`, which makes it text again (RFC 6855 §4).
    pub utf8: bool,
}

/// The meaning of the octets read.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A complete command.
    Command(Command),
    /// The client waits for `+`.
    Continue,
    /// See `CommandReader::accept`, `refuse`.
    AppendLiteral(AppendLiteral),
    /// A part of a message that is stored already (RFC 4469); may be refused like a literal.
    AppendUrl {
        /// Which part it is.
        head: AppendHead,
        /// As given.
        url: String,
    },
    /// Octets of an accepted literal.
    AppendOctets {
        /// The octets.
        octets: Vec<u8>,
        /// Whether the literal is complete.
        last: bool,
    },
    /// Answer this.
    Bad {
        /// The answer.
        refusal: Refusal,
        /// Whether the rest of the stream cannot be interpreted any more.
        fatal: bool,
    },
    /// A line asked for with `expect_line`.
    Line(Vec<u8>),
}
