//! `i;unicode-casemap` (RFC 5051): strings that can be compared as octets.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Code points that change, with their replacements in UTF-8.
static CASEMAP: LazyLock<HashMap<char, String>> = LazyLock::new(|| {
    include_str!("../data/casemap.txt")
        .lines()
        .filter_map(|line| {
            let mut codes = line
                .split(' ')
                .map_while(|word| u32::from_str_radix(word, 16).ok().and_then(char::from_u32));
            Some((codes.next()?, codes.collect()))
        })
        .collect()
});

/// A "titlecased canonicalized UTF-8 string" (RFC 5051 §2); the octet order of these is the collation's order.
#[must_use]
pub fn collation_key(text: &str) -> Vec<u8> {
    if text.is_ascii() {
        return text.as_bytes().to_ascii_uppercase();
    }
    let mut key = Vec::with_capacity(text.len() + 8);
    for char in text.chars() {
        if char.is_ascii() {
            key.extend(u8::try_from(char).map(|octet| octet.to_ascii_uppercase()));
        } else if let Some(mapped) = CASEMAP.get(&char) {
            key.extend_from_slice(mapped.as_bytes());
        } else {
            key.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        collation_key(a) == collation_key(b)
    }

    #[test]
    fn case_and_composition_make_no_difference() {
        assert!(same("Straße", "STRAßE"));
        assert!(same("ÉTÉ", "e\u{301}te\u{301}"));
        assert!(same("ǆ", "ǅ"));
        assert!(same("Ωμέγα", "ΩΜΈΓΑ"));
        assert!(!same("resume", "résumé"));
    }

    #[test]
    fn letters_with_marks_stand_behind_their_plain_ones() {
        let mut words = ["zebra", "Äpfel", "apfel", "Apfelbaum", "azur"];
        words.sort_by_key(|word| collation_key(word));
        assert_eq!(words, ["apfel", "Apfelbaum", "azur", "Äpfel", "zebra"]);
    }
}
