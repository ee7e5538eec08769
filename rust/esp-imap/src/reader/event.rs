//! What a reader of commands hands out.

use crate::append::AppendHead;
use crate::command::{Command, Refusal};

/// A message, or a part of one, that APPEND or REPLACE is about to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendLiteral {
    /// Where it belongs.
    pub head: AppendHead,
    /// Octets.
    pub size: u64,
    /// Whether the client waits for `+`.
    pub synchronising: bool,
    /// Whether it is a literal8.
    pub binary: bool,
    /// Whether it stands in `UTF8 (…)`, which makes it text again (RFC 6855 §4).
    pub utf8: bool,
}

/// What the octets meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A whole command.
    Command(Command),
    /// The client waits for `+`.
    Continue,
    /// See `CommandReader::accept`, `refuse`.
    AppendLiteral(AppendLiteral),
    /// A part of a message that is here already (RFC 4469); may be refused as a literal may.
    AppendUrl {
        /// Where it belongs.
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
        /// Whether the stream is lost.
        fatal: bool,
    },
    /// A line asked for with `expect_line`.
    Line(Vec<u8>),
}
