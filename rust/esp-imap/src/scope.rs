//! Which mailboxes are meant: `filter-mailboxes` (RFC 5465 §8, RFC 7377 §3).

use crate::cursor::{Cursor, SyntaxError};
use crate::mailbox_name;

/// `filter-mailboxes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxFilter {
    /// Upper case.
    pub filter: &'static str,
    /// The mailboxes for SUBTREE, SUBTREE-ONE and MAILBOXES.
    pub mailboxes: Vec<String>,
}

const FILTERS: [&str; 8] = [
    "SELECTED-DELAYED",
    "SELECTED",
    "INBOXES",
    "PERSONAL",
    "SUBSCRIBED",
    "SUBTREE-ONE",
    "SUBTREE",
    "MAILBOXES",
];

impl MailboxFilter {
    /// `filter-mailboxes`; mailboxes as `one-or-more-mailbox`.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let filter = FILTERS
            .into_iter()
            .find(|filter| cursor.take_word(filter))
            .ok_or_else(|| cursor.error("which mailboxes"))?;
        let mut mailboxes = Vec::new();
        if matches!(filter, "SUBTREE" | "SUBTREE-ONE" | "MAILBOXES") {
            cursor.space()?;
            mailboxes = if cursor.peek() == Some(b'(') {
                cursor.list(false, mailbox_name::read)?
            } else {
                vec![mailbox_name::read(cursor)?]
            };
        }
        Ok(Self { filter, mailboxes })
    }

    /// `"IN" SP "(" filter-mailboxes *(SP filter-mailboxes) ")" SP`, if it is there (RFC 7377 §3).
    pub(crate) fn read_scope(cursor: &mut Cursor<'_>) -> Result<Option<Vec<Self>>, SyntaxError> {
        if !cursor.take_word("IN") {
            return Ok(None);
        }
        cursor.space()?;
        let filters = cursor.list(false, Self::read)?;
        cursor.space()?;
        Ok(Some(filters))
    }
}
