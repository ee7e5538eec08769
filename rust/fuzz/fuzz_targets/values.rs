//! Any text is a value of a command or none. What is one is read alike inside a command and alone, and survives being
//! written; sets, patterns and QRESYNC mean what their definitions say.
#![no_main]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use esp_imap::{
    Arguments, FetchItems, MailboxIndex, MailboxState, Order, Patterns, Returns, SearchProgram,
    SequenceSet, View, encode_mailbox, encode_set, mailbox_from_utf7, mailbox_to_utf7, parse,
};
use esp_mime::Section;
use libfuzzer_sys::fuzz_target;

/// What follows a tag and a space, when that is a command.
fn arguments(before: &str, text: &[u8], utf8: bool) -> Option<Arguments> {
    let command = [b"a ", before.as_bytes(), text].concat();
    parse(&command, utf8).ok().map(|command| command.arguments)
}

/// Whether a number is in a set, by the definition of `sequence-set`.
fn is_in(number: u32, set: &SequenceSet, largest: u32) -> bool {
    let star = |value: u32| if value == 0 { largest } else { value };
    set.ranges().iter().any(|&(first, last)| {
        let (first, last) = (star(first), star(last));
        (first.min(last)..=first.max(last)).contains(&number)
    })
}

fn sequence_set(text: &[u8], largest: u32) {
    let Ok(set) = SequenceSet::parse(text) else {
        return;
    };
    assert_eq!(
        SequenceSet::parse(set.to_string().as_bytes()).as_ref(),
        Ok(&set)
    );
    let resolved = set.resolve(largest);
    assert!(resolved.iter().all(|(first, last)| first <= last));
    assert!(resolved.windows(2).all(|pair| pair[0].1 < pair[1].0 - 1));
    for &(first, last) in &resolved {
        for number in [first, last] {
            assert!(is_in(number, &set, largest));
        }
        for number in [first.wrapping_sub(1), last.wrapping_add(1)] {
            assert!(number == 0 || number == u32::MAX || !is_in(number, &set, largest));
        }
    }
    assert!(set.ranges().iter().all(|range| {
        let first = if range.0 == 0 { largest } else { range.0 };
        resolved
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&first))
    }));
    let numbers: Vec<u32> = resolved
        .iter()
        .flat_map(|(from, to)| *from..=*to)
        .take(999)
        .collect();
    if !numbers.is_empty() && largest > 0 {
        let back = SequenceSet::parse(encode_set(&numbers).as_bytes())
            .unwrap()
            .resolve(0);
        assert_eq!(
            back.into_iter()
                .flat_map(|(a, b)| a..=b)
                .collect::<Vec<_>>(),
            numbers
        );
    }
}

/// The definition: each wildcard takes any number of octets, `%` none that is the delimiter.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut reached: Vec<bool> = (0..=name.len()).map(|at| at == 0).collect();
    for octet in pattern {
        let mut next = vec![false; reached.len()];
        for at in 0..reached.len() {
            next[at] = match octet {
                b'*' => reached[at] || (at > 0 && next[at - 1]),
                b'%' => reached[at] || (at > 0 && next[at - 1] && name[at - 1] != b'/'),
                _ => at > 0 && reached[at - 1] && name[at - 1] == *octet,
            };
        }
        reached = next;
    }
    reached[name.len()]
}

fn name(text: &str, utf8: bool) {
    if let Some(decoded) = mailbox_from_utf7(text) {
        assert!(!decoded.contains('\0'));
        assert_eq!(mailbox_to_utf7(&decoded), text);
    }
    if text.contains('\0') {
        return;
    }
    assert_eq!(
        mailbox_from_utf7(&mailbox_to_utf7(text)).as_deref(),
        Some(text)
    );
    if !text.is_empty() && !text.eq_ignore_ascii_case("INBOX") {
        // As a client that was told the name gives it back.
        let wire = encode_mailbox(text, utf8);
        assert!(!wire.starts_with(b"{") || text.contains(['\r', '\n']) || text.len() > 100);
        assert_eq!(
            arguments("DELETE ", &wire, utf8),
            Some(Arguments::Mailbox(text.to_owned()))
        );
    }
    if let Some((pattern, name)) = text.split_once('\n')
        && !name
            .get(..5)
            .is_some_and(|begin| begin.eq_ignore_ascii_case("INBOX"))
    {
        let patterns = Patterns::new([pattern], b'/');
        assert_eq!(
            patterns.matches(name),
            matches(pattern.as_bytes(), name.as_bytes())
        );
        let both = Patterns::new([pattern, "x/%"], b'/');
        assert_eq!(
            both.matches(name),
            patterns.matches(name) || matches(b"x/%", name.as_bytes())
        );
    }
}

fn values(text: &[u8]) {
    let items = FetchItems::parse(text).ok();
    match arguments("FETCH 1 ", text, false) {
        Some(Arguments::Fetch { items: inside, .. }) => assert_eq!(Some(&*inside), items.as_ref()),
        other => assert!(other.is_none() && items.is_none()),
    }
    let program = SearchProgram::parse(text).ok();
    if let Some(Arguments::Search {
        program: inside,
        returns,
        ..
    }) = arguments("SEARCH ", text, false)
        && returns.is_none()
    {
        assert_eq!(Some(&*inside), program.as_ref());
    }
    if let Some(program) = program {
        assert!(program.needs_text() || !program.fuzzy());
        assert!(program.needs_selected() || !program.numbers());
        assert!(text.len() > program.threads().len());
    }
    if let Some(section) = Section::parse(text) {
        assert!(section.path.iter().all(|number| *number > 0));
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = Order::parse(text);
        if let Ok(returns) = Returns::parse(text) {
            let unlike: BTreeSet<_> = returns.options.iter().collect();
            assert_eq!(unlike.len(), returns.options.len());
            assert!(!(returns.has("ALL") && returns.has("PARTIAL")));
        }
    }
}

/// A binary COPY stream of messages that have these UIDs.
fn rows(uids: &BTreeSet<u32>) -> Vec<u8> {
    let mut out = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for uid in uids {
        out.extend(9_i16.to_be_bytes());
        for value in [i64::from(*uid), i64::from(*uid), 1, 0, 1, 0, 0] {
            out.extend(8_i32.to_be_bytes());
            out.extend(value.to_be_bytes());
        }
        out.extend(1_i32.to_be_bytes());
        out.push(b'x');
        out.extend((-1_i32).to_be_bytes());
    }
    out.extend((-1_i16).to_be_bytes());
    out
}

/// RFC 7162 §3.2.5 and §3.2.5.2, by the definition.
fn resync(text: &[u8], present: u64, expunged: u64) {
    let Some(Arguments::Select {
        qresync: Some(asked),
        ..
    }) = arguments("SELECT x (QRESYNC ", &[text, b")"].concat(), false)
    else {
        return;
    };
    let among = |bits: u64| (1..64).filter(move |uid| bits >> uid & 1 == 1);
    let uids: BTreeSet<u32> = among(present).collect();
    let index = Arc::new(MailboxIndex::new(1, 2, PathBuf::from("/nonexistent"), 7));
    index.feed(&rows(&uids)).unwrap();
    let state = MailboxState {
        modseq: 9,
        uidnext: 64,
        ..MailboxState::default()
    };
    index.commit(state).unwrap();
    let view = View::new(index, false, u32::MAX);
    let gone: Vec<String> = among(expunged).map(|uid| uid.to_string()).collect();
    let matched = asked.known_sequence.as_ref();
    let told = view
        .vanished_earlier(
            (expunged & 1 == 1).then_some(&gone),
            asked.known_uids.as_ref(),
            matched.map(|(numbers, uids)| (numbers, uids)),
        )
        .unwrap();
    let each = |set: &SequenceSet| {
        let pairs: Vec<(u32, u32)> = set.ranges().to_vec();
        pairs
            .into_iter()
            .flat_map(|(first, last)| first..=last)
            .take(64)
    };
    let pairs: Vec<(u32, u32)> = matched
        .map(|(numbers, known)| each(numbers).zip(each(known)).collect())
        .unwrap_or_default();
    let stands = |(number, uid): &(u32, u32)| uids.iter().nth(*number as usize - 1) == Some(uid);
    let standing = pairs.iter().take_while(|pair| stands(pair)).count();
    if pairs[standing..].iter().any(stands) {
        // No mailbox ever was like that: UIDs only go, so behind the first that is wrong none is right.
        return;
    }
    let behind = standing.checked_sub(1).map_or(0, |last| pairs[last].1);
    let vanished: Vec<u32> = (behind + 1..64)
        .filter(|uid| !uids.contains(uid))
        .filter(|uid| expunged & 1 == 0 || expunged >> uid & 1 == 1)
        .filter(|uid| {
            asked
                .known_uids
                .as_ref()
                .is_none_or(|known| is_in(*uid, known, 63))
        })
        .collect();
    let expected = match encode_set(&vanished).as_str() {
        "" => String::new(),
        set => format!("* VANISHED (EARLIER) {set}\r\n"),
    };
    assert_eq!(String::from_utf8(told).unwrap(), expected);
}

fuzz_target!(|octets: &[u8]| {
    let Some((&[kind, utf8], rest)) = octets.split_first_chunk::<2>() else {
        return;
    };
    match kind % 4 {
        0 => sequence_set(rest, u32::from(utf8)),
        1 => values(rest),
        2 => {
            if let Ok(text) = std::str::from_utf8(rest) {
                name(text, utf8 & 1 == 1);
            }
        }
        _ => {
            if let Some((bits, text)) = rest.split_first_chunk::<16>() {
                let (present, expunged) = bits.split_at(8);
                let number = |octets: &[u8]| u64::from_le_bytes(octets.try_into().unwrap());
                resync(text, number(present), number(expunged));
            }
        }
    }
});
