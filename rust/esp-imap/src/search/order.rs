//! The order in which a search's result is wanted, and putting it in that order (RFC 5256).

use super::Search;
use crate::cursor::{Cursor, SyntaxError};
use crate::index::Row;
use crate::sort::{SortKey, sent, sorted};
use crate::thread::{Algorithm, Message, Threads};
use esp_mime::{Head, HeadKey};
use std::sync::Arc;

/// The order in which the result is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// SEARCH: the order of the mailbox.
    Mailbox,
    /// SORT
    Sort(Vec<SortKey>),
    /// THREAD
    Thread(Algorithm),
}

impl Order {
    /// Parse `SORT (criteria)` or `THREAD algorithm`.
    ///
    /// # Errors
    /// `SyntaxError` when it is neither.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let order = if cursor.take_word("SORT") {
            cursor.space()?;
            Self::Sort(SortKey::read_list(&mut cursor)?)
        } else if cursor.take_word("THREAD") {
            cursor.space()?;
            Self::Thread(Algorithm::read(&mut cursor)?)
        } else {
            return Err(cursor.error("SORT or THREAD"));
        };
        cursor.end()?;
        Ok(order)
    }

    fn needs_heads(&self) -> bool {
        match self {
            Self::Mailbox => false,
            Self::Sort(keys) => keys.iter().any(SortKey::needs_head),
            Self::Thread(_) => true,
        }
    }
}

impl Search {
    /// Put the result in the order asked for; or return the content ids whose heads are needed for that.
    pub(super) fn put_in_order(&mut self) -> Vec<i64> {
        if self.order == Order::Mailbox {
            return Vec::new();
        }
        let view = Arc::clone(&self.view);
        let table = view.index().read();
        // Messages that the index no longer has cannot be compared.
        let (hits, rows): (Vec<usize>, Vec<&Row>) = self.rows(&table, &self.hits).unzip();
        let mut heads = Vec::new();
        if self.order.needs_heads() {
            heads = rows
                .iter()
                .map(|row| table.heads.get(row.content))
                .collect();
            let missing = rows.iter().zip(&heads).filter(|(_, head)| head.is_none());
            let missing: Vec<i64> = missing.map(|(row, _)| row.content).collect();
            if !missing.is_empty() {
                return missing;
            }
        }
        let heads: Vec<Head<'_>> = heads.into_iter().flatten().collect();
        match &self.order {
            Order::Mailbox => {}
            Order::Sort(keys) => {
                let scores: Vec<u8> = hits.iter().map(|hit| self.score(*hit)).collect();
                self.hits = sorted(&rows, &heads, &scores, keys)
                    .into_iter()
                    .filter_map(|place| hits.get(place).copied())
                    .collect();
            }
            Order::Thread(algorithm) => {
                let messages: Vec<Message<'_>> = rows
                    .iter()
                    .zip(&heads)
                    .map(|(row, head)| message(row, *head))
                    .collect();
                self.threads = Some(Threads::new(&messages, *algorithm));
                self.hits = hits;
            }
        }
        Vec::new()
    }
}

fn message<'a>(row: &Row, head: Head<'a>) -> Message<'a> {
    Message {
        id: head.id(),
        references: head.references().collect(),
        subject: head.key(HeadKey::Subject),
        is_reply: head.is_reply(),
        sent: sent(row, head),
        arrival: row.internal_date,
    }
}
