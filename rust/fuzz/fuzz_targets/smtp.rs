//! Any octets in any division are a conversation: the events are the same, and memory is bounded.
#![no_main]

use std::sync::Arc;

use esp_smtp::{Command, Event, Limits, Reader, Rules};
use libfuzzer_sys::fuzz_target;

fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let mut reader = Reader::new(Arc::new(Limits::new(Rules::default(), 1 << 16, 1 << 20)));
    let mut seen = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        while let Some(event) = reader.next_event() {
            match &event {
                Event::Command(Command::Data) => reader.begin_data(true),
                Event::Command(Command::Bdat { .. }) => reader.keep_chunk(false),
                _ => {}
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
});
