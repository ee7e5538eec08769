//! Any octets in any division are commands or refusals, the same ones; mailbox names survive modified UTF-7.
#![no_main]

use esp_imap::{CommandReader, Event, Limits, mailbox_from_utf7, mailbox_to_utf7};
use libfuzzer_sys::fuzz_target;

/// The events, the octets of a literal joined, for they come as they were fed.
fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let limits = Limits {
        line: 4096,
        literals: 4096,
        append: 65_536,
    };
    let mut reader = CommandReader::new(limits);
    let mut seen: Vec<Event> = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        while let Some(event) = reader.next_event() {
            if matches!(event, Event::AppendLiteral(_)) {
                reader.accept();
            }
            if let (
                Some(Event::AppendOctets {
                    octets: before,
                    last: ended,
                }),
                Event::AppendOctets { octets, last },
            ) = (seen.last_mut(), &event)
                && !*ended
            {
                before.extend_from_slice(octets);
                *ended = *last;
                continue;
            }
            seen.push(event);
        }
    }
    seen
}

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, octets) = input;
    let cut = if octets.is_empty() {
        0
    } else {
        cut % octets.len()
    };
    let (first, second) = octets.split_at(cut);
    assert_eq!(events(&[octets]), events(&[first, second]));
    if let Ok(name) = std::str::from_utf8(octets) {
        if !name.contains('\0') {
            assert_eq!(
                mailbox_from_utf7(&mailbox_to_utf7(name)).as_deref(),
                Some(name)
            );
        }
    }
});
