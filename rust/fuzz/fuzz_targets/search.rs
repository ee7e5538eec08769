//! Any words are looked for in any messages: signatures change no result, FUZZY loses none, and SORT and THREAD lose no
//! message (RFC 6203 §3, RFC 5256 §3).
#![no_main]

use std::path::PathBuf;
use std::sync::Arc;

use esp_imap::{
    Correlation, MailboxIndex, MailboxState, Order, Search, SearchProgram, TextCache,
    ThreadContents, View,
};
use esp_mime::{Structure, head, search_text, signature};
use libfuzzer_sys::fuzz_target;

const KEYS: [&str; 6] = ["TEXT", "BODY", "SUBJECT", "FROM", "HEADER x", "NOT TEXT"];
const ORDERS: [&str; 4] = [
    "THREAD REFERENCES",
    "THREAD ORDEREDSUBJECT",
    "SORT (SUBJECT REVERSE DATE TO CC)",
    "SORT (REVERSE DISPLAYFROM FROM DISPLAYTO SIZE ARRIVAL)",
];

fn copy(rows: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut out = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        out.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
        for field in row {
            out.extend(i32::try_from(field.len()).unwrap().to_be_bytes());
            out.extend(field);
        }
    }
    out.extend((-1_i16).to_be_bytes());
    out
}

struct Mailbox {
    view: Arc<View>,
    texts: Arc<TextCache>,
}

impl Mailbox {
    fn new(messages: &[&[u8]], with_signatures: bool) -> Self {
        let index = Arc::new(MailboxIndex::new(1, 2, PathBuf::from("/nonexistent"), 7));
        let texts = Arc::new(TextCache::new(1 << 22));
        let id = |number: usize| (number as i64 + 1).to_be_bytes().to_vec();
        let made = |make: &dyn Fn(&[u8]) -> Vec<u8>| {
            let rows = messages.iter().enumerate();
            copy(
                &rows
                    .map(|(at, message)| vec![id(at), make(message)])
                    .collect::<Vec<_>>(),
            )
        };
        let rows = messages.iter().enumerate().map(|(at, message)| {
            let size = (message.len() as i64).to_be_bytes().to_vec();
            let (one, none) = (id(0), vec![0; 8]);
            vec![
                id(at),
                id(at),
                one,
                none.clone(),
                size,
                none.clone(),
                none,
                b"x".to_vec(),
                b"S".to_vec(),
            ]
        });
        index.feed(&copy(&rows.collect::<Vec<_>>())).unwrap();
        let state = MailboxState {
            modseq: 1,
            uidnext: 99,
            complete: true,
            ..MailboxState::default()
        };
        index.commit(state).unwrap();
        index
            .load_heads(&made(&|message| head(&Structure::parse(message))))
            .unwrap();
        texts
            .load_texts(1, &made(&|message| search_text(message).pack()))
            .unwrap();
        if with_signatures {
            let signed = |message: &[u8]| signature(search_text(message).all());
            texts.load_signatures(1, &made(&signed)).unwrap();
        }
        Self {
            view: Arc::new(View::new(index, false, u32::MAX)),
            texts,
        }
    }

    fn search(&self, program: &SearchProgram, order: Order) -> Search {
        let (view, texts) = (Arc::clone(&self.view), Arc::clone(&self.texts));
        let mut search = Search::new(view, program, order, texts, 0, &ThreadContents::new());
        // Whatever it asks for, there is nothing more.
        while search.step().unwrap().is_some() {}
        search
    }

    fn uids(&self, program: &SearchProgram) -> Vec<u32> {
        self.search(program, Order::Mailbox).uids()
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((&[key, order], rest)) = octets.split_first_chunk::<2>() else {
        return;
    };
    let mut pieces = rest.split(|octet| *octet == 0xff);
    let Some(needle) = pieces
        .next()
        .and_then(|piece| std::str::from_utf8(piece).ok())
    else {
        return;
    };
    let messages: Vec<&[u8]> = pieces.take(5).collect();
    if needle.contains('\0') || messages.is_empty() {
        return;
    }
    let key = KEYS[usize::from(key) % KEYS.len()];
    let text = format!("{key} {{{}}}\r\n{needle}", needle.len());
    let plain = SearchProgram::parse(text.as_bytes()).unwrap();
    let fuzzy = SearchProgram::parse(format!("FUZZY {text}").as_bytes()).unwrap();
    let (bare, signed) = (
        Mailbox::new(&messages, false),
        Mailbox::new(&messages, true),
    );

    let found = bare.uids(&plain);
    assert_eq!(found, signed.uids(&plain));
    let near = bare.uids(&fuzzy);
    assert_eq!(near, signed.uids(&fuzzy));
    let (fewer, more) = if key.starts_with("NOT") {
        (&near, &found)
    } else {
        (&found, &near)
    };
    assert!(fewer.iter().all(|uid| more.contains(uid)));

    let order = Order::parse(ORDERS[usize::from(order) % ORDERS.len()]).unwrap();
    let search = signed.search(&fuzzy, order);
    let mut uids = search.uids();
    uids.sort_unstable();
    assert_eq!(uids, near);
    let told = Correlation {
        tag: "a",
        uid: true,
        mailbox: None,
    };
    let response = String::from_utf8(search.response(told, None)).unwrap();
    let mut named: Vec<u32> = response
        .split(|char: char| !char.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    named.sort_unstable();
    assert_eq!(named, near, "{response}");
});
