//! LIST, LSUB and STATUS: which mailboxes, and what about them (RFC 3501 §6.3.8–10, RFC 5258, 5819, 6154, 8440, 9590).

use super::annotations::{self, Annotations};
use super::{Arguments, Read, Reader};
use crate::cursor::{Cursor, SyntaxError};
use crate::mailbox_name;

const STATUS_ITEMS: [&str; 11] = [
    "MESSAGES",
    "RECENT",
    "UIDNEXT",
    "UIDVALIDITY",
    "UNSEEN",
    "DELETED",
    "SIZE",
    "HIGHESTMODSEQ",
    "MAILBOXID",
    "APPENDLIMIT",
    "DELETED-STORAGE",
];

/// The arguments of LIST and LSUB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListArguments {
    /// The reference name.
    pub reference: String,
    /// Patterns; not empty.
    pub patterns: Vec<String>,
    /// Whether the form of RFC 5258 was used.
    pub extended: bool,
    /// Selection options.
    pub selection: Vec<String>,
    /// Return options.
    pub returns: Vec<String>,
    /// Items of the return option STATUS.
    pub status: Vec<String>,
    /// Annotations of the return option METADATA (RFC 9590).
    pub metadata: Option<Annotations>,
}

impl Reader<'_, '_> {
    /// `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]` (RFC 5258 §6).
    pub(super) fn list(&mut self, extended: bool) -> Read<Arguments> {
        let mut list = ListArguments::default();
        if extended && self.cursor.peek() == Some(b'(') {
            list.extended = true;
            list.selection = self.cursor.list(true, |cursor| {
                one_of(
                    cursor,
                    &["SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"],
                )
            })?;
            // RFC 5258 §3.1: RECURSIVEMATCH requires another selection option.
            if list
                .selection
                .iter()
                .any(|option| option == "RECURSIVEMATCH")
                && !list
                    .selection
                    .iter()
                    .any(|option| option == "SUBSCRIBED" || option == "SPECIAL-USE")
            {
                return Err(self.cursor.error("an option beside RECURSIVEMATCH").into());
            }
            self.cursor.space()?;
        }
        list.reference = self.mailbox()?;
        self.cursor.space()?;
        let pattern = |cursor: &mut Cursor<'_>| {
            let octets = cursor.list_mailbox()?.into_owned();
            let text = String::from_utf8(octets).map_err(|_| cursor.error("UTF-8"))?;
            Ok(mailbox_name::decode(text, cursor.utf8))
        };
        if extended && self.cursor.peek() == Some(b'(') {
            list.extended = true;
            list.patterns = self.cursor.list(false, pattern)?;
        } else {
            list.patterns = vec![pattern(self.cursor)?];
        }
        if extended && self.cursor.take_octet(b' ') {
            if !self.cursor.take_word("RETURN") {
                return Err(self.cursor.error("RETURN").into());
            }
            self.cursor.space()?;
            list.extended = true;
            let (mut status, mut metadata) = (Vec::new(), None);
            list.returns = self.cursor.list(true, |cursor| {
                let option = one_of(
                    cursor,
                    &[
                        "SUBSCRIBED",
                        "CHILDREN",
                        "SPECIAL-USE",
                        "MYRIGHTS",
                        "METADATA",
                        "STATUS",
                    ],
                )?;
                if option == "STATUS" {
                    cursor.space()?;
                    status = cursor.list(false, |cursor| one_of(cursor, &STATUS_ITEMS))?;
                } else if option == "METADATA" {
                    cursor.space()?;
                    metadata = Some(annotations::list_annotations(cursor)?);
                }
                Ok(option)
            })?;
            list.status = status;
            list.metadata = metadata;
        }
        Ok(Arguments::List(list))
    }

    pub(super) fn status(&mut self) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        let items = self
            .cursor
            .list(false, |cursor| one_of(cursor, &STATUS_ITEMS))?;
        Ok(Arguments::Status { mailbox, items })
    }
}

fn one_of(cursor: &mut Cursor<'_>, words: &[&str]) -> Result<String, SyntaxError> {
    words
        .iter()
        .find(|word| cursor.take_word(word))
        .map(|word| (*word).to_owned())
        .ok_or_else(|| cursor.error(format!("one of {}", words.join(" "))))
}
