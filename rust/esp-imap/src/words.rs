//! Where words begin and end in folded text.

use std::ops::Range;

/// Octets on each side of a place that are searched for the ends of its word: longer ones are no words.
pub(crate) const REACH: usize = 256;

/// Letters and digits of any script, and the marks that stand on them.
fn in_word(char: char) -> bool {
    char.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&char)
}

/// The words of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char| !in_word(char))
        .filter(|word| !word.is_empty())
}

/// Whether a script is written without spaces, so that its words cannot be told apart.
pub(crate) fn is_unspaced(char: char) -> bool {
    matches!(u32::from(char), 0xe00..=0xeff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x2e80..=0x9fff
        | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

/// The first octets of a text, up to the end of a character.
pub(crate) fn prefix(text: &[u8], octets: usize) -> &str {
    let text = text.get(..octets.min(text.len())).unwrap_or_default();
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => text
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok())
            .unwrap_or_default(),
    }
}

/// The word around a place of a text, which is one of its characters or several.
pub(crate) fn around(text: &[u8], place: Range<usize>) -> Range<usize> {
    // Any octet beyond ASCII may belong to a letter; it is decoded only if there is one.
    let may_belong = |octet: &u8| octet.is_ascii_alphanumeric() || *octet >= 0x80;
    let is_inside = |octet: &u8| *octet & 0xc0 == 0x80;
    let low = place.start.saturating_sub(REACH);
    let high = text.len().min(place.end.saturating_add(REACH));
    let before = text.get(low..place.start).unwrap_or_default();
    let after = text.get(place.end..high).unwrap_or_default();
    let mut start = before
        .iter()
        .rposition(|octet| !may_belong(octet))
        .map_or(low, |at| low + at + 1);
    let mut end = after
        .iter()
        .position(|octet| !may_belong(octet))
        .map_or(high, |at| place.end + at);
    if text.get(start..end).is_some_and(<[u8]>::is_ascii) {
        return start..end;
    }
    // The reach may have ended within a character.
    while start < place.start && text.get(start).is_some_and(is_inside) {
        start += 1;
    }
    while end > place.end && text.get(end).is_some_and(is_inside) {
        end -= 1;
    }
    let read = |range: Range<usize>| std::str::from_utf8(text.get(range).unwrap_or_default());
    if let (Ok(before), Ok(after)) = (read(start..place.start), read(place.end..end)) {
        if let Some((at, char)) = before.char_indices().rfind(|(_, char)| !in_word(*char)) {
            start += at + char.len_utf8();
        }
        if let Some((at, _)) = after.char_indices().find(|(_, char)| !in_word(*char)) {
            end = place.end + at;
        }
    }
    start..end
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn word<'a>(text: &'a str, part: &str) -> &'a str {
        let at = text.find(part).unwrap();
        let range = around(text.as_bytes(), at..at + part.len());
        text.get(range).unwrap()
    }

    #[test]
    fn a_word_ends_where_letters_do() {
        assert_eq!(word("re: the bills-of lading", "bil"), "bills");
        assert_eq!(word("bills", "ill"), "bills");
        assert_eq!(word("\u{201c}häuser\u{201d}\u{2014}alt", "us"), "häuser");
        assert_eq!(word("l\u{2019}été prochain", "ét"), "été");
        assert_eq!(word("ete\u{301}s", "ete"), "ete\u{301}s");
        assert_eq!(word("a b", " "), "a b");
    }

    #[test]
    fn what_is_far_too_long_is_cut() {
        let long = "é".repeat(500);
        let range = around(long.as_bytes(), 400..402);
        assert_eq!(range, 400 - REACH..402 + REACH);
        assert!(around(&[0x80; 900], 400..401).len() <= 2 * REACH + 1);
    }

    #[test]
    fn words_are_found_in_any_script() {
        let found: Vec<&str> = words("don't; привет, 2024! — été").collect();
        assert_eq!(found, ["don", "t", "привет", "2024", "été"]);
        assert_eq!(prefix("aé".as_bytes(), 2), "a");
    }
}
