//! Commands about whole mailboxes: SELECT and CREATE to METADATA (RFC 3501 §6.3, 4314, 5464, 6154, 7162, 9208).
//!
//! LIST, LSUB and STATUS are in `list`.

use super::{Arguments, Read, Reader, annotations};
use crate::cursor::{Cursor, SyntaxError};
use crate::mailbox_name;
use crate::set::SequenceSet;

/// `(QRESYNC (…))` of SELECT (RFC 7162 §3.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qresync {
    /// The value the client knows.
    pub uidvalidity: u32,
    /// The mod-sequence up to which it knows changes.
    pub modseq: i64,
    /// UIDs that it knows.
    pub known_uids: Option<SequenceSet>,
    /// Sequence numbers and the UIDs they had.
    pub known_sequence: Option<(SequenceSet, SequenceSet)>,
}

impl Reader<'_, '_> {
    pub(super) fn one_mailbox(&mut self) -> Read<Arguments> {
        Ok(Arguments::Mailbox(self.mailbox()?))
    }

    pub(super) fn select(&mut self) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        let (mut condstore, mut qresync) = (false, None);
        if self.cursor.take_octet(b' ') {
            self.cursor.list(false, |cursor| {
                if cursor.take_word("CONDSTORE") {
                    condstore = true;
                } else if cursor.take_word("QRESYNC") {
                    cursor.space()?;
                    qresync = Some(read_qresync(cursor)?);
                } else {
                    return Err(cursor.error("CONDSTORE or QRESYNC"));
                }
                Ok(())
            })?;
        }
        Ok(Arguments::Select {
            mailbox,
            condstore,
            qresync,
        })
    }

    pub(super) fn create(&mut self) -> Read<Arguments> {
        let name = self.mailbox()?;
        let mailbox = match name.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() => mailbox_name::decode(shorter.to_owned(), true),
            _ => name,
        };
        let mut special_use = Vec::new();
        if self.cursor.take_octet(b' ') {
            self.cursor.expect(b'(')?;
            if !self.cursor.take_word("USE") {
                return Err(self.cursor.error("USE").into());
            }
            self.cursor.space()?;
            special_use = self.cursor.list(true, |cursor| {
                cursor.expect(b'\\')?;
                Ok(format!("\\{}", cursor.atom("a special use")?))
            })?;
            self.cursor.expect(b')')?;
        }
        Ok(Arguments::Create {
            mailbox,
            special_use,
        })
    }

    pub(super) fn rename(&mut self) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        let new_name = self.mailbox()?;
        Ok(Arguments::Rename { mailbox, new_name })
    }

    pub(super) fn set_quota(&mut self) -> Read<Arguments> {
        let root = self.cursor.astring_text()?;
        self.cursor.space()?;
        let limits = quota_limits(self.cursor)?;
        Ok(Arguments::SetQuota { root, limits })
    }

    /// `mailbox SP identifier [SP mod-rights]` (RFC 4314 §7).
    pub(super) fn acl(&mut self, rights: bool) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        let identifier = self.cursor.astring_text()?;
        let rights = rights
            .then(|| {
                self.cursor.space()?;
                self.cursor.astring_text()
            })
            .transpose()?;
        Ok(Arguments::Acl {
            mailbox,
            identifier,
            rights,
        })
    }

    pub(super) fn get_metadata(&mut self) -> Read<Arguments> {
        let (mailbox, annotations) = annotations::get_metadata(self.cursor, mailbox_name::read)?;
        Ok(Arguments::GetMetadata {
            mailbox,
            annotations,
        })
    }

    pub(super) fn set_metadata(&mut self) -> Read<Arguments> {
        let mailbox = self.mailbox()?;
        self.cursor.space()?;
        let values = annotations::entry_values(self.cursor)?;
        Ok(Arguments::SetMetadata { mailbox, values })
    }

    /// SETMETADATA as far as it comes before a value.
    pub(super) fn set_metadata_up_to_value(&mut self) -> Read<()> {
        self.mailbox()?;
        self.cursor.space()?;
        Ok(annotations::up_to_value(self.cursor)?)
    }
}

/// `setquota-list = "(" [setquota-resource *(SP setquota-resource)] ")"` (RFC 9208 §4.1.3).
fn quota_limits(cursor: &mut Cursor<'_>) -> Result<Vec<(String, u64)>, SyntaxError> {
    cursor.list(true, |cursor| {
        let resource = cursor.word("a resource")?;
        cursor.space()?;
        let start = cursor.offset();
        // number64: 63 bits.
        let limit = cursor.number()?;
        if i64::try_from(limit).is_err() {
            return Err(SyntaxError {
                offset: start,
                expected: "a limit below 2^63".into(),
            });
        }
        Ok((resource, limit))
    })
}

/// `"(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"` (RFC 7162 §7).
fn read_qresync(cursor: &mut Cursor<'_>) -> Result<Qresync, SyntaxError> {
    cursor.expect(b'(')?;
    let uidvalidity = u32::try_from(cursor.number()?)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| cursor.error("a UIDVALIDITY"))?;
    cursor.space()?;
    let modseq = cursor.modseq()?;
    let mut qresync = Qresync {
        uidvalidity,
        modseq,
        known_uids: None,
        known_sequence: None,
    };
    let mut more = cursor.take_octet(b' ');
    if more && cursor.peek() != Some(b'(') {
        qresync.known_uids = Some(read_known(cursor)?);
        more = cursor.take_octet(b' ');
    }
    if more {
        cursor.expect(b'(')?;
        let numbers = read_known(cursor)?;
        cursor.space()?;
        let uids = read_known(cursor)?;
        // RFC 7162 §3.2.5.2: the n-th of one set belongs to the n-th of the other, and both rise.
        if numbers.count() != uids.count() || !numbers.rises() || !uids.rises() {
            return Err(cursor.error("as many UIDs as sequence numbers, both rising"));
        }
        cursor.expect(b')')?;
        qresync.known_sequence = Some((numbers, uids));
    }
    cursor.expect(b')')?;
    Ok(qresync)
}

/// A sequence-set in which `*` (and `$`) is not allowed.
fn read_known(cursor: &mut Cursor<'_>) -> Result<SequenceSet, SyntaxError> {
    let set = SequenceSet::read(cursor)?;
    if set.saved() || set.has_star() {
        return Err(cursor.error("a set of numbers alone"));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_fit_in_63_bits() {
        let read = |text: &str| quota_limits(&mut Cursor::new(text.as_bytes()));
        assert_eq!(read("()"), Ok(vec![]));
        assert_eq!(
            read("(STORAGE 512 message 9223372036854775807)"),
            Ok(vec![
                ("STORAGE".into(), 512),
                ("MESSAGE".into(), 9_223_372_036_854_775_807)
            ])
        );
        assert!(read("(STORAGE 9223372036854775808)").is_err());
        assert!(read("(STORAGE)").is_err());
    }
}
