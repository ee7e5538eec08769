//! What holds for any octets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use esp_mime::{
    Kind, MAX_DEPTH, MAX_PARTS, Needle, Scope, SearchText, Section, Structure, base_subject,
    decode_base64, decode_header, decode_quoted_printable, describe, index, may_contain,
    parse_date, search_text, signature,
};
use proptest::prelude::*;

/// Octets that look like mail: pieces that matter to the parser, in any order.
fn mail() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"--b\r\n".to_vec()),
        Just(b"--b--\r\n".to_vec()),
        Just(b"--bb\r\n".to_vec()),
        Just(b"Content-Type: multipart/mixed; boundary=b\r\n".to_vec()),
        Just(b"Content-Type: multipart/digest; boundary=\"bb\"\r\n".to_vec()),
        Just(b"Content-Type: message/rfc822\r\n".to_vec()),
        Just(b"Content-Type: text/html; charset*0*=utf-8''%41; charset*1=b\r\n".to_vec()),
        Just(b"Content-Transfer-Encoding: base64\r\n".to_vec()),
        Just(b"Content-Transfer-Encoding: quoted-printable\r\n".to_vec()),
        Just(b"Content-Disposition: attachment; filename=\"a\\\"\r\n".to_vec()),
        Just(b"Subject: =?utf-8?q?a?= =?utf-8?b?YQ=?= =?x?\r\n".to_vec()),
        Just(b"From: \"a\" <@r:b@c>, g: d@e;, (x) f\r\n".to_vec()),
        Just(b" folded\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
        "[ -~]{0,30}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Where a value of an IMAP response ends.
fn value_end(wire: &[u8], at: usize) -> usize {
    match wire.get(at) {
        Some(b'(') => {
            let mut at = at + 1;
            while wire.get(at) != Some(&b')') {
                at = value_end(wire, at + usize::from(wire.get(at) == Some(&b' ')));
            }
            at + 1
        }
        Some(b'"') => {
            let mut at = at + 1;
            loop {
                match wire.get(at).unwrap() {
                    b'"' => return at + 1,
                    b'\\' => at += 2,
                    b'\r' | b'\n' | 0 | 0x80.. => panic!("not in a quoted string"),
                    _ => at += 1,
                }
            }
        }
        Some(b'{') => {
            let end = at
                + wire
                    .get(at..)
                    .unwrap()
                    .iter()
                    .position(|octet| *octet == b'}')
                    .unwrap();
            let size = std::str::from_utf8(wire.get(at + 1..end).unwrap()).unwrap();
            assert_eq!(wire.get(end + 1..end + 3), Some(b"\r\n".as_slice()));
            end + 3 + size.parse::<usize>().unwrap()
        }
        Some(b'N') => at + 3,
        Some(b'0'..=b'9') => {
            at + wire
                .get(at..)
                .unwrap()
                .iter()
                .take_while(|octet| octet.is_ascii_digit())
                .count()
        }
        other => panic!("{other:?} begins no value"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn descriptions_are_well_formed(data in mail()) {
        let description = describe(&data);
        for wire in [&description.envelope, &description.body, &description.bodystructure] {
            prop_assert_eq!(value_end(wire, 0), wire.len());
            prop_assert!(!wire.contains(&0));
        }
    }

    #[test]
    fn parts_lie_in_order_inside_their_parents(data in mail()) {
        let structure = Structure::parse(&data);
        prop_assert!(structure.parts().len() <= MAX_PARTS);
        for (index, part) in structure.parts().iter().enumerate() {
            prop_assert!(part.header.start <= part.header.end);
            prop_assert_eq!(part.header.end, part.body.start);
            prop_assert!(part.body.start <= part.body.end && part.body.end <= data.len());
            prop_assert_eq!(part.lines, structure.body(index).iter().filter(|octet| **octet == b'\n').count());
            let mut behind = part.body.start;
            for child in structure.children(index) {
                prop_assert!(child > index);
                let child = structure.part(child).unwrap();
                prop_assert!(child.header.start >= behind && child.body.end <= part.body.end);
                behind = child.body.end;
            }
            let children = structure.children(index).count();
            prop_assert_eq!(children > 0, children > 0 && matches!(part.kind, Kind::Multipart | Kind::Message));
            prop_assert_eq!(part.kind == Kind::Message, children == 1 && part.kind == Kind::Message);
        }
    }

    #[test]
    fn any_section_can_be_asked_for(data in mail(), path in proptest::collection::vec(1_u32..4, 0..4), what in 0..6) {
        let what = ["", "HEADER", "TEXT", "MIME", "HEADER.FIELDS (a from)", "HEADER.FIELDS.NOT (\"a\")"]
            .get(what as usize).unwrap();
        let path = path.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        let separator = if path.is_empty() || what.is_empty() { "" } else { "." };
        if let Some(section) = Section::parse(format!("{path}{separator}{what}").as_bytes()) {
            let structure = Structure::parse(&data);
            let octets = structure.section_octets(&section);
            prop_assert!(octets.is_none_or(|octets| octets.len() <= data.len()));
        }
    }

    #[test]
    fn fields_listed_and_not_listed_are_the_header(data in mail()) {
        let structure = Structure::parse(&data);
        let header = structure.part(0).unwrap().header.clone();
        let names = [b"subject".to_vec(), b"FROM".to_vec()];
        let listed = esp_mime::header_fields(&data, header.clone(), &names, true);
        let others = esp_mime::header_fields(&data, header.clone(), &names, false);
        let none = esp_mime::header_fields(&data, header.clone(), &[], false);
        prop_assert_eq!(&none, data.get(header).unwrap());
        let empty_line = listed.len() + others.len() - none.len();
        prop_assert!(empty_line <= 2);
    }

    #[test]
    fn a_text_is_packed_and_unpacked(data in mail(), many in 0..4_usize) {
        let text = search_text(&data.repeat(many));
        let mut unpacked = SearchText::default();
        prop_assert!(unpacked.unpack(&text.pack()));
        prop_assert_eq!(unpacked, text);
    }

    #[test]
    fn octets_that_are_no_text_are_refused(mut packed in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut text = SearchText::default();
        let _ = text.unpack(&packed);
        packed.insert(0, 1);
        if !text.unpack(&packed) {
            prop_assert!(text.all().is_empty());
        }
    }

    #[test]
    fn a_signature_never_denies_a_part_of_its_text(text in proptest::collection::vec(any::<u8>(), 0..3000), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let (a, b) = (from.index(text.len() + 1), to.index(text.len() + 1));
        let needle = text.get(a.min(b)..a.max(b)).unwrap();
        let signature = signature(&text);
        prop_assert!(signature.len().is_power_of_two() && signature.len() >= 64);
        prop_assert!(may_contain(&signature, needle));
    }

    #[test]
    fn a_part_of_a_text_is_found_in_any_case(words in "\\PC{0,40}", from in any::<prop::sample::Index>()) {
        let message = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{words}");
        let chars: Vec<char> = words.chars().collect();
        let needle: String = chars.iter().skip(from.index(chars.len() + 1)).collect();
        let structure = Structure::parse(message.as_bytes());
        let indexed = index(&structure);
        for needle in [needle.clone(), needle.to_ascii_uppercase(), needle.to_ascii_lowercase()] {
            let prepared = Needle::new(&needle);
            prop_assert!(prepared.is_in(&indexed.text, Scope::Body));
            prop_assert!(prepared.may_be_in(&signature(indexed.text.all())));
        }
        prop_assert!(indexed.preview.chars().count() <= 200);
    }

    #[test]
    fn headers_and_dates_and_subjects_never_fail(value in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~]{0,60}") {
        for value in [value.as_slice(), text.as_bytes()] {
            let decoded = decode_header(value);
            prop_assert!(!decoded.contains('\n'));
            let _ = parse_date(value);
            let base = base_subject(value);
            // The content of an encoded-word may look like another one, but is text.
            if !base.text.contains("=?") {
                prop_assert_eq!(&base_subject(base.text.as_bytes()).text, &base.text);
            }
        }
    }

    #[test]
    fn transfer_encodings_are_read_as_mail_parser_reads_them(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut encoded = Vec::new();
        for (number, chunk) in data.chunks(3).enumerate() {
            let value = chunk.iter().fold(0_u32, |value, octet| value << 8 | u32::from(*octet)) << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let sixtet = (value >> (18 - 6 * place) & 63) as usize;
                encoded.push(if place <= chunk.len() { *alphabet.get(sixtet).unwrap() } else { b'=' });
            }
            if number % 19 == 18 {
                encoded.extend_from_slice(b"\r\n");
            }
        }
        prop_assert_eq!(&decode_base64(&encoded), &data);
        let quoted: String = data.iter().map(|octet| format!("={octet:02X}")).collect();
        prop_assert_eq!(&decode_quoted_printable(quoted.as_bytes()), &data);
        let message = [b"Content-Transfer-Encoding: base64\r\nContent-Type: a/b\r\n\r\n".as_slice(), &encoded].concat();
        let parsed = mail_parser::MessageParser::new().parse(&message).unwrap();
        let structure = Structure::parse(&message);
        let decoded = structure.decoded(0).unwrap();
        prop_assert_eq!(decoded.as_ref(), parsed.parts.first().unwrap().contents());
    }
}

#[test]
fn depth_and_parts_are_bounded() {
    let deep = b"Content-Type: message/rfc822\r\n\r\n".repeat(1000);
    let structure = Structure::parse(&deep);
    assert_eq!(structure.parts().len(), MAX_DEPTH);
    assert_eq!(structure.parts().last().unwrap().kind, Kind::Opaque);
    let wide = [
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".as_slice(),
        &b"--b\r\n\r\n".repeat(20_000),
    ]
    .concat();
    let structure = Structure::parse(&wide);
    assert_eq!(structure.parts().len(), MAX_PARTS);
    assert_eq!(structure.parts().last().unwrap().body.end, wide.len());
}
