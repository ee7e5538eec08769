//! An index that outlives its process.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use esp_imap::{DELETED, KeptError, MailboxIndex, MailboxState, SEEN, Sync, View};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use support::{Message, apply};

fn index() -> Arc<MailboxIndex> {
    Arc::new(MailboxIndex::new(1, 2, PathBuf::from("/nonexistent"), 7))
}

/// Another process's index, from what one process has stored.
fn restored(from: &MailboxIndex) -> Arc<MailboxIndex> {
    let (octets, modseq, uidnext) = from.keep();
    let index = index();
    assert_eq!(index.feed_kept(&octets), Ok(()));
    let state = MailboxState {
        modseq,
        uidnext,
        complete: true,
        ..MailboxState::default()
    };
    assert_eq!(index.commit(state), Ok(()));
    index
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let message = (
        1_u32..1_000,
        any::<i64>(),
        any::<i64>(),
        0_i64..i64::MAX,
        -1_000_000_000_000_i64..4_000_000_000_000_000,
        "[a-z.]{0,4}[0-9]{0,40}",
        proptest::option::of("[DFRST]{0,5}"),
    );
    proptest::collection::vec(message, 0..40).prop_map(|all| {
        let mut uid = 0;
        all.into_iter()
            .map(|(gap, modseq, flags, size, internal_date, file, letters)| {
                uid += gap;
                Message {
                    uid,
                    modseq,
                    flags,
                    size,
                    internal_date,
                    file,
                    letters,
                }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn what_is_kept_comes_back_to_the_last_bit(messages in messages()) {
        let first = index();
        apply(&first, &messages, i64::MAX, u32::MAX, &[]);
        let second = restored(&first);
        prop_assert_eq!(second.messages(), messages.len());
        prop_assert_eq!((second.modseq(), second.uidnext()), (i64::MAX, u32::MAX));
        prop_assert_eq!(second.keep(), first.keep());
    }

    #[test]
    fn what_is_cut_or_longer_is_none(messages in messages(), cut in any::<proptest::sample::Index>()) {
        let first = index();
        apply(&first, &messages, 9, 9, &[]);
        let (mut octets, ..) = first.keep();
        octets.push(0);
        prop_assert_eq!(index().feed_kept(&octets), Err(KeptError));
        octets.truncate(cut.index(octets.len() - 1));
        prop_assert_eq!(index().feed_kept(&octets), Err(KeptError));
    }

    #[test]
    fn no_octets_are_too_much_for_it(form in 0_u8..3, octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let octets = [&[form][..], &octets].concat();
        if index().feed_kept(&octets).is_ok() {
            prop_assert_eq!(form, 1);
        }
    }
}

#[test]
fn what_happened_since_is_done_to_it() {
    let first = index();
    let all: Vec<Message> = (1..=4).map(|uid| Message::new(uid, 2, 0)).collect();
    apply(&first, &all, 2, 5, &[]);
    let second = restored(&first);
    let state = MailboxState {
        modseq: 4,
        uidnext: 5,
        expunged: &["2".to_owned()],
        changed: &[format!("4 -1 {DELETED} 3:4")],
        ..MailboxState::default()
    };
    assert_eq!(second.commit(state), Ok(()));
    let view = View::new(Arc::clone(&second), false, u32::MAX);
    assert_eq!(view.messages(), 3);
    assert_eq!(view.deleted(None), [3, 4]);
    let announce = vec![1, 3];
    let told = String::from_utf8(view.sync(&Sync {
        uid: true,
        announce,
        ..Sync::default()
    }));
    assert_eq!(
        told.unwrap(),
        "* 1 FETCH (UID 1 FLAGS ())\r\n* 2 FETCH (UID 3 FLAGS (\\Deleted))\r\n"
    );
}

#[test]
fn thousands_of_messages_take_some_dozens_of_octets_each() {
    let first = index();
    let all: Vec<Message> = (1..=5_000)
        .map(|uid| Message {
            file: format!(
                "17958815{:02}.M{:06}P4711Q{uid}.mail.example.org",
                uid % 100,
                uid * 137 % 1_000_000
            ),
            letters: Some("S".to_owned()),
            ..Message::new(uid, i64::from(uid), SEEN)
        })
        .collect();
    apply(&first, &all, 5_000, 5_001, &[]);
    let (octets, ..) = first.keep();
    assert!(octets.len() < 70 * all.len(), "{}", octets.len());
}
