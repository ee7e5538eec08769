#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn a_plain_message_is_described() {
    let description = describe(
        b"Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\nFrom: Fred Foobar <foobar@Blurdybloop.example>\r\n\
          Subject: afternoon meeting 2\r\nTo: mooch@owatagu.siam.edu.example\r\n\
          Message-Id: <B27397-0100000@Blurdybloop.example>\r\n\r\nHello Joe, do you think\r\nwe can meet?\r\n",
    );
    assert_eq!(
        text(&description.envelope),
        "(\"Mon, 7 Feb 1994 21:52:25 -0800 (PST)\" \"afternoon meeting 2\" \
         ((\"Fred Foobar\" NIL \"foobar\" \"Blurdybloop.example\")) \
         ((\"Fred Foobar\" NIL \"foobar\" \"Blurdybloop.example\")) \
         ((\"Fred Foobar\" NIL \"foobar\" \"Blurdybloop.example\")) \
         ((NIL NIL \"mooch\" \"owatagu.siam.edu.example\")) NIL NIL NIL \"<B27397-0100000@Blurdybloop.example>\")"
    );
    assert_eq!(
        text(&description.bodystructure),
        "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 39 2 NIL NIL NIL NIL)"
    );
    assert_eq!(description.sent_at.unwrap().timestamp, 760_686_745);
    assert_eq!(
        description.message_id.unwrap(),
        "B27397-0100000@Blurdybloop.example"
    );
}

const NESTED: &[u8] = b"Content-Type: multipart/mixed; boundary=a\r\nSubject: outer\r\n\r\npreamble\r\n--a\r\n\r\none\r\n\
    --a\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/alternative; boundary=\"ab\"\r\n\r\n\
    --ab\r\nContent-Type: text/plain\r\n\r\nplain\r\n--ab\r\nContent-Type: text/html\r\n\r\n<p>\r\n--ab--\r\n\r\n--a--\r\nepilogue";

#[test]
fn sections_of_a_nested_message_are_found() {
    let structure = Structure::parse(NESTED);
    let get = |spec: &str| {
        structure
            .section_octets(&Section::parse(spec.as_bytes()).unwrap())
            .map(|octets| text(&octets))
    };
    assert_eq!(get("1").unwrap(), "one");
    assert_eq!(get("1.MIME").unwrap(), "\r\n");
    assert_eq!(
        get("2.HEADER.FIELDS (subject)").unwrap(),
        "Subject: inner\r\n\r\n"
    );
    assert_eq!(get("2.1").unwrap(), "plain");
    assert_eq!(get("2.2").unwrap(), "<p>");
    assert_eq!(get("2.2.MIME").unwrap(), "Content-Type: text/html\r\n\r\n");
    assert_eq!(
        get("HEADER.FIELDS.NOT (CONTENT-TYPE)").unwrap(),
        "Subject: outer\r\n\r\n"
    );
    assert_eq!(get("3"), None);
    assert_eq!(get("1.HEADER"), None);
    assert_eq!(Section::parse(b"MIME"), None);
    assert_eq!(Section::parse(b"1."), None);
    assert_eq!(Section::parse(b"0"), None);
}

#[test]
fn dates_are_read_in_every_form_mail_has() {
    let at = |value: &str| parse_date(value.as_bytes()).map(|date| date.timestamp);
    let noon = Some(1_704_110_400);
    assert_eq!(at("Mon, 1 Jan 2024 12:00:00 +0000"), noon);
    assert_eq!(at("1 Jan 24 12:00 GMT"), noon);
    assert_eq!(at("Mon, 01 Jan 2024 07:00:00 EST"), noon);
    assert_eq!(at("Mon Jan  1 12:00:00 2024"), noon);
    assert_eq!(at("Mon, 1 (first) Jan 2024 13:30:00 +0130 (comment)"), noon);
    assert_eq!(at("1-Jan-2024 12:00:00 +0000"), noon);
    assert_eq!(at("Mon, 32 Jan 2024 12:00:00 +0000"), None);
    let midnight = Some(1_704_067_200);
    for time in [
        "",
        "99:99:99 +0000",
        "12",
        "24:00",
        "12:60:00",
        "12:00:61 GMT",
        "noon",
    ] {
        assert_eq!(at(&format!("Mon, 1 Jan 2024 {time}")), midnight, "{time}");
    }
    for time in ["25:00:00 -0100", "-0100", "12 -0100"] {
        let local = Some(1_704_070_800);
        assert_eq!(at(&format!("1 Jan 2024 {time}")), local, "{time}");
    }
    assert_eq!(at("Mon Jan  1 noon 2024"), midnight);
    assert_eq!(at("yesterday"), None);
    assert_eq!(at(""), None);
    assert_eq!(
        parse_date(b"Mon, 1 Jan 2024 23:00:00 -0500").unwrap().day(),
        19_723
    );
}
