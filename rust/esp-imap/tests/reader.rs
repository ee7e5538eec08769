//! Commands from octets, however they are cut.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use esp_imap::{Arguments, CommandReader, Event, Limits};
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    line: 500,
    literals: 200,
    append: 1_000,
    annotation: 100,
};

/// All events; message literals are accepted and their octets joined.
fn events(octets: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut reader = CommandReader::new(LIMITS);
    let mut events: Vec<Event> = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([octets.len()]) {
        reader.feed(&octets[from..to]);
        from = to;
        while let Some(event) = reader.next_event() {
            if matches!(event, Event::AppendLiteral(_)) {
                assert!(reader.accept());
            }
            match (events.last_mut(), event) {
                (
                    Some(Event::AppendOctets {
                        octets,
                        last: end @ false,
                    }),
                    Event::AppendOctets { octets: more, last },
                ) => {
                    octets.extend(more);
                    *end = last;
                }
                (_, event) => events.push(event),
            }
        }
    }
    events
}

fn one(text: &[u8]) -> Event {
    let mut events = events(text, &[]);
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn bad(text: &[u8]) -> (Option<String>, String, bool) {
    match one(text) {
        Event::Bad { refusal, fatal } => (refusal.tag, refusal.response, fatal),
        other => panic!("{other:?}"),
    }
}

fn arguments(text: &[u8]) -> Arguments {
    match one(text) {
        Event::Command(command) => command.arguments,
        other => panic!("{other:?}"),
    }
}

const DIALOGUE: &[u8] = b"a1 LOGIN {3}\r\njoe \"pass \\\"word\"\r\n\
    a2 SELECT inbox\r\n\
    a3 UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (DATE FROM)]<0.10>)\r\n\
    a4 APPEND {4+}\r\nSent (\\Seen $Work) \"17-Jul-1996 02:44:25 -0700\" {11}\r\nhello\r\na {3}\r\n\
    a5 APPEND Sent {5+}\r\nfirst (\\Draft) ~{6+}\r\nsecond\r\n\
    a6 SEARCH OR SUBJECT {3+}\r\nabc NOT TEXT \"x y\"\r\n\
    \r\n\
    a7 FOO\r\n\
    a8 APPEND Sent {0}\r\n\r\n\
    a9 STORE 1,3:4 +FLAGS.SILENT (\\Deleted)\n";

#[test]
fn a_dialogue_gives_its_commands() {
    let names: Vec<String> = events(DIALOGUE, &[])
        .into_iter()
        .map(|event| match event {
            Event::Command(command) => format!("{} {}", command.tag, command.name),
            Event::Continue => "+".to_owned(),
            Event::AppendLiteral(literal) => format!(
                "{} literal {} of {} with {:?}",
                literal.head.mailbox,
                literal.head.position,
                literal.size,
                literal.head.flags.keywords
            ),
            Event::AppendUrl { head, url } => {
                format!("{} {} {:?} {url}", head.mailbox, head.position, head.part)
            }
            Event::AppendOctets { octets, last } => {
                format!("{:?} {last}", String::from_utf8(octets).unwrap())
            }
            Event::Bad { refusal, .. } => format!("{:?} {}", refusal.tag, refusal.response),
            Event::Line(line) => format!("{line:?}"),
        })
        .collect();
    assert_eq!(
        names,
        [
            "+",
            "a1 LOGIN",
            "a2 SELECT",
            "a3 FETCH",
            "Sent literal 0 of 11 with [\"$Work\"]",
            "\"hello\\r\\na {3\" true",
            "Some(\"a4\") BAD Expected the end of the command at octet 1",
            "Sent literal 0 of 5 with []",
            "\"first\" true",
            "Sent literal 1 of 6 with []",
            "\"second\" true",
            "a5 APPEND",
            "a6 SEARCH",
            "Some(\"a7\") BAD Unknown command FOO",
            "Sent literal 0 of 0 with []",
            "\"\" true",
            "a8 APPEND",
            "a9 STORE",
        ]
    );
}

#[test]
fn commands_have_typed_arguments() {
    assert_eq!(
        arguments(b"a LOGIN \"j\\\\oe\" {1+}\r\np\r\n"),
        Arguments::Login {
            username: "j\\oe".to_owned(),
            password: "p".to_owned()
        }
    );
    assert_eq!(
        arguments(b"a authenticate plain AGEAYg==\r\n"),
        Arguments::Authenticate {
            mechanism: "PLAIN".to_owned(),
            initial: Some(b"\0a\0b".to_vec())
        }
    );
    assert_eq!(
        arguments(b"a AUTHENTICATE EXTERNAL =\r\n"),
        Arguments::Authenticate {
            mechanism: "EXTERNAL".to_owned(),
            initial: Some(Vec::new())
        }
    );
    assert_eq!(
        arguments(b"a RENAME \"Entw&APw-rfe\" inBOX\r\n"),
        Arguments::Rename {
            mailbox: "Entw\u{fc}rfe".to_owned(),
            new_name: "INBOX".to_owned()
        }
    );
    let Arguments::List(list) = arguments(
        b"a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX \"Sent/%\") RETURN (CHILDREN STATUS (MESSAGES UNSEEN))\r\n",
    ) else {
        panic!("no LIST");
    };
    assert_eq!(list.patterns, ["INBOX", "Sent/%"]);
    assert_eq!(list.selection, ["SUBSCRIBED", "RECURSIVEMATCH"]);
    assert_eq!(list.returns, ["CHILDREN", "STATUS"]);
    assert_eq!(list.status, ["MESSAGES", "UNSEEN"]);
    let Arguments::Select { qresync, .. } = arguments(
        b"a SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214 (1,9 2:3)))\r\n",
    ) else {
        panic!("no SELECT");
    };
    let qresync = qresync.unwrap();
    assert_eq!(qresync.modseq, 90_060_115_194_045_000);
    assert_eq!(qresync.known_uids.unwrap().to_string(), "41:211,214");
}

#[test]
fn what_is_not_understood_is_refused_with_its_tag() {
    for text in [
        "a\r\n",
        "a \r\n",
        "a NOOP x\r\n",
        "a UID NOOP\r\n",
        "a LOGIN joe\r\n",
        "a LOGIN joe \"x\r\n",
        "a SEARCH UNKNOWN\r\n",
        "a SEARCH ALL UNKNOWN\r\n",
        "a SEARCH RETURN (FOO) ALL\r\n",
        "a FETCH 0 FLAGS\r\n",
        "a FETCH 1 (FLAGS\r\n",
        "a STORE 1 FLAGS (\\Foo)\r\n",
        "a STATUS INBOX ()\r\n",
        "a STATUS INBOX (FOO)\r\n",
        "a LIST \"\" % RETURN (FOO)\r\n",
        "a LIST (RECURSIVEMATCH) \"\" %\r\n",
        "a APPEND Sent\r\n",
        "a SELECT \"a\0b\"\r\n",
        "a LOGIN joe\0 x\r\n",
        "a COPY 1\r\n",
    ] {
        let (tag, response, fatal) = bad(text.as_bytes());
        assert!(tag.is_none_or(|tag| tag == "a"), "{text}");
        assert!(response.starts_with("BAD "), "{text}");
        assert!(!fatal, "{text}");
    }
    let (tag, response, _) = bad(b"a SEARCH CHARSET X-NONE ALL\r\n");
    assert_eq!(tag.as_deref(), Some("a"));
    assert!(response.starts_with("NO [BADCHARSET ("));
    // Angus Mail 2.0.3 after ENABLE UTF8=ACCEPT: it searches by itself after NO, not after BAD.
    let (_, response, fatal) = bad(b"a SEARCH SUBJECT \"Gr\xfc\xdfe\" ALL\r\n");
    assert!(response.starts_with("NO ") && !fatal);
}

#[test]
fn a_huge_literal_is_refused_at_once() {
    let (_, response, fatal) = bad(b"a LOGIN {1073741824}\r\n");
    assert!(response.contains("[TOOBIG]") && !fatal);
    let (_, response, fatal) = bad(b"a LOGIN {99999999999999999999999+}\r\n");
    assert!(response.contains("[TOOBIG]") && fatal);
    let (tag, response, fatal) = bad(b"a APPEND Sent {1073741824}\r\n");
    assert_eq!(tag.as_deref(), Some("a"));
    assert!(response.starts_with("NO [TOOBIG]") && !fatal);
    // A refused literal that needs no `+` is skipped, and what follows is a command again.
    let mut text = b"a LOGIN {300+}\r\n".to_vec();
    text.extend([b'x'; 300]);
    text.extend(b" y {4+}\r\n\r\nzz w\r\nb NOOP\r\n");
    assert!(matches!(
        events(&text, &[]).as_slice(),
        [Event::Bad { fatal: false, .. }, Event::Command(command)] if command.tag == "b"
    ));
}

#[test]
fn a_long_annotation_is_refused_at_once() {
    for text in [
        "a SETMETADATA INBOX (/private/a {101}\r\n",
        "a setmetadata {5+}\r\nINBOX (/private/a \"x\" /shared/b {1+}\r\ny /private/c ~{1073741824}\r\n",
    ] {
        let (tag, response, fatal) = bad(text.as_bytes());
        assert_eq!(tag.as_deref(), Some("a"), "{text}");
        assert!(
            response.starts_with("NO [METADATA MAXSIZE 100] ") && !fatal,
            "{text}"
        );
    }
    // A literal that is not a value has the limit of all literals.
    for text in [
        "a SETMETADATA {201}\r\n",
        "a SETMETADATA INBOX ({201}\r\n",
        "a SETMETADATA INBOX (/private/a NIL {201}\r\n",
        "a SETMETADATA INBOX (/private/a \"x\") {201}\r\n",
        "a GETMETADATA INBOX (/private/a {201}\r\n",
    ] {
        let (_, response, fatal) = bad(text.as_bytes());
        assert!(response.starts_with("BAD [TOOBIG]") && !fatal, "{text}");
    }
    // Nor is one too long that is one too many.
    let value = format!("{{100+}}\r\n{}", "x".repeat(100));
    let (_, response, _) = bad(format!(
        "a SETMETADATA INBOX (/private/a {value} /private/b {value} /private/c {{1}}\r\n"
    )
    .as_bytes());
    assert!(response.starts_with("BAD [TOOBIG]"));
    // A literal that is already on the way is skipped.
    let mut text = b"a SETMETADATA INBOX (/private/a {101+}\r\n".to_vec();
    text.extend([b'x'; 101]);
    text.extend(b" /private/b {4+}\r\n\r\nzz)\r\nb NOOP\r\n");
    assert!(matches!(
        events(&text, &[]).as_slice(),
        [Event::Bad { fatal: false, .. }, Event::Command(command)] if command.tag == "b"
    ));
}

#[test]
fn an_endless_line_is_the_end() {
    let mut reader = CommandReader::new(LIMITS);
    for _ in 0..10 {
        reader.feed(&[b'a'; 100]);
        match reader.next_event() {
            None => assert!(reader.buffered() <= 500),
            Some(event) => {
                assert!(matches!(event, Event::Bad { fatal: true, .. }));
                break;
            }
        }
    }
    reader.feed(b"\r\na NOOP\r\n");
    assert_eq!(reader.next_event(), None);
    assert_eq!(reader.buffered(), 0);
}

#[test]
fn a_command_that_is_too_long_is_refused_with_its_tag() {
    // Once only where 300 octets of it had come.
    let mut reader = CommandReader::new(Limits { line: 50, ..LIMITS });
    reader.feed(format!("a1 LOGIN {}", "x".repeat(60)).as_bytes());
    let event = reader.next_event();
    let Some(Event::Bad { refusal, fatal }) = event else {
        panic!("{event:?}");
    };
    assert_eq!((refusal.tag.as_deref(), fatal), (Some("a1"), true));
}

#[test]
fn a_refused_message_is_passed_over() {
    for (text, waits) in [
        (b"a APPEND Sent {5}\r\n".as_slice(), true),
        (b"a APPEND Sent {5+}\r\nhello {3+}\r\nabc\r\n", false),
    ] {
        let mut reader = CommandReader::new(LIMITS);
        reader.feed(text);
        let Some(Event::AppendLiteral(literal)) = reader.next_event() else {
            panic!("no literal");
        };
        assert_eq!(literal.synchronising, waits);
        assert_eq!(reader.next_event(), None);
        assert!(reader.refuse());
        reader.feed(b"b NOOP\r\n");
        assert!(matches!(reader.next_event(), Some(Event::Command(command)) if command.tag == "b"));
    }
}

#[test]
fn raw_lines_stand_between_commands() {
    let mut reader = CommandReader::new(LIMITS);
    reader.feed(b"a IDLE\r\nDONE\r\nb NOOP\r\n");
    assert!(matches!(reader.next_event(), Some(Event::Command(_))));
    reader.expect_line();
    assert_eq!(reader.next_event(), Some(Event::Line(b"DONE".to_vec())));
    assert_eq!(reader.discard(), 8);
    assert_eq!(reader.next_event(), None);
}

#[test]
fn names_are_utf8_once_it_is_enabled() {
    let mut reader = CommandReader::new(LIMITS);
    reader.utf8 = true;
    reader.feed("a DELETE \"A&APw-\u{fc}\"\r\n".as_bytes());
    assert!(matches!(
        reader.next_event(),
        Some(Event::Command(command))
            if command.arguments == Arguments::Mailbox("A&APw-\u{fc}".to_owned())
    ));
}

/// RFC 6855 §3
#[test]
fn quoted_strings_are_utf8_once_it_is_enabled() {
    for (utf8, taken) in [(false, true), (true, false)] {
        let mut reader = CommandReader::new(LIMITS);
        reader.utf8 = utf8;
        reader.feed(b"a SETMETADATA a (/private/b \"\xff\")\r\n");
        let event = reader.next_event();
        assert_eq!(matches!(event, Some(Event::Command(_))), taken);
    }
}

/// Words that commands are made of, so that chance gets far into the grammar.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "a",
        " ",
        " ",
        " ",
        "UID ",
        "FETCH ",
        "STORE ",
        "SEARCH ",
        "LIST ",
        "APPEND ",
        "LOGIN ",
        "1:*",
        "(",
        ")",
        "\"",
        "\\",
        "\\Seen",
        "FLAGS",
        "+FLAGS",
        "BODY[",
        "]",
        "HEADER.FIELDS",
        "<0.1>",
        "{3}\r\n",
        "{3+}\r\n",
        "~{2+}\r\n",
        "abc",
        "\r\n",
        "\n",
        "NOT ",
        "OR ",
        "TEXT ",
        "\"x\"",
        "RETURN ",
        "CHARSET ",
        "UTF-8 ",
        "\0",
        "\u{fc}",
        "$",
        "*",
        "%",
        "NIL",
        "ID ",
        "1-Feb-1994",
        "MODSEQ ",
        "7",
        "IDLE",
        "NOOP",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat().into_bytes())
}

fn cuts(octets: &[u8], seeds: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<usize> = seeds
        .iter()
        .map(|seed| seed.index(octets.len() + 1))
        .collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_events(
        octets in prop_oneof![Just(DIALOGUE.to_vec()), words()],
        seeds in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let cuts = cuts(&octets, &seeds);
        prop_assert_eq!(events(&octets, &cuts), events(&octets, &[]));
        let all: Vec<usize> = (0..octets.len()).collect();
        prop_assert_eq!(events(&octets, &all), events(&octets, &[]));
    }

    #[test]
    fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        events(&octets, &[]);
    }
}

/// The events of a command with messages, in short form.
fn parts(text: &[u8], cuts: &[usize]) -> Vec<String> {
    events(text, cuts)
        .into_iter()
        .map(|event| match event {
            Event::AppendLiteral(literal) => {
                format!(
                    "{}.{:?} literal {}",
                    literal.head.position, literal.head.part, literal.size
                )
            }
            Event::AppendUrl { head, url } => format!("{}.{:?} {url}", head.position, head.part),
            Event::AppendOctets { octets, .. } => String::from_utf8(octets).unwrap(),
            Event::Command(command) => {
                format!("{} {} {:?}", command.name, command.uid, command.arguments)
            }
            Event::Continue => "+".to_owned(),
            Event::Bad { refusal, .. } => refusal.response,
            Event::Line(line) => format!("{line:?}"),
        })
        .collect()
}

const CATENATED: &[u8] =
    b"a APPEND Sent (\\Seen) CATENATE (URL \"/a/;UID=1\" TEXT {2+}\r\nxy URL {3+}\r\n/b/ URL c) \
    {1+}\r\nz CATENATE (URL d)\r\n";

#[test]
fn messages_are_made_of_literals_and_urls() {
    assert_eq!(
        parts(CATENATED, &[]),
        [
            "0.Some(0) /a/;UID=1",
            "0.Some(1) literal 2",
            "xy",
            "0.Some(2) /b/",
            "0.Some(3) c",
            "1.None literal 1",
            "z",
            "2.Some(0) d",
            "APPEND false Append { mailbox: \"Sent\", count: 3 }",
        ]
    );
    for at in 1..CATENATED.len() {
        assert_eq!(parts(CATENATED, &[at]), parts(CATENATED, &[]), "{at}");
    }
}

#[test]
fn urls_are_handed_out_before_the_one_in_a_literal_is_there() {
    // Otherwise each literal would have everything before it read again.
    let mut reader = CommandReader::new(LIMITS);
    reader.feed(b"a APPEND Sent CATENATE (URL b URL c URL {1}\r\n");
    for (place, name) in ["b", "c"].into_iter().enumerate() {
        let event = reader.next_event();
        let Some(Event::AppendUrl { head, url }) = &event else {
            panic!("{event:?}");
        };
        assert_eq!((head.part, url.as_str()), (Some(place), name));
    }
    assert_eq!(reader.next_event(), Some(Event::Continue));
    assert_eq!(reader.next_event(), None);
    reader.feed(b"d URL e)\r\n");
    let rest: Vec<_> = std::iter::from_fn(|| reader.next_event()).collect();
    assert!(matches!(
        rest.as_slice(),
        [Event::AppendUrl { url: d, .. }, Event::AppendUrl { url: e, .. }, Event::Command(_)] if d == "d" && e == "e"
    ));
}

#[test]
fn a_part_of_a_message_may_be_wrapped_as_utf8() {
    let text = "a APPEND Sent CATENATE (UTF8 (~{3+}\r\néx) URL c TEXT {1+}\r\ny UTF8 (~{2+}\r\né)) UTF8 (~{1+}\r\nz)\r\n".as_bytes();
    let expected = [
        "0.Some(0) literal 3",
        "éx",
        "0.Some(1) c",
        "0.Some(2) literal 1",
        "y",
        "0.Some(3) literal 2",
        "é",
        "1.None literal 1",
        "z",
        "APPEND false Append { mailbox: \"Sent\", count: 2 }",
    ];
    assert_eq!(parts(text, &[]), expected);
    let wrapped: Vec<bool> = events(text, &[])
        .into_iter()
        .filter_map(|event| match event {
            Event::AppendLiteral(literal) => Some(literal.utf8),
            _ => None,
        })
        .collect();
    assert_eq!(wrapped, [true, false, true, true]);
    for octets in [
        b"a APPEND Sent CATENATE (UTF8 ~{1+}\r\nx)\r\n".as_slice(),
        b"a APPEND Sent CATENATE (UTF8 (TEXT {1+}\r\nx))\r\n",
        b"a APPEND Sent CATENATE (UTF8 (URL c))\r\n",
    ] {
        assert!(bad(octets).1.starts_with("BAD "));
    }
}

#[test]
fn replace_names_one_message() {
    let found = events(b"a UID REPLACE 7 {4+}\r\nSent (\\Draft) {1+}\r\nx\r\n", &[]);
    let Some(Event::AppendLiteral(literal)) = found.first() else {
        panic!("{found:?}");
    };
    assert_eq!(literal.head.replaces.as_ref().unwrap().to_string(), "7");
    assert!(literal.head.uid);
    assert_eq!(literal.head.mailbox, "Sent");
    for text in [
        b"a REPLACE 1:2 Sent {1+}\r\nx\r\n".as_slice(),
        b"a REPLACE $ Sent {1+}\r\nx\r\n",
        b"a REPLACE Sent {1+}\r\nx\r\n",
        b"a APPEND Sent CATENATE () \r\n",
        b"a APPEND Sent CATENATE (URL)\r\n",
        b"a APPEND Sent CATENATE (FOO {1+}\r\nx)\r\n",
        b"a UID APPEND Sent {1+}\r\nx\r\n",
        b"a REPLACE\r\n",
    ] {
        let (tag, response, fatal) = bad(text);
        assert_eq!((tag.as_deref(), fatal), (Some("a"), false));
        assert!(response.starts_with("BAD "), "{response}");
    }
}

#[test]
fn a_refused_url_takes_all_that_comes_of_its_command() {
    for (text, follows) in [
        (b"a APPEND Sent CATENATE (URL x URL y)\r\n".as_slice(), 0),
        (
            b"a APPEND Sent CATENATE (URL x TEXT {3+}\r\nabc URL y {2+}\r\nde)\r\n",
            0,
        ),
        (b"a APPEND Sent CATENATE (URL x TEXT {3}\r\n", 0),
        (b"a APPEND Sent CATENATE (URL x URL {3}\r\n", 0),
        (
            b"a APPEND Sent CATENATE (URL x URL {3+}\r\nabc URL {1+}\r\nd)\r\n",
            0,
        ),
    ] {
        let mut reader = CommandReader::new(LIMITS);
        reader.feed(text);
        assert!(matches!(reader.next_event(), Some(Event::AppendUrl { .. })));
        assert!(reader.refuse());
        reader.feed(b"b NOOP\r\n");
        let Some(Event::Command(command)) = reader.next_event() else {
            panic!("{:?}", String::from_utf8_lossy(text));
        };
        assert_eq!((command.tag.as_str(), reader.buffered()), ("b", follows));
    }
}
