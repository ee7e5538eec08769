//! Mailboxes to test with.

#![allow(dead_code, missing_docs, unreachable_pub)]

use esp_imap::{MailboxIndex, MailboxState};

const EPOCH: i64 = 946_684_800_000_000;

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub uid: u32,
    pub modseq: i64,
    pub flags: i64,
    pub size: i64,
    pub internal_date: i64,
    pub file: String,
    pub letters: Option<String>,
}

impl Message {
    pub fn new(uid: u32, modseq: i64, flags: i64) -> Self {
        Self {
            uid,
            modseq,
            flags,
            size: 1_000 + i64::from(uid),
            internal_date: 1_700_000_000_000_000 + i64::from(uid) * 86_400_000_000,
            file: format!("{uid}.M1P1Q1.host"),
            letters: None,
        }
    }
}

fn field(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend((-1i32).to_be_bytes()),
        Some(value) => {
            out.extend(i32::try_from(value.len()).unwrap_or(0).to_be_bytes());
            out.extend(value);
        }
    }
}

/// A binary COPY stream.
pub fn copy(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
    let mut out = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        out.extend(i16::try_from(row.len()).unwrap_or(0).to_be_bytes());
        for value in row {
            field(&mut out, value.as_deref());
        }
    }
    out.extend((-1i16).to_be_bytes());
    out
}

pub fn bigint(value: i64) -> Option<Vec<u8>> {
    Some(value.to_be_bytes().to_vec())
}

pub fn time(micros: i64) -> Option<Vec<u8>> {
    bigint(micros - EPOCH)
}

pub fn rows(messages: &[Message]) -> Vec<u8> {
    let rows: Vec<_> = messages
        .iter()
        .map(|message| {
            vec![
                bigint(i64::from(message.uid)),
                bigint(i64::from(message.uid) + 10_000),
                bigint(message.modseq),
                bigint(message.flags),
                bigint(message.size),
                time(message.internal_date),
                time(message.internal_date),
                Some(message.file.clone().into_bytes()),
                message.letters.clone().map(String::into_bytes),
            ]
        })
        .collect();
    copy(&rows)
}

pub fn apply(index: &MailboxIndex, messages: &[Message], modseq: i64, uidnext: u32, gone: &[u32]) {
    let gone: Vec<String> = gone.iter().map(u32::to_string).collect();
    assert_eq!(index.feed(&rows(messages)), Ok(()));
    assert_eq!(
        index.commit(MailboxState {
            modseq,
            uidnext,
            keywords: &["$Work".to_owned()],
            expunged: &gone,
            ..MailboxState::default()
        }),
        Ok(())
    );
}
