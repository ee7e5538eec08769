//! Any octets in any division get the same replies of a door's front, and ask for the same recipients and deliveries; what
//! it leaves to a session is all that it has not answered.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use esp_smtp::{
    Counts, Dialogue, Event, Fault, Known, Limits, Mail, Message, Path, Reader, Rules, Terms, Turn,
};
use libfuzzer_sys::fuzz_target;

const SIZE_LIMIT: u64 = 1 << 14;
const MOST_RECIPIENTS: usize = 5;

/// What happens on a connection, besides replies.
#[derive(Debug, PartialEq)]
enum Deed {
    Asked(Path, u64),
    Delivered(Mail, Vec<Path>, Vec<u8>),
    Left(Option<String>, bool, Vec<Path>, Vec<Event>),
    Ended,
}

#[derive(Clone, Copy)]
struct Door {
    lmtp: bool,
    /// Whether recipients are known, and who is asked takes those that are not.
    known: bool,
    takes: bool,
}

fn rules() -> Rules {
    Rules {
        size_limit: SIZE_LIMIT,
        header_limit: 1 << 11,
        authserv_id: "mx".to_owned(),
        strip_bcc: false,
    }
}

fn terms(door: Door) -> Terms {
    Terms {
        greeting: b"220 mx\r\n".to_vec(),
        hostname: "mx".to_owned(),
        features: b"250-mx\r\n250 HELP".to_vec(),
        lmtp: door.lmtp,
        max_message_size: SIZE_LIMIT,
        max_recipients: MOST_RECIPIENTS,
        limits: Arc::new(Limits::new(rules(), 1 << 20, 1 << 22)),
    }
}

/// What a session would read next, up to where it would have to say how a message comes.
fn left(mut reader: Reader, rest: &[&[u8]]) -> Vec<Event> {
    for piece in rest {
        reader.feed(piece);
    }
    let mut events = Vec::new();
    while let Some(mut event) = reader.next_event() {
        if let Event::Message(Message { fault, rest, .. }) = &mut event
            && let Some(fault) = fault
        {
            // Of several, the one that showed first: that depends on what came together, as do the octets before it.
            *fault = Fault::TooLarge;
            rest.clear();
        }
        let whole = matches!(event, Event::Command(_));
        events.push(event);
        if !whole {
            break;
        }
    }
    events
}

fn conversation(pieces: &[&[u8]], door: Door) -> (Vec<u8>, Vec<Deed>) {
    let now = Instant::now();
    let (known, counts) = (Known::default(), Counts::default());
    if door.known {
        for local_part in ["a", "bob", "c"] {
            let path = Path {
                local_part: local_part.into(),
                domain: "d".into(),
            };
            let until = now + Duration::from_secs(60);
            known.put(path.clone(), Arc::new(path), 100, until, now);
        }
    }
    let mut dialogue = Dialogue::new(Arc::new(terms(door)));
    let mut replies = std::mem::take(&mut dialogue.out); // the greeting
    let mut deeds = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        dialogue.feed(piece);
        loop {
            let turn = dialogue.turn(&known, &counts, now);
            assert!(dialogue.out.is_empty() || dialogue.out.ends_with(b"\r\n"));
            replies.append(&mut dialogue.out);
            match turn {
                Turn::Listen => break,
                Turn::Again => continue,
                Turn::Recipient { path, size } => {
                    assert!(path.is_ascii() && size > 0);
                    deeds.push(Deed::Asked(path.clone(), size));
                    if door.takes {
                        dialogue.accept(Arc::new(path), &counts);
                        continue;
                    }
                }
                Turn::Message(transaction, message) => {
                    let recipients = paths(&transaction.recipients);
                    assert!((1..=MOST_RECIPIENTS).contains(&recipients.len()));
                    assert!(message.rest.len() as u64 <= SIZE_LIMIT);
                    deeds.push(Deed::Delivered(transaction.mail, recipients, message.rest));
                    continue;
                }
                Turn::Bye => {
                    deeds.push(Deed::Ended);
                    return (replies, deeds);
                }
                Turn::Leave => {}
            }
            let conversation = dialogue.into_conversation();
            assert!(conversation.unsent.is_empty());
            let transaction = conversation.transaction.as_ref();
            let recipients =
                transaction.map_or_else(Vec::new, |transaction| paths(&transaction.recipients));
            let rest = pieces.get(at + 1..).unwrap_or_default();
            let events = left(conversation.reader, rest);
            deeds.push(Deed::Left(
                conversation.hello,
                conversation.extended,
                recipients,
                events,
            ));
            return (replies, deeds);
        }
    }
    (replies, deeds)
}

fn paths(recipients: &[Arc<Path>]) -> Vec<Path> {
    recipients.iter().map(|path| Path::clone(path)).collect()
}

fuzz_target!(|octets: &[u8]| {
    let Some((&[at, door], octets)) = octets.split_first_chunk::<2>() else {
        return;
    };
    let door = Door {
        lmtp: door & 1 == 1,
        known: door & 2 == 2,
        takes: door & 4 == 4,
    };
    let whole = conversation(&[octets], door);
    let (first, second) = octets.split_at(usize::from(at).min(octets.len()));
    assert_eq!(whole, conversation(&[first, second], door));
    let single: Vec<&[u8]> = octets.chunks(1).collect();
    assert_eq!(whole, conversation(&single, door));
    for line in whole.0.split_inclusive(|octet| *octet == b'\n') {
        assert!(
            line.starts_with(b"2") || line.starts_with(b"354 "),
            "no success"
        );
    }
});
