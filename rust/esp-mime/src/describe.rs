//! All that is stored about a message once, at delivery.

use crate::bodystructure::{Bodies, envelope};
use crate::date;
use crate::identifiers;
use crate::structure::{Structure, Tag};

/// What a mailbox tells about a message without reading it again.
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
    /// When the author says it was sent; `None` when the `Date` is absent or unreadable.
    pub sent_at: Option<date::Date>,
    /// The `Message-ID` without angle brackets.
    pub message_id: Option<String>,
    /// The message ids of `References`, oldest first; without any, the first of `In-Reply-To` (RFC 5256 §3).
    pub references: Vec<String>,
    /// The message ids of `In-Reply-To`.
    pub in_reply_to: Vec<String>,
}

/// Describe any octets as a message.
#[must_use]
pub fn describe(data: &[u8]) -> Description {
    describe_structure(&Structure::parse(data))
}

/// Describe a message whose parts are known already.
#[must_use]
pub fn describe_structure(structure: &Structure<'_>) -> Description {
    let mut wire = Vec::with_capacity(512);
    envelope(structure, 0, &mut wire);
    let mut bodies = Bodies::default();
    bodies.body.reserve(256);
    bodies.bodystructure.reserve(384);
    bodies.part(structure, 0);
    let in_reply_to = identifiers::all(structure.values(0, Tag::InReplyTo));
    let mut references = identifiers::all(structure.values(0, Tag::References));
    if references.is_empty() {
        references.extend(in_reply_to.first().cloned());
    }
    Description {
        size: structure.data().len(),
        envelope: wire,
        bodystructure: bodies.bodystructure,
        body: bodies.body,
        sent_at: structure
            .values(0, Tag::Date)
            .next_back()
            .and_then(date::parse),
        message_id: structure
            .values(0, Tag::MessageId)
            .next_back()
            .and_then(identifiers::message_id),
        references,
        in_reply_to,
    }
}
