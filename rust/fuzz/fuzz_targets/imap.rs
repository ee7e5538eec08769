//! Any octets in any division are commands or refusals, the same ones, and what is kept of them is bounded.
#![no_main]

use esp_imap::{CommandReader, Event, Limits};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    line: 1024,
    literals: 1024,
    append: 4096,
    annotation: 512,
};

/// The events, the octets of a literal joined, for they come as they were fed.
fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, accepts: bool, utf8: bool) -> Vec<Event> {
    let mut reader = CommandReader::new(LIMITS);
    reader.utf8 = utf8;
    let mut seen: Vec<Event> = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        while let Some(event) = reader.next_event() {
            match &event {
                Event::AppendLiteral(literal) if accepts && literal.size <= LIMITS.append => {
                    assert!(reader.accept());
                }
                Event::AppendLiteral(_) => assert!(reader.refuse()),
                Event::AppendUrl { .. } if !accepts => assert!(reader.refuse()),
                Event::Command(command) if matches!(command.name, "AUTHENTICATE" | "IDLE") => {
                    reader.expect_line();
                }
                _ => {}
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
        let whole = LIMITS.line + LIMITS.literals;
        assert!(reader.deciding() || reader.buffered() <= whole + piece.len());
    }
    seen
}

fuzz_target!(|octets: &[u8]| {
    let Some((&[cut, kind], octets)) = octets.split_first_chunk::<2>() else {
        return;
    };
    let (accepts, utf8) = (kind & 1 == 0, kind & 2 == 2);
    let (first, second) = octets.split_at(usize::from(cut).min(octets.len()));
    let whole = events([octets], accepts, utf8);
    assert_eq!(whole, events([first, second], accepts, utf8));
    assert_eq!(whole, events(octets.chunks(1), accepts, utf8));
});
