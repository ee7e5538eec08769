//! What a client sends takes time in proportion to its length, whatever it is.

#![allow(clippy::unwrap_used, missing_docs)]

use esp_imap::{CommandReader, Event, Limits};
use rustix::time::ClockId;
use std::time::Duration;

/// The processor time of this thread: it may have to wait long for others.
fn spent() -> Duration {
    let spent = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap()
}

/// The time that one command takes, at best.
fn time(octets: &[u8]) -> Duration {
    let once = || {
        let mut reader = CommandReader::new(Limits {
            line: 1 << 20,
            literals: 1 << 20,
            append: 1 << 20,
            annotation: 1 << 20,
        });
        reader.feed(octets);
        let before = spent();
        let mut last = None;
        while let Some(event) = reader.next_event() {
            last = Some(event);
        }
        let after = spent();
        assert!(matches!(last, Some(Event::Command(_))), "{last:?}");
        after - before
    };
    (0..3).map(|_| once()).min().unwrap()
}

fn assert_linear(begin: &str, one: impl Fn(usize) -> String, between: &str, end: &str) {
    let command = |count: usize| {
        let all: Vec<String> = (1..=count).map(&one).collect();
        format!("a {begin}{}{end}\r\n", all.join(between)).into_bytes()
    };
    let (few, many) = (time(&command(500)), time(&command(8_000)));
    // Sixteen times as many: quadratic time would be 256 times as long.
    assert!(many < few * 80, "{begin}: {few:?} and {many:?}");
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn many_flags() {
    assert_linear("STORE 1 FLAGS (", |n| format!("k{n}"), " ", ")");
    assert_linear("STORE 1 FLAGS ", |n| format!("k{n}"), " ", "");
    assert_linear("SEARCH ", |n| format!("KEYWORD k{n}"), " ", "");
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn many_items() {
    assert_linear("FETCH 1 (", |n| format!("BODY[{n}]"), " ", ")");
    assert_linear("FETCH 1 (", |n| format!("BODY[]<{n}.1>"), " ", ")");
    assert_linear(
        "FETCH 1 (BODY[HEADER.FIELDS (",
        |n| format!("x{n}"),
        " ",
        ")])",
    );
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn many_messages() {
    assert_linear("FETCH ", |n| format!("{}", 20_001 - 2 * n), ",", " FLAGS");
    assert_linear("SEARCH ", |n| format!("{n}:*"), " ", "");
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn many_keys() {
    assert_linear("SEARCH ", |n| format!("TO {n}"), " ", "");
    assert_linear("SEARCH ", |n| format!("OR TO {n}"), " ", " ALL");
    assert_linear("SEARCH ", |n| format!("TO {{1+}}\r\n{}", n % 10), " ", "");
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn many_names() {
    assert_linear("LIST \"\" (", |n| format!("k{n}"), " ", ")");
    assert_linear(
        "NOTIFY SET (mailboxes (",
        |n| format!("k{n}"),
        " ",
        ") (MessageNew MessageExpunge))",
    );
    assert_linear("ENABLE ", |n| format!("k{n}"), " ", "");
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn many_urls() {
    assert_linear("APPEND x CATENATE (", |n| format!("URL {n}"), " ", ")");
    assert_linear(
        "APPEND x CATENATE (",
        |n| format!("URL {{1+}}\r\n{}", n % 10),
        " ",
        ")",
    );
}
