//! Any octets are a message: nothing panics, wire strings are well-formed, sections lie inside the message, and what its
//! fields say is text.
#![no_main]

use esp_mime::{
    Fields, Section, Structure, base_subject, collation_key, decode_header, decode_text, fold,
    parse_date, parse_list,
};
use libfuzzer_sys::fuzz_target;

const SECTIONS: [&[u8]; 6] = [
    b"",
    b"HEADER",
    b"TEXT",
    b"1",
    b"1.MIME",
    b"2.HEADER.FIELDS (Subject To)",
];

/// What follows the value that octets of a response begin with (RFC 3501 §9).
fn behind_value(wire: &[u8]) -> &[u8] {
    match wire {
        [b'(', inside @ ..] => {
            let mut rest = inside;
            while !rest.starts_with(b")") {
                rest = behind_value(rest.strip_prefix(b" ").unwrap_or(rest));
            }
            &rest[1..]
        }
        [b'"', inside @ ..] => {
            let mut rest = inside;
            loop {
                match rest {
                    [b'"', behind @ ..] => return behind,
                    [b'\\', b'"' | b'\\', behind @ ..] => rest = behind,
                    [b'\\' | b'\r' | b'\n' | 0 | 0x80.., ..] | [] => panic!("no quoted string"),
                    [_, behind @ ..] => rest = behind,
                }
            }
        }
        [b'{', inside @ ..] => {
            let end = inside
                .windows(3)
                .position(|octets| octets == b"}\r\n")
                .unwrap();
            let size: usize = std::str::from_utf8(&inside[..end])
                .unwrap()
                .parse()
                .unwrap();
            &inside[end + 3 + size..]
        }
        [b'N', b'I', b'L', behind @ ..] => behind,
        [b'0'..=b'9', ..] => {
            let digits = wire.iter().take_while(|octet| octet.is_ascii_digit());
            &wire[digits.count()..]
        }
        _ => panic!("no value: {}", wire.escape_ascii()),
    }
}

fn field(value: &[u8]) {
    let text = decode_header(value);
    assert!(!text.contains(['\r', '\n']));
    let base = base_subject(value);
    // What an encoded-word said may look like another one, which is text.
    if !base.text.contains("=?") {
        assert_eq!(base_subject(base.text.as_bytes()).text, base.text);
    }
    if let Some(date) = parse_date(value) {
        // The years 1900 to 9999, give or take a zone.
        assert!((-2_209_075_200..253_402_387_200).contains(&date.timestamp));
        assert!((date.day() * 86_400 - date.timestamp).abs() < 2 * 86_400);
    }
    let mut addresses = Vec::new();
    parse_list(value, &mut addresses);
    assert!(addresses.len() <= value.len() + 2);
    let folded = fold(&text);
    assert_eq!(fold(&folded), folded);
    assert_eq!(collation_key(&text).is_empty(), text.is_empty());
    for label in [b"utf-7".as_slice(), b"iso-2022-jp", b"gb18030", b"x"] {
        assert!(decode_text(label, value).len() <= value.len() * 3 + 3);
    }
}

fuzz_target!(|octets: &[u8]| {
    let description = esp_mime::describe(octets);
    for wire in [
        &description.envelope,
        &description.bodystructure,
        &description.body,
    ] {
        assert!(behind_value(wire).is_empty());
        assert!(!wire.contains(&0));
    }
    let structure = Structure::parse(octets);
    for spec in SECTIONS {
        if let Some(section) = Section::parse(spec)
            && let Some(found) = structure.section_octets(&section)
        {
            assert!(found.len() <= octets.len());
        }
    }
    for (index, part) in structure.parts().iter().enumerate() {
        assert!(part.header.end <= part.body.start && part.body.end <= octets.len());
        if let Some(decoded) = structure.decoded(index) {
            assert!(decoded.len() <= structure.body(index).len());
        }
        for found in Fields::new(octets, part.header.clone()).take(20) {
            field(&octets[found.value]);
        }
    }
});
