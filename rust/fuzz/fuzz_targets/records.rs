//! What is stored about a message is read back as it was, and any other octets in its place are refused or harmless.
#![no_main]

use std::path::PathBuf;

use esp_imap::{ContentCache, MailboxIndex, MailboxState, TextCache};
use esp_mime::{
    HEAD_FIELDS, Head, HeadKey, Needle, Scope, SearchText, Structure, head, index, may_contain,
    signature, threading,
};
use libfuzzer_sys::fuzz_target;

const KEYS: [HeadKey; 6] = [
    HeadKey::Subject,
    HeadKey::From,
    HeadKey::To,
    HeadKey::Cc,
    HeadKey::DisplayFrom,
    HeadKey::DisplayTo,
];

const ADDRESSES: [&str; 4] = ["from", "to", "cc", "bcc"];

fn sections_fit(text: &SearchText) {
    let sections = [text.headers(), text.part_headers(), text.text()].concat();
    assert_eq!(sections, text.all());
}

fn message(octets: &[u8]) -> [Vec<u8>; 3] {
    let structure = Structure::parse(octets);
    let indexed = index(&structure);
    sections_fit(&indexed.text);
    assert!(indexed.preview.chars().count() <= 200);
    assert!(!indexed.preview.chars().any(char::is_control));
    let packed = indexed.text.pack();
    let mut unpacked = SearchText::default();
    assert!(unpacked.unpack(&packed));
    assert_eq!(unpacked, indexed.text);

    let signed = signature(indexed.text.all());
    assert!(signed.len().is_power_of_two() && (64..=1 << 14).contains(&signed.len()));
    let all = String::from_utf8_lossy(indexed.text.all());
    for word in all.split_whitespace() {
        let needle = Needle::new(word);
        // What is folded stays as it is, save what is no text.
        if !word.contains(char::REPLACEMENT_CHARACTER) {
            assert!(may_contain(&signed, word.as_bytes()));
            assert_eq!(
                needle.is_in(&indexed.text, Scope::Text),
                needle.may_be_in(&signed)
            );
        }
    }

    let short = head(&structure);
    let read = Head::read(&short).unwrap();
    let threads = threading(&structure);
    assert_eq!(read.id().is_some(), threads.message_id.is_some());
    assert_eq!(
        read.references().count(),
        threads.references.len().min(0xffff)
    );
    assert_eq!(read.is_reply(), threads.base_subject.is_reply);
    assert_eq!(read.sent().is_some(), read.sent_day().is_some());
    for name in HEAD_FIELDS {
        let values: Vec<&[u8]> = read.values(name).collect();
        let mut shown = indexed.text.fields(name).peekable();
        for value in &values {
            if shown.next_if(|field| field == value).is_none() {
                // An address that its field does not show in one piece.
                assert!(ADDRESSES.contains(&name), "{values:?}");
            }
        }
        assert_eq!(shown.next(), None);
        assert_eq!(read.has(&Needle::new(""), name), !values.is_empty());
    }
    assert!(Head::read(&short[..short.len() - 1]).is_none());
    [packed, signed, short]
}

fn stored(octets: &[u8]) {
    let mut text = SearchText::default();
    if text.unpack(octets) {
        sections_fit(&text);
        assert!(text.all().len() <= octets.len() * 255);
        let mut again = SearchText::default();
        assert!(again.unpack(&text.pack()));
        assert_eq!(again, text);
    } else {
        assert!(text.all().is_empty());
    }
    if let Some(head) = Head::read(octets) {
        let keys: usize = KEYS.iter().map(|key| head.key(*key).len()).sum();
        let rest = head.references().count() * 8;
        assert!(keys + rest < octets.len());
        for name in HEAD_FIELDS {
            assert!(head.values(name).map(<[u8]>::len).sum::<usize>() < octets.len());
        }
    }
    let needle = octets.get(..4).unwrap_or_default();
    // Of two signatures the one with more bits denies no more than the other.
    let full = vec![0xff; octets.len()];
    assert!(octets.is_empty() || !may_contain(octets, needle) || may_contain(&full, needle));
}

/// Rows that are kept come back, and octets that are none are refused.
fn kept(octets: &[u8]) {
    let begin = |octets: &[u8]| {
        let index = MailboxIndex::new(1, 2, PathBuf::from("/nonexistent"), 7);
        index.feed_kept(octets).ok()?;
        let state = MailboxState {
            complete: true,
            ..MailboxState::default()
        };
        index.commit(state).ok()?;
        Some(index)
    };
    if let Some(index) = begin(octets) {
        assert!(index.octets() <= 4096 + octets.len() * 64);
        let (again, ..) = index.keep();
        assert_eq!(begin(&again).unwrap().keep().0, again);
    }
}

/// A COPY stream means the same in any division, and nothing that is cut or no stream is taken.
fn streamed(octets: &[u8], cut: usize) {
    let taken = |pieces: &[&[u8]]| {
        let index = MailboxIndex::new(1, 2, PathBuf::from("/nonexistent"), 7);
        for piece in pieces {
            index.feed(piece).ok()?;
        }
        let state = MailboxState {
            complete: true,
            ..MailboxState::default()
        };
        index.commit(state).ok()?;
        assert!(index.octets() <= 4096 + octets.len() * 16);
        Some(index.messages())
    };
    let (first, second) = octets.split_at(cut.min(octets.len()));
    assert_eq!(taken(&[octets]), taken(&[first, second]));
    let (texts, contents) = (TextCache::new(1 << 16), ContentCache::new(1 << 16));
    let index = MailboxIndex::new(1, 2, PathBuf::from("/nonexistent"), 7);
    let _ = texts.load_signatures(1, octets);
    let _ = texts.load_texts(1, octets);
    let _ = contents.load(1, octets);
    let _ = contents.load_indexed(1, octets);
    let _ = index.load_heads(octets);
    let told = [String::from_utf8_lossy(octets).into_owned()];
    for (expunged, changed) in [(told.as_slice(), [].as_slice()), (&[], &told)] {
        let _ = index.commit(MailboxState {
            expunged,
            changed,
            ..MailboxState::default()
        });
    }
    // Texts are kept as they are unpacked.
    assert!(texts.octets() <= octets.len() * 300);
    assert!(contents.octets() <= octets.len());
}

fuzz_target!(|octets: &[u8]| {
    let Some((&[kind, at, octet], rest)) = octets.split_first_chunk::<3>() else {
        return;
    };
    match kind % 4 {
        0 | 1 => {
            for mut record in message(rest) {
                // One octet of it is not what it was.
                let at = usize::from(at) % record.len();
                record[at] ^= octet;
                stored(&record);
            }
        }
        2 => {
            stored(rest);
            kept(&[&[1], rest].concat());
        }
        _ => {
            let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
            let stream = [
                header
                    .get(..if octet == 0 { 0 } else { 19 })
                    .unwrap_or_default(),
                rest,
            ];
            streamed(&stream.concat(), usize::from(at));
        }
    }
});
