//! What sessions are told, compared with a client that believes it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use esp_imap::{DELETED, MailboxIndex, MailboxState, SEEN, SequenceSet, StoreMode, Sync, View};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use support::{Message, apply, rows};

fn index() -> Arc<MailboxIndex> {
    Arc::new(MailboxIndex::new(1, 2, PathBuf::from("/nonexistent"), 7))
}

fn filled(count: u32) -> Arc<MailboxIndex> {
    let index = index();
    let messages: Vec<Message> = (1..=count)
        .map(|uid| Message::new(uid, i64::from(uid), 0))
        .collect();
    apply(&index, &messages, i64::from(count), count + 1, &[]);
    index
}

fn set(text: &str) -> SequenceSet {
    SequenceSet::parse(text.as_bytes()).unwrap()
}

fn all() -> Sync {
    Sync {
        expunges: true,
        ..Sync::default()
    }
}

fn text(octets: Vec<u8>) -> String {
    String::from_utf8(octets).unwrap()
}

#[test]
fn a_whole_large_mailbox_can_go_at_once() {
    // Once, the names of thousands of files were counted as waste after they had been removed.
    let index = filled(10_000);
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    let changed: Vec<Message> = (1..=10_000)
        .map(|uid| Message::new(uid, 10_001, DELETED))
        .collect();
    apply(&index, &changed, 10_001, 10_001, &[]);
    drop(view.sync(&all()));
    let gone: Vec<u32> = (1..10_000).collect();
    apply(&index, &[], 10_002, 10_001, &gone);
    assert_eq!(text(view.sync(&all())).lines().count(), 9_999);
    assert_eq!(view.uids(&set("1"), false).unwrap(), [10_000]);
    assert_eq!(index.messages(), 1);
}

#[test]
fn expunges_are_held_back_and_numbers_stay() {
    let index = filled(5);
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    index.grant_recent(6, 6);
    apply(&index, &[Message::new(6, 7, 0)], 7, 7, &[2, 4]);
    assert_eq!(
        text(view.sync(&Sync::default())),
        "* 6 EXISTS\r\n* 1 RECENT\r\n"
    );
    assert!(view.pending());
    assert_eq!(view.uids(&set("1:6"), false).unwrap(), [1, 3, 5, 6]);
    assert!(view.has_vanished(&set("2"), false));
    assert!(!view.has_vanished(&set("3"), false));
    assert_eq!(text(view.sync(&Sync::default())), "");
    assert_eq!(text(view.sync(&all())), "* 4 EXPUNGE\r\n* 2 EXPUNGE\r\n");
    assert!(!view.pending());
    assert_eq!(view.uids(&set("4"), false).unwrap(), [6]);
}

#[test]
fn qresync_sessions_hear_of_uids() {
    let index = filled(5);
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    view.enable_qresync();
    apply(&index, &[Message::new(5, 9, SEEN)], 9, 6, &[1, 2, 4]);
    assert_eq!(
        text(view.sync(&Sync { uid: true, ..all() })),
        "* VANISHED 1:2,4\r\n* 2 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (9))\r\n"
    );
}

#[test]
fn a_silent_store_is_not_told_unless_another_came_after() {
    let index = filled(3);
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    let other = View::new(Arc::clone(&index), false, u32::MAX);
    apply(
        &index,
        &[Message::new(1, 4, SEEN), Message::new(2, 5, DELETED)],
        5,
        4,
        &[],
    );
    let silent = Sync {
        silent: vec![1, 2],
        silent_modseq: 4,
        silent_after: 3,
        ..all()
    };
    assert_eq!(
        text(view.sync(&silent)),
        "* 2 FETCH (FLAGS (\\Deleted))\r\n"
    );
    assert_eq!(text(view.sync(&all())), "");
    other.enable_condstore();
    assert_eq!(
        text(other.sync(&Sync {
            uid: true,
            ..silent
        })),
        "* 1 FETCH (UID 1 MODSEQ (4))\r\n* 2 FETCH (UID 2 FLAGS (\\Deleted) MODSEQ (5))\r\n"
    );
}

#[test]
fn a_silent_store_after_changes_that_the_session_does_not_know_is_told() {
    let index = filled(3);
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    // Another set \Deleted at 4; ours came at 5 and found both flags.
    apply(&index, &[Message::new(1, 5, SEEN | DELETED)], 5, 4, &[]);
    assert_eq!(
        text(view.sync(&Sync {
            silent: vec![1],
            silent_modseq: 5,
            silent_after: 4,
            ..all()
        })),
        "* 1 FETCH (FLAGS (\\Deleted \\Seen))\r\n"
    );
}

#[test]
fn a_silent_store_in_pieces_is_not_told_but_what_another_did_between_and_after() {
    let index = filled(4);
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    // Ours had 5 and 6; another came, and the last piece had 8.
    let changed = [(1, 5), (2, 6), (3, 7), (4, 8)];
    let messages = changed.map(|(uid, modseq)| Message::new(uid, modseq, SEEN));
    apply(&index, &messages, 8, 5, &[]);
    assert_eq!(
        text(view.sync(&Sync {
            silent: vec![1, 2, 4],
            silent_modseq: 6,
            silent_after: 4,
            ..all()
        })),
        "* 3 FETCH (FLAGS (\\Seen))\r\n* 4 FETCH (FLAGS (\\Seen))\r\n"
    );
}

#[test]
fn a_silent_store_is_silent_where_flags_are_held_back() {
    let index = filled(3);
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    for (modseq, flags) in [(4, SEEN), (5, 0), (6, SEEN)] {
        apply(&index, &[Message::new(1, modseq, flags)], modseq, 4, &[]);
        assert_eq!(
            text(view.sync(&Sync {
                silent: vec![1],
                silent_modseq: modseq,
                silent_after: modseq - 1,
                hold_flags: true,
                ..all()
            })),
            ""
        );
    }
}

#[test]
fn an_announced_message_is_told_once_changed_or_not() {
    let index = filled(3);
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    apply(&index, &[Message::new(2, 4, 1 << 8)], 4, 4, &[]);
    let sync = Sync {
        announce: vec![1, 2],
        ..all()
    };
    assert_eq!(
        text(view.sync(&sync)),
        "* 1 FETCH (FLAGS ())\r\n* 2 FETCH (FLAGS ($Work))\r\n"
    );
    assert_eq!(text(view.sync(&all())), "");
}

#[test]
fn one_session_takes_recent() {
    let index = filled(3);
    index.grant_recent(2, 4);
    let reader = View::new(Arc::clone(&index), true, 2);
    assert!(!index.takes_recent());
    let first = View::new(Arc::clone(&index), false, u32::MAX);
    let second = View::new(Arc::clone(&index), false, u32::MAX);
    assert_eq!(
        (reader.recent(), first.recent(), second.recent()),
        (2, 2, 0)
    );
    apply(&index, &[Message::new(4, 4, 0)], 4, 5, &[3]);
    assert_eq!(
        text(reader.sync(&all())),
        "* 3 EXPUNGE\r\n* 3 EXISTS\r\n* 1 RECENT\r\n"
    );
    assert_eq!(
        text(second.sync(&all())),
        "* 3 EXPUNGE\r\n* 3 EXISTS\r\n* 1 RECENT\r\n"
    );
    assert_eq!(
        text(first.sync(&all())),
        "* 3 EXPUNGE\r\n* 3 EXISTS\r\n* 1 RECENT\r\n"
    );
    assert!(index.takes_recent());
    first.enable_imap4rev2();
    drop(second);
    assert!(!index.takes_recent());
    index.leave_recent(5);
    apply(&index, &[Message::new(5, 5, 0)], 5, 6, &[]);
    assert_eq!(text(reader.sync(&all())), "* 4 EXISTS\r\n* 2 RECENT\r\n");
}

#[test]
fn numbers_beyond_exists_are_errors_and_uids_are_not() {
    let view = View::new(filled(3), false, u32::MAX);
    for bad in ["4", "4:5", "1,9", "2:9", "4:*"] {
        assert!(view.uids(&set(bad), false).is_err(), "{bad}");
    }
    assert_eq!(view.uids(&set("2:*"), false).unwrap(), [2, 3]);
    assert_eq!(view.uids(&set("9:*"), true).unwrap(), [3]);
    assert_eq!(view.uids(&set("7"), true).unwrap(), [] as [u32; 0]);
    let empty = View::new(filled(0), false, u32::MAX);
    for bad in ["1", "*", "1:*", "*:1", "1:5"] {
        assert!(empty.uids(&set(bad), false).is_err(), "{bad}");
    }
    assert_eq!(empty.uids(&set("$"), false).unwrap(), [] as [u32; 0]);
    assert_eq!(empty.uids(&set("*"), true).unwrap(), [] as [u32; 0]);
    assert_eq!(empty.uids(&set("1:*"), true).unwrap(), [] as [u32; 0]);
    view.save(&[3, 1]);
    assert_eq!(view.uids(&set("$"), false).unwrap(), [1, 3]);
}

#[test]
fn a_store_names_what_changes() {
    let index = filled(3);
    apply(&index, &[Message::new(2, 9, SEEN | DELETED)], 9, 4, &[]);
    let view = View::new(index, false, u32::MAX);
    let plan = |mode, bits, since| view.store(&set("1:3"), false, mode, bits, since).unwrap();
    assert_eq!(plan(StoreMode::Add, SEEN, None).changing, [1, 3]);
    assert_eq!(plan(StoreMode::Add, SEEN, None).uids, [1, 2, 3]);
    assert_eq!(plan(StoreMode::Remove, SEEN, None).changing, [2]);
    assert_eq!(
        plan(StoreMode::Replace, SEEN | DELETED, None).changing,
        [1, 3]
    );
    assert_eq!(plan(StoreMode::Add, SEEN, Some(5)).modified, [2]);
    assert_eq!(view.deleted(None), [2]);
    assert_eq!(view.deleted(Some(&set("3:*"))), [] as [u32; 0]);
}

#[test]
fn memory_of_expunged_messages_comes_back() {
    let index = filled(2_000);
    let before = index.octets();
    let view = View::new(Arc::clone(&index), false, u32::MAX);
    let gone: Vec<u32> = (1..=1_990).collect();
    apply(&index, &[], 2_001, 2_001, &gone);
    assert!(index.octets() > before);
    assert!(!view.sync(&all()).is_empty());
    assert!(index.octets() < before);
    assert_eq!(index.views(), 1);
    drop(view);
    assert_eq!(index.views(), 0);
}

#[derive(Debug, Clone)]
enum Event {
    Add(usize),
    Expunge(Vec<prop::sample::Index>),
    Flag(Vec<prop::sample::Index>, i64),
    Sync { view: usize, expunges: bool },
    Reopen(usize),
}

fn happenings() -> impl Strategy<Value = Vec<Event>> {
    let some = || prop::collection::vec(any::<prop::sample::Index>(), 1..6);
    let event = prop_oneof![
        (1usize..700).prop_map(Event::Add),
        some().prop_map(Event::Expunge),
        (some(), prop::sample::select(vec![0, 1, 8, 12]))
            .prop_map(|(some, flags)| Event::Flag(some, flags)),
        (0usize..3, any::<bool>()).prop_map(|(view, expunges)| Event::Sync { view, expunges }),
        (0usize..3, any::<bool>()).prop_map(|(view, expunges)| Event::Sync { view, expunges }),
        (0usize..3).prop_map(Event::Reopen),
    ];
    prop::collection::vec(event, 1..60)
}

/// A client: its list by sequence number; `None` for a UID that it does not know yet.
#[derive(Default)]
struct Client {
    numbers: Vec<Option<u32>>,
    flags: BTreeMap<u32, String>,
    recent: usize,
}

impl Client {
    fn hear(&mut self, responses: &str) {
        for line in responses.lines() {
            let mut words = line.splitn(4, ' ');
            let (star, number, word) = (words.next(), words.next().unwrap(), words.next().unwrap());
            assert_eq!(star, Some("*"));
            let Ok(number) = number.parse::<usize>() else {
                continue;
            };
            match word {
                "EXISTS" => {
                    assert!(number > self.numbers.len());
                    self.numbers.resize(number, None);
                }
                "RECENT" => self.recent = number,
                "EXPUNGE" => {
                    self.numbers.remove(number - 1);
                }
                "FETCH" => {
                    let rest = words.next().unwrap();
                    let uid = rest
                        .strip_prefix("(UID ")
                        .unwrap()
                        .split(' ')
                        .next()
                        .unwrap()
                        .parse()
                        .unwrap();
                    let known = &mut self.numbers[number - 1];
                    assert!(known.is_none_or(|known| known == uid));
                    *known = Some(uid);
                    self.flags.insert(uid, rest.to_owned());
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_client_that_believes_all_it_hears_knows_the_mailbox(happenings in happenings()) {
        let index = index();
        let mut model: BTreeMap<u32, Message> = BTreeMap::new();
        let (mut modseq, mut uidnext) = (1i64, 1u32);
        apply(&index, &[], modseq, uidnext, &[]);
        let mut sessions: Vec<(View, Client)> = (0..3)
            .map(|_| (View::new(Arc::clone(&index), false, u32::MAX), Client::default()))
            .collect();
        for happening in happenings {
            match happening {
                Event::Add(count) => {
                    modseq += 1;
                    let added: Vec<Message> = (0..count as u32)
                        .map(|step| Message::new(uidnext + step * 3, modseq, 0))
                        .collect();
                    index.grant_recent(uidnext, added[count - 1].uid);
                    uidnext = added[count - 1].uid + 1;
                    apply(&index, &added, modseq, uidnext, &[]);
                    model.extend(added.into_iter().map(|message| (message.uid, message)));
                }
                Event::Expunge(which) if !model.is_empty() => {
                    modseq += 1;
                    let uids: Vec<u32> = model.keys().copied().collect();
                    let gone: Vec<u32> = which.iter().map(|which| *which.get(&uids)).collect();
                    apply(&index, &[], modseq, uidnext, &gone);
                    model.retain(|uid, _| !gone.contains(uid));
                }
                Event::Flag(which, flags) if !model.is_empty() => {
                    modseq += 1;
                    let uids: Vec<u32> = model.keys().copied().collect();
                    let mut changed = BTreeMap::new();
                    for which in which {
                        let message = model.get_mut(which.get(&uids)).unwrap();
                        (message.flags, message.modseq) = (flags, modseq);
                        changed.insert(message.uid, message.clone());
                    }
                    apply(&index, &changed.into_values().collect::<Vec<_>>(), modseq, uidnext, &[]);
                }
                Event::Sync { view, expunges } => {
                    let (view, client) = &mut sessions[view];
                    let responses = text(view.sync(&Sync { expunges, uid: true, ..Sync::default() }));
                    prop_assert!(expunges || !responses.contains("EXPUNGE"));
                    client.hear(&responses);
                    prop_assert_eq!(client.numbers.len(), view.messages());
                    prop_assert_eq!(client.recent, view.recent());
                    prop_assert!(!(view.pending() && expunges));
                    // What the client knows by number is what the view means by it.
                    for (position, uid) in client.numbers.iter_mut().enumerate() {
                        let number = set(&(position + 1).to_string());
                        let there = view.uids(&number, false).unwrap();
                        if there.is_empty() {
                            prop_assert!(view.has_vanished(&number, false));
                        } else {
                            prop_assert!(uid.is_none_or(|uid| there == [uid]));
                            *uid = Some(there[0]);
                        }
                    }
                    if expunges {
                        let known: Vec<u32> = client.numbers.iter().map(|uid| uid.unwrap()).collect();
                        prop_assert_eq!(known, model.keys().copied().collect::<Vec<_>>());
                        for (uid, told) in &client.flags {
                            if let Some(message) = model.get(uid) {
                                prop_assert_eq!(told.contains("\\Seen"), message.flags & SEEN != 0);
                            }
                        }
                    }
                }
                Event::Reopen(at) => {
                    let view = View::new(Arc::clone(&index), false, u32::MAX);
                    let client = Client {
                        numbers: model.keys().map(|uid| Some(*uid)).collect(),
                        recent: view.recent(),
                        ..Client::default()
                    };
                    sessions[at] = (view, client);
                }
                _ => {}
            }
            prop_assert_eq!(index.views(), 3);
        }
    }
}

/// A change of flags to `flags & kept | added`, for some of six messages.
fn change() -> impl Strategy<Value = (i64, i64, Vec<bool>)> {
    let bits = prop_oneof![Just(0_i64), Just(SEEN), Just(DELETED), Just(SEEN | DELETED)];
    let masks = (bits.clone(), bits).prop_map(|(taken, added)| (!taken, added));
    (masks, prop::collection::vec(any::<bool>(), 6))
        .prop_map(|((kept, added), which)| (kept, added, which))
}

proptest! {
    /// Rows are read a moment after the state that they belong to, and again when they are newer.
    #[test]
    fn an_index_that_does_what_was_done_has_what_the_database_has(
        changes in prop::collection::vec(change(), 1..12),
        stops in prop::collection::vec((0..12_usize, 0..4_usize), 1..5),
    ) {
        let mut moments = vec![(1..=6).map(|uid| Message::new(uid, 1, 0)).collect::<Vec<_>>()];
        let mut told = Vec::new();
        for ((kept, added, which), modseq) in changes.iter().zip(2_i64..) {
            let mut now = moments.last().unwrap().clone();
            let mut uids = Vec::new();
            for (message, _) in now.iter_mut().zip(which).filter(|(_, chosen)| **chosen) {
                let flags = message.flags & kept | added;
                if flags != message.flags {
                    (message.flags, message.modseq) = (flags, modseq);
                    uids.push(message.uid.to_string());
                }
            }
            told.push((modseq, format!("{modseq} {kept} {added} {}", uids.join(","))));
            if uids.is_empty() {
                told.pop();
            }
            moments.push(now);
        }
        let last = moments.len() - 1;
        let mut stops: Vec<(usize, usize)> = stops.into_iter().map(|(at, late)| (at.min(last), late)).collect();
        stops.sort_unstable();
        stops.push((last, 0));
        let index = index();
        let mut view = None;
        let mut read = 0_u32;
        for (number, (at, late)) in (1_u32..).zip(stops) {
            let known = index.modseq();
            let modseq = i64::try_from(at).unwrap() + 1;
            // One more message each time, until there are six, as if they were new.
            let upto = (number * 2).min(6);
            let at_once = moments[at][read as usize..upto as usize].to_vec();
            let later = moments[(at + late).min(last)][read as usize..upto as usize].to_vec();
            read = upto;
            prop_assert_eq!(index.feed(&rows(&later)), Ok(()));
            prop_assert_eq!(index.fed_modseq() > modseq, later != at_once);
            if later != at_once {
                index.abandon();
                prop_assert_eq!(index.fed_modseq(), 0);
                prop_assert_eq!(index.feed(&rows(&at_once)), Ok(()));
            }
            let changed: Vec<String> = told
                .iter()
                .filter(|(of, _)| known > 0 && known < *of && *of <= modseq)
                .map(|(_, text)| text.clone())
                .collect();
            let state = MailboxState { modseq, uidnext: upto + 1, changed: &changed, ..MailboxState::default() };
            prop_assert_eq!(index.commit(state), Ok(()));
            let view = view.get_or_insert_with(|| {
                let view = View::new(Arc::clone(&index), false, u32::MAX);
                view.enable_condstore();
                view.enable_imap4rev2(); // nothing is recent
                view
            });
            for line in text(view.sync(&all())).lines() {
                if let Some((_, told)) = line.split_once("MODSEQ (") {
                    prop_assert!(told.trim_end_matches(')').parse::<i64>().unwrap() <= modseq);
                }
            }
        }
        let announce = (1..=read).collect();
        let responses = text(view.unwrap().sync(&Sync { uid: true, announce, ..all() }));
        let expected: Vec<String> = moments[last][..read as usize]
            .iter()
            .map(|message| {
                let flags = [(DELETED, "\\Deleted"), (SEEN, "\\Seen")];
                let names: Vec<&str> =
                    flags.into_iter().filter(|(bit, _)| message.flags & bit != 0).map(|(_, name)| name).collect();
                format!("* {0} FETCH (UID {0} FLAGS ({1}) MODSEQ ({2}))", message.uid, names.join(" "), message.modseq)
            })
            .collect();
        prop_assert_eq!(responses.lines().collect::<Vec<_>>(), expected);
    }
}
