//! SMTP, the reading side (RFC 5321, 3030, 6531, 3461).
//!
//! The [`Reader`] knows no sockets. In: the octets of one connection, divided in any way. Out: [`Event`]s, one for each
//! command, refused line, part of a large message and complete message. It does not decide whether a command is allowed
//! and does not reply; rare commands are returned as lines.
//!
//! The [`Front`] has the sockets of a door, and answers what needs no decision; its [`Dialogue`]s know no sockets.
//!
//! A line ends at CR LF and nowhere else (RFC 5321 §2.3.8), so `<LF>.<LF>` and the like never end a message.

#![cfg_attr(
    test,
    allow(clippy::panic, clippy::indexing_slicing, clippy::unwrap_used)
)]

mod command;
mod content;
mod dots;
mod front;
mod path;
mod reader;

pub use command::{Body, Command, Mail, Notify, Problem, Rcpt, Ret, parse};
pub use content::{Content, Fault, Rules};
pub use front::{
    Bounds, Census, Conversation, Counts, Crowded, Departure, Dialogue, Front, Known, Notice,
    Terms, Transaction, Turn,
};
pub use path::{Path, path};
pub use reader::{Event, Limits, Message, Reader};
