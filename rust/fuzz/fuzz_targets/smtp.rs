//! Any octets in any division are a conversation: the events are the same, what is kept is bounded, and a message that is
//! taken has whole lines and none of the fields that have to go.
#![no_main]

use std::sync::Arc;

use esp_mime::{Fields, header_end};
use esp_smtp::{Command, Event, Fault, Limits, Reader, Rules};
use libfuzzer_sys::fuzz_target;

const SIZE_LIMIT: usize = 1 << 14;
const HEADER_LIMIT: u64 = 1 << 11;
/// The longest line and what is read at once, twice over as vectors grow.
const MOST_HELD: usize = 1 << 17;

/// The events of a connection, the parts of a message joined; `forgets` leaves chunks out.
fn events(pieces: &[&[u8]], memory: usize, forgets: bool) -> Vec<Event> {
    let rules = Rules {
        size_limit: SIZE_LIMIT as u64,
        header_limit: HEADER_LIMIT,
        authserv_id: "mx".to_owned(),
        strip_bcc: false,
    };
    let limits = Arc::new(Limits::new(rules, memory, memory * 4));
    let mut reader = Reader::new(Arc::clone(&limits));
    let (mut seen, mut parts) = (Vec::new(), Vec::new());
    for piece in pieces {
        reader.feed(piece);
        while let Some(mut event) = reader.next_event() {
            match &mut event {
                Event::Part(part) => {
                    parts.append(part);
                    continue;
                }
                Event::Message(message) => {
                    parts.append(&mut message.rest);
                    // What came before a fault showed is thrown away.
                    if let Some(fault) = &mut message.fault {
                        parts.clear();
                        // Of several, the one that showed first: that depends on what came together.
                        *fault = Fault::TooLarge;
                    }
                    message.rest = std::mem::take(&mut parts);
                }
                Event::Command(Command::Data) => {
                    // RFC 3030 §2: no door takes DATA among chunks; the reader begins anew.
                    parts.clear();
                    reader.begin_data(true);
                }
                Event::Command(Command::Bdat { .. }) if !forgets => reader.keep_chunk(true),
                Event::Command(Command::Rset) => {
                    parts.clear();
                    reader.forget();
                }
                Event::Command(Command::Other(line)) if line.starts_with(b"AUTH") => {
                    reader.expect_line();
                }
                _ => {}
            }
            seen.push(event);
        }
        assert!(limits.held() <= MOST_HELD + 2 * piece.len());
    }
    drop(reader);
    assert_eq!(limits.held(), 0);
    seen
}

fn check(message: &[u8]) {
    assert!(message.len() <= SIZE_LIMIT);
    for (at, octet) in message.iter().enumerate() {
        match octet {
            b'\r' => assert_eq!(message.get(at + 1), Some(&b'\n')),
            b'\n' => assert_eq!(
                at.checked_sub(1).and_then(|at| message.get(at)),
                Some(&b'\r')
            ),
            _ => {}
        }
    }
    // As the reader of mail sees them, which is the one that shows them.
    let end = header_end(message).unwrap_or(message.len());
    for field in Fields::new(message, 0..end) {
        let name = message.get(field.name).unwrap_or_default();
        let value = message.get(field.value).unwrap_or_default().trim_ascii();
        assert!(!name.eq_ignore_ascii_case(b"Bcc"));
        assert!(!name.eq_ignore_ascii_case(b"Authentication-Results") || value != b"mx; none");
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((&[at, memory, forgets], octets)) = octets.split_first_chunk::<3>() else {
        return;
    };
    let (memory, forgets) = (usize::from(memory), forgets & 1 == 1);
    let whole = events(&[octets], 1 << 20, forgets);
    let (first, second) = octets.split_at(usize::from(at).min(octets.len()));
    assert_eq!(whole, events(&[first, second], memory, forgets));
    let single: Vec<&[u8]> = octets.chunks(1).collect();
    assert_eq!(whole, events(&single, memory, forgets));
    for event in &whole {
        if let Event::Message(message) = event {
            check(&message.rest);
        }
    }
});
