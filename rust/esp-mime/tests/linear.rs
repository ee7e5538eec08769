//! Whatever is asked about a message takes time in proportion to its length.

#![allow(clippy::unwrap_used, missing_docs)]

use esp_mime::{Arrival, Structure, describe, head, index, parse_date, signature};
use rustix::time::ClockId;
use std::time::Duration;

/// The processor time of this thread: it may have to wait long for others.
fn spent() -> Duration {
    let spent = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap()
}

type Ask = (&'static str, fn(&[u8]));

const ASKED: [Ask; 5] = [
    ("structure", |data| drop(Structure::parse(data))),
    ("describe", |data| drop(describe(data))),
    ("head", |data| drop(head(&Structure::parse(data)))),
    ("index", |data| {
        let indexed = index(&Structure::parse(data));
        drop(signature(indexed.text.all()));
        drop(indexed.text.pack());
    }),
    ("arrival", |data| {
        let (mut arrival, mut out) = (Arrival::new(true), Vec::new());
        let _ = data
            .chunks(4_096)
            .try_for_each(|piece| arrival.push(piece, &mut out));
        let _ = arrival.finish(&mut out);
    }),
];

/// The time of one, at best.
fn time(ask: fn(&[u8]), data: &[u8]) -> Duration {
    let once = || {
        let before = spent();
        ask(data);
        spent() - before
    };
    (0..3).map(|_| once()).min().unwrap()
}

fn assert_linear(name: &str, message: impl Fn(usize) -> String) {
    let (small, large) = (message(100), message(1_600));
    for (what, ask) in ASKED {
        let (few, many) = (time(ask, small.as_bytes()), time(ask, large.as_bytes()));
        // Sixteen times as many: quadratic time would be 256 times as long.
        assert!(
            many < few * 80 + Duration::from_millis(2),
            "{what} of {name}: {few:?} and {many:?}"
        );
    }
}

fn field(name: &str, begin: &str, one: &str, end: &str) {
    assert_linear(&format!("{name}: {begin}{one}{end}"), |count| {
        format!("{name}: {begin}{}{end}\r\n\r\nbody\r\n", one.repeat(count))
    });
    if matches!(name, "From" | "Content-Type" | "References") {
        assert_linear(&format!("folded {name}: {begin}{one}{end}"), |count| {
            let one = format!("{one}\r\n ");
            format!("{name}: {begin}{}{end}\r\n\r\nbody\r\n", one.repeat(count))
        });
    }
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn of_a_header() {
    for name in [
        "Subject",
        "From",
        "Content-Type",
        "Content-Disposition",
        "References",
        "Date",
        "X",
    ] {
        for one in [
            "(",
            "((",
            ")",
            "\"",
            "\\",
            "<",
            ">",
            "<a@b> ",
            ",",
            "a,",
            "a@b.example, ",
            "a:;",
            "a: ",
            ";",
            "; a=b",
            "=",
            "@",
            ".",
            "[",
            "]",
            "[x] ",
            "re: ",
            "fwd: ",
            "=?utf-8?q?",
            "=?utf-8?q?a?= ",
            "=?utf-8?b?YQ==?=",
            "?=",
            "=?",
            "; a*0=b",
            "; a*1*=utf-8''%41",
            "\t",
            " ",
            "ä",
            "e\u{301}",
            "\u{301}",
            "a ",
            "/",
            "'",
            "%",
            "%41",
            "-",
            "1 ",
        ] {
            field(name, "", one, "");
        }
        field(name, "text/plain", "; a=b", "");
        field(name, "a; ", "b*0=c; ", "");
        field(name, "<", "a.", "b@c>");
        field(name, "(", "\\(", ")");
        field(name, "\"", "\\\"", "\" <a@b>");
    }
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn of_many_fields() {
    for one in [
        "To: a@b\r\n",
        "Subject: Re: a\r\n",
        "X:\r\n",
        ":\r\n",
        "a\r\n",
        " a\r\n",
        "Content-Type: text/plain\r\n",
        "References: <a@b>\r\n",
        "\r",
    ] {
        assert_linear(&format!("many {one:?}"), |count| {
            format!("{}\r\nbody\r\n", one.repeat(count))
        });
    }
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn of_a_text() {
    for of_type in [
        "text/plain",
        "text/html",
        "text/plain; charset=utf-7",
        "text/plain; charset=iso-2022-jp",
        "text/plain\r\nContent-Transfer-Encoding: base64",
        "text/plain\r\nContent-Transfer-Encoding: quoted-printable",
        "text/html\r\nContent-Transfer-Encoding: quoted-printable",
        "multipart/mixed; boundary=b",
        "multipart/mixed; boundary=\"\"",
        "message/rfc822",
        "application/octet-stream\r\nContent-Transfer-Encoding: binary",
    ] {
        for one in [
            "a",
            " ",
            "\r\n",
            "\n",
            "\r",
            "--",
            "--\r\n",
            "--b",
            "--b\r\n",
            "--b--\r\n",
            "--b\r\n\r\n",
            "<",
            ">",
            "<a",
            "<a>",
            "</a>",
            "<a href=\"",
            "<!--",
            "<!-- -->",
            "<script>",
            "<style>",
            "</script>",
            "&",
            "&amp",
            "&#1",
            "&lt;",
            "&#x",
            "=",
            "=\r\n",
            "= \r\n",
            "=4",
            "=41",
            "QQ==",
            "+AGE-",
            "+",
            "\u{1b}$B",
            "ß",
            "e\u{301}",
            "\u{301}",
            "Content-Type: message/rfc822\r\n\r\n",
            "Subject: a\r\n",
        ] {
            assert_linear(&format!("{one:?} in {of_type}"), |count| {
                format!("Content-Type: {of_type}\r\n\r\n{}", one.repeat(count))
            });
        }
    }
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn of_parts_within_parts() {
    assert_linear("multiparts", |count| {
        (0..count)
            .map(|level| {
                format!("Content-Type: multipart/mixed; boundary=b{level}.\r\n\r\n--b{level}.\r\n")
            })
            .collect()
    });
    assert_linear("multiparts of one boundary", |count| {
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(count)
    });
    assert_linear("messages", |count| {
        "Content-Type: message/rfc822\r\n\r\n".repeat(count)
    });
    assert_linear("messages in digests", |count| {
        "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n".repeat(count)
    });
    assert_linear("messages with fields", |count| {
        "Subject: a\r\nTo: b\r\nContent-Type: message/rfc822\r\n\r\n".repeat(count)
    });
    assert_linear("multiparts and lines that are no boundary", |count| {
        let parts: String = (0..count)
            .map(|level| {
                format!("Content-Type: multipart/mixed; boundary=b{level}.\r\n\r\n--b{level}.\r\n")
            })
            .collect();
        format!("{parts}\r\n{}", "--b\r\n".repeat(count))
    });
    // A hundred boundaries that begin alike.
    let nested: String = (100..199)
        .map(|level| {
            format!("Content-Type: multipart/mixed; boundary=aaaaaaaaaaaaaaaaaaaaaaaaaaa{level}\r\n\r\n--aaaaaaaaaaaaaaaaaaaaaaaaaaa{level}\r\n")
        })
        .collect();
    assert_linear("lines that are nearly boundaries", |count| {
        format!(
            "{nested}\r\n{}",
            "--aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(count)
        )
    });
    assert_linear("boundaries of the innermost", |count| {
        format!(
            "{nested}\r\n{}",
            "--aaaaaaaaaaaaaaaaaaaaaaaaaaa198\r\n".repeat(count)
        )
    });
}

#[test]
#[ignore = "takes times: make fuzz runs it"]
fn of_a_date() {
    for one in ["(", "(a)", " ", "1", "1 ", ":", "+", "a "] {
        let text = |count: usize| one.repeat(count).into_bytes();
        let ask: fn(&[u8]) = |data| {
            let _ = parse_date(data);
        };
        let (few, many) = (time(ask, &text(100)), time(ask, &text(1_600)));
        assert!(
            many < few * 80 + Duration::from_millis(2),
            "{one}: {few:?} and {many:?}"
        );
    }
}
