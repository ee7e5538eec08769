//! Any octets are a message: nothing panics, wire strings are well-formed, sections lie inside the message.
#![no_main]

use libfuzzer_sys::fuzz_target;

const SECTIONS: [&[u8]; 6] = [
    b"",
    b"HEADER",
    b"TEXT",
    b"1",
    b"1.MIME",
    b"2.HEADER.FIELDS (Subject To)",
];

fuzz_target!(|octets: &[u8]| {
    let description = esp_mime::describe(octets);
    for wire in [
        &description.envelope,
        &description.bodystructure,
        &description.body,
    ] {
        assert!(wire.starts_with(b"(") && wire.ends_with(b")"));
        assert!(!wire.contains(&0));
    }
    let structure = esp_mime::Structure::parse(octets);
    for spec in SECTIONS {
        if let Some(section) = esp_mime::Section::parse(spec) {
            if let Some(found) = structure.section_octets(&section) {
                assert!(found.len() <= octets.len() + 2);
            }
        }
    }
});
