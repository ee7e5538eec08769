//! Everything that is stored about a message once, at delivery.

use crate::bodystructure::{Bodies, envelope};
use crate::date;
use crate::identifiers;
use crate::structure::{Structure, Tag};
use crate::subject::{BaseSubject, base_subject};

/// What IMAP shows of a message without reading it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// `RFC822.SIZE`
    pub size: usize,
    /// `ENVELOPE` with its parentheses
    pub envelope: Vec<u8>,
    /// `BODYSTRUCTURE` with its parentheses
    pub bodystructure: Vec<u8>,
    /// `BODY` with its parentheses
    pub body: Vec<u8>,
    /// When its author says that it was sent; `None` if the `Date` is absent or unreadable.
    pub sent_at: Option<date::Date>,
    /// The `Message-ID` without angle brackets.
    pub message_id: Option<String>,
    /// The message ids of `References`, oldest first; if there are none, the first of `In-Reply-To` (RFC 5256 §3).
    pub references: Vec<String>,
    /// The message ids of `In-Reply-To`.
    pub in_reply_to: Vec<String>,
}

/// Describe any octets as a message.
#[must_use]
pub fn describe(data: &[u8]) -> Description {
    describe_structure(&Structure::parse(data))
}

/// Describe a message whose parts are already known.
#[must_use]
pub fn describe_structure(structure: &Structure<'_>) -> Description {
    let mut wire = Vec::with_capacity(512);
    envelope(structure, 0, &mut wire);
    let mut bodies = Bodies::default();
    bodies.body.reserve(256);
    bodies.bodystructure.reserve(384);
    bodies.part(structure, 0);
    let (message_id, references, in_reply_to) = thread_ids(structure);
    Description {
        size: structure.data().len(),
        envelope: wire,
        bodystructure: bodies.bodystructure,
        body: bodies.body,
        sent_at: structure
            .values(0, Tag::Date)
            .next_back()
            .and_then(date::parse),
        message_id,
        references,
        in_reply_to,
    }
}

fn thread_ids(structure: &Structure<'_>) -> (Option<String>, Vec<String>, Vec<String>) {
    let message_id = structure
        .values(0, Tag::MessageId)
        .next_back()
        .and_then(identifiers::message_id);
    let in_reply_to = identifiers::all(structure.values(0, Tag::InReplyTo));
    let mut references = identifiers::all(structure.values(0, Tag::References));
    if references.is_empty() {
        references.extend(in_reply_to.first().cloned());
    }
    (message_id, references, in_reply_to)
}

/// What puts a message into its thread (RFC 5256 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threading {
    /// As in [`Description`].
    pub message_id: Option<String>,
    /// As in [`Description`].
    pub references: Vec<String>,
    /// As in [`Description`].
    pub in_reply_to: Vec<String>,
    /// The subject without its prefixes.
    pub base_subject: BaseSubject,
}

/// What puts a message into its thread.
#[must_use]
pub fn threading(structure: &Structure<'_>) -> Threading {
    let (message_id, references, in_reply_to) = thread_ids(structure);
    Threading {
        message_id,
        references,
        in_reply_to,
        base_subject: structure
            .values(0, Tag::Subject)
            .next_back()
            .map(base_subject)
            .unwrap_or_default(),
    }
}
