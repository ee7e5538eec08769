//! A word that is searched for, and how near the words of texts are to it.

use crate::language::{self, LANGUAGES, Languages};
use crate::words;
use memchr::memmem::Finder;
use std::collections::HashMap;

/// Characters that must stand together for a text to be looked at: those of a signature's piece.
const PIECE: usize = 3;
/// Characters of the shortest stem that counts.
const SHORTEST_STEM: usize = 3;
/// Characters that a word, or the one that was meant, must have for one letter to be wrong.
const SHORTEST_MISTYPED: usize = 5;
/// Characters of the longest word that has forms.
const LONGEST: usize = 40;
/// How often a word is counted in one piece of text.
const MOST: usize = 32;
/// Words that are remembered, and octets of the longest.
const REMEMBERED: usize = 1 << 16;
const LONGEST_REMEMBERED: usize = 64;

/// How much a word counts that is the one searched for, or only nearly.
const SAME: f32 = 1.0;
const OTHER_ACCENTS: f32 = 0.9;
const INFLECTED: f32 = 0.8;
const BEGINS: f32 = 0.5;
const CONTAINS: f32 = 0.3;
const MISTYPED: f32 = 0.2;

/// How near a word is, regardless of language, and the languages in which it is a form of the word.
#[derive(Clone, Copy)]
struct Nearness {
    value: f32,
    inflected: Languages,
}

/// A word; see the module.
pub(crate) struct WordForms {
    word: String,
    chars: Vec<char>,
    unaccented: String,
    /// By language; empty for what has no forms.
    stems: Vec<String>,
    /// Every word that is near contains one of them.
    pieces: Vec<Finder<'static>>,
    tolerant: bool,
    /// Nearness of words met so far.
    known: HashMap<Box<[u8]>, Nearness>,
}

/// The word without the accents of its Latin letters.
fn unaccented(word: &str) -> String {
    word.chars()
        .map(|char| match char {
            'à'..='å' => 'a',
            'ç' => 'c',
            'è'..='ë' => 'e',
            'ì'..='ï' => 'i',
            'ñ' => 'n',
            'ò'..='ö' | 'ø' => 'o',
            'ù'..='ü' => 'u',
            'ý' | 'ÿ' => 'y',
            'ё' => 'е',
            char => char,
        })
        .collect()
}

/// How many characters two words have in common at their beginning.
fn in_common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

fn first(word: &str, chars: usize) -> &str {
    let end = word.char_indices().nth(chars).map(|(at, _)| at);
    end.and_then(|end| word.get(..end)).unwrap_or(word)
}

/// Whether one letter is wrong, missing or extra, or two neighbours are swapped. The first letter is right.
fn is_mistyped(word: &[char], other: &[char]) -> bool {
    if word.first() != other.first() || word.len().abs_diff(other.len()) > 1 {
        return false;
    }
    let same = word.iter().zip(other).take_while(|(a, b)| a == b).count();
    let rest =
        |chars: &[char], skipped: usize| chars.get(same + skipped..).unwrap_or_default().to_vec();
    match word.len().cmp(&other.len()) {
        std::cmp::Ordering::Less => rest(word, 0) == rest(other, 1),
        std::cmp::Ordering::Greater => rest(word, 1) == rest(other, 0),
        std::cmp::Ordering::Equal => {
            let swapped = same + 1 < word.len()
                && word.get(same) == other.get(same + 1)
                && word.get(same + 1) == other.get(same);
            rest(word, 1) == rest(other, 1) || (swapped && rest(word, 2) == rest(other, 2))
        }
    }
}

impl WordForms {
    /// Prepare a folded word.
    pub(crate) fn new(word: &str) -> Self {
        let chars: Vec<char> = word.chars().collect();
        let has_forms = chars.len() <= LONGEST
            && chars
                .iter()
                .all(|char| char.is_alphabetic() && !words::is_unspaced(*char));
        let stems = if has_forms {
            LANGUAGES
                .iter()
                .map(|language| language.stem(word).into_owned())
                .collect()
        } else {
            Vec::new()
        };
        let mut forms = Self {
            word: word.to_owned(),
            unaccented: unaccented(word),
            chars,
            stems,
            pieces: Vec::new(),
            tolerant: false,
            known: HashMap::new(),
        };
        forms.pieces = forms.make_pieces();
        forms
    }

    /// Allow the word to be mistyped from now on; `false` if it is too short for that.
    pub(crate) fn tolerate(&mut self) -> bool {
        if self.tolerant || self.stems.is_empty() || self.chars.len() + 1 < SHORTEST_MISTYPED {
            return false;
        }
        self.tolerant = true;
        self.pieces = self.make_pieces();
        self.known.clear();
        true
    }

    /// How words that may be near can begin.
    fn beginnings(&self) -> Vec<String> {
        let mut all = vec![self.word.clone()];
        if self.stems.is_empty() {
            return all;
        }
        all.push(self.unaccented.clone());
        for (language, stem) in LANGUAGES.iter().zip(&self.stems) {
            if stem.chars().count() < SHORTEST_STEM {
                continue;
            }
            let kept = in_common(&self.unaccented, &unaccented(stem));
            if kept >= SHORTEST_STEM {
                all.push(first(&self.word, kept).to_owned());
            }
            all.push(stem.clone());
            all.extend(language.other_beginnings(stem));
        }
        if self.tolerant {
            all.push(self.chars.iter().take(self.right_letters()).collect());
        }
        all
    }

    /// How many letters at one end of a mistyped word are right, so that these can be searched for.
    fn right_letters(&self) -> usize {
        PIECE.max(self.chars.len().saturating_sub(1) / 2)
    }

    fn make_pieces(&self) -> Vec<Finder<'static>> {
        let mut beginnings = self.beginnings();
        beginnings.sort_unstable();
        // Equal beginnings are searched for once.
        let mut pieces: Vec<String> = Vec::new();
        for beginning in beginnings {
            match pieces.last_mut() {
                Some(piece) if in_common(piece, &beginning) >= PIECE.min(piece.chars().count()) => {
                    let kept = in_common(piece, &beginning);
                    *piece = first(piece, kept).to_owned();
                }
                _ => pieces.push(beginning),
            }
        }
        if self.tolerant {
            let skipped = self.chars.len() - self.right_letters();
            pieces.push(self.chars.iter().skip(skipped).collect());
        }
        pieces
            .iter()
            .map(|piece| Finder::new(piece).into_owned())
            .collect()
    }

    /// Whether a text of this signature may have a word that is near.
    pub(crate) fn may_be_in(&self, signature: &[u8]) -> bool {
        self.pieces
            .iter()
            .any(|piece| esp_mime::may_contain(signature, piece.needle()))
    }

    /// Call `each` for where near words begin and how near they are, up to some number of them.
    ///
    /// `languages` are those of the text, asked for only if they matter.
    pub(crate) fn find(
        &mut self,
        text: &[u8],
        languages: impl Fn() -> Languages,
        mut each: impl FnMut(usize, f32),
    ) {
        let pieces = std::mem::take(&mut self.pieces);
        let mut left = MOST;
        for (number, piece) in pieces.iter().enumerate() {
            let mut from = 0;
            while left > 0
                && let Some(at) = piece.find(text.get(from..).unwrap_or_default())
            {
                let place = from + at..from + at + piece.needle().len();
                let range = words::around(text, place.clone());
                from = range.end;
                if range.end + 4 > place.end + words::REACH {
                    // Part of something longer than words are, so that more may follow after the octets looked at.
                    from = from.saturating_sub(self.word.len());
                }
                from = from.max(place.start + 1);
                let word = text.get(range.clone()).unwrap_or_default();
                let before = pieces.get(..number).unwrap_or_default();
                // Something longer than words looks different from another place in it.
                let is_judged = |piece: &Finder<'_>| {
                    piece.find(word).is_some_and(|at| {
                        let start = range.start + at;
                        words::around(text, start..start + piece.needle().len()) == range
                    })
                };
                if before.iter().any(is_judged) {
                    continue;
                }
                let near = self.near(word);
                // The language is asked for only if it makes a difference.
                let inflected = near.value < INFLECTED
                    && near.inflected != 0
                    && (near.inflected == language::ALL || near.inflected & languages() != 0);
                let value = if inflected { INFLECTED } else { near.value };
                if value > 0.0 {
                    left -= 1;
                    each(range.start, value);
                }
            }
        }
        self.pieces = pieces;
    }

    fn near(&mut self, word: &[u8]) -> Nearness {
        if let Some(near) = self.known.get(word) {
            return *near;
        }
        let near = std::str::from_utf8(word).map_or(
            Nearness {
                value: 0.0,
                inflected: 0,
            },
            |word| self.compare(word),
        );
        if word.len() <= LONGEST_REMEMBERED {
            if self.known.len() >= REMEMBERED {
                self.known.clear();
            }
            self.known.insert(word.into(), near);
        }
        near
    }

    fn compare(&self, other: &str) -> Nearness {
        let unspaced = self.chars.iter().copied().any(words::is_unspaced);
        let value = if other == self.word || (unspaced && other.contains(&self.word)) {
            SAME
        } else if unaccented(other) == self.unaccented {
            OTHER_ACCENTS
        } else if other.starts_with(&self.word) {
            BEGINS
        } else if other.contains(&self.word) {
            CONTAINS
        } else if self.tolerant && self.is_mistyped(other) {
            MISTYPED
        } else {
            0.0
        };
        let mut inflected = 0;
        if value < INFLECTED && other.chars().count() <= LONGEST {
            for (number, (language, stem)) in LANGUAGES.iter().zip(&self.stems).enumerate() {
                let same = stem.chars().count() >= SHORTEST_STEM && language.stem(other) == *stem;
                inflected |= Languages::from(same) << number;
            }
        }
        Nearness { value, inflected }
    }

    fn is_mistyped(&self, other: &str) -> bool {
        let other: Vec<char> = other.chars().collect();
        other.len().max(self.chars.len()) >= SHORTEST_MISTYPED && is_mistyped(&self.chars, &other)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// How near the nearest word of a text is, in these languages.
    fn nearest(forms: &mut WordForms, text: &str, languages: Languages) -> f32 {
        let mut most = 0.0_f32;
        forms.find(
            text.as_bytes(),
            || languages,
            |_, near| most = most.max(near),
        );
        most
    }

    fn near(word: &str, text: &str) -> f32 {
        nearest(&mut WordForms::new(word), text, language::ALL)
    }

    fn mistyped(word: &str, text: &str) -> f32 {
        let mut forms = WordForms::new(word);
        forms.tolerate();
        nearest(&mut forms, text, language::ALL)
    }

    #[test]
    fn forms_of_a_word_find_each_other_in_every_language() {
        for forms in [
            // en, de, fr, es, it, nl, pt, sv, da, no, fi, ru
            &["break", "breaks", "breaking"][..],
            &["happy", "happiness"],
            &["invoice", "invoices", "invoiced"],
            &["haus", "häuser", "hauses"],
            &["rechnung", "rechnungen"],
            &["straße", "strassen", "straßen"],
            &["cheval", "chevaux"],
            &["facture", "factures"],
            &["canción", "canciones"],
            &["factura", "facturas"],
            &["libro", "libri"],
            &["huis", "huizen"],
            &["brood", "broden"],
            &["brief", "brieven"],
            &["livro", "livros"],
            &["räkning", "räkningar", "räkningen"],
            &["bog", "bogen"],
            &["regning", "regninger", "regningen"],
            &["talo", "talot", "taloissa"],
            &["книга", "книги", "книгу", "книгой"],
        ] {
            for word in forms {
                for other in forms {
                    let found = near(word, &format!("x ({other})."));
                    assert!(found >= INFLECTED, "{word} {other} {found}");
                }
            }
        }
    }

    #[test]
    fn what_is_nearer_counts_more() {
        let found = [
            "invoice",
            "invoices",
            "invoicex",
            "preinvoice",
            "invoyce",
            "voice",
        ];
        let values: Vec<f32> = found.iter().map(|text| mistyped("invoice", text)).collect();
        assert_eq!(values, [SAME, INFLECTED, BEGINS, CONTAINS, MISTYPED, 0.0]);
        assert_eq!(mistyped("cafés", "cafes"), OTHER_ACCENTS);
        assert_eq!(near("日本", "私は日本語を話す"), SAME);
        assert_eq!(near("2024", "2024-01 in 20241"), SAME);
    }

    #[test]
    fn forms_are_those_of_the_language_of_the_text() {
        let of = |algorithm| {
            let named = |language: &language::Language| language.algorithm == algorithm;
            1 << LANGUAGES.iter().position(named).unwrap()
        };
        let mut forms = WordForms::new("haus");
        let english = of(rust_stemmers::Algorithm::English);
        let german = of(rust_stemmers::Algorithm::German);
        assert_eq!(nearest(&mut forms, "häuser", german), INFLECTED);
        assert_eq!(nearest(&mut forms, "häuser", english), 0.0);
        assert_eq!(nearest(&mut forms, "häuser", english | german), INFLECTED);
    }

    #[test]
    fn one_letter_may_be_wrong_in_long_words_only() {
        for other in [
            "meeeting", "meting", "mieting", "meetign", "meetin", "meetingz",
        ] {
            assert_eq!(
                mistyped(other, "the meeting"),
                MISTYPED.max(near(other, "the meeting")),
                "{other}"
            );
            assert!(mistyped(other, "the meeting") > 0.0, "{other}");
        }
        for (word, text) in [
            ("meeting", "greeting"),
            ("meeting", "seeting"),
            ("meeting", "metteing"),
            ("12345", "12346"),
        ] {
            assert_eq!(mistyped(word, text), 0.0, "{word} {text}");
        }
        assert_eq!(mistyped("merk", "mark"), 0.0);
        assert_eq!(mistyped("helq", "helo"), 0.0);
        assert_eq!(mistyped("chat", "chart"), MISTYPED);
        assert!(!WordForms::new("cat").tolerate());
        let mut once = WordForms::new("hello");
        assert!(once.tolerate());
        assert!(!once.tolerate());
    }

    #[test]
    fn a_word_is_counted_once_where_it_stands() {
        let mut places = Vec::new();
        let mut forms = WordForms::new("banana");
        forms.tolerate();
        let text = "banana bananas, abanana banxna";
        forms.find(
            text.as_bytes(),
            || language::ALL,
            |at, near| places.push((at, near)),
        );
        places.sort_by_key(|(at, _)| *at);
        assert_eq!(
            places,
            [(0, SAME), (7, INFLECTED), (16, CONTAINS), (24, MISTYPED)]
        );
    }

    #[test]
    fn a_word_is_found_behind_a_piece_from_where_it_is_not_seen_whole() {
        // "abaa" and "abba" are searched for, of "abbaaa".
        for between in 240..270 {
            let text = format!("abaa{}abbaaa", "z".repeat(between));
            assert_eq!(near("abbaaa", &text), CONTAINS, "{between}");
        }
    }

    proptest! {
        #[test]
        fn whatever_contains_a_word_comes_near(
            word in "[a-zäöüßéñ0-9а-я語]{1,12}",
            before in "\\PC{0,80}",
            after in "\\PC{0,80}",
            tolerant: bool,
        ) {
            let word = esp_mime::fold(&word);
            let text = format!("{}{word}{}", esp_mime::fold(&before), esp_mime::fold(&after));
            let mut forms = WordForms::new(&word);
            if tolerant {
                forms.tolerate();
            }
            prop_assert!(nearest(&mut forms, &text, language::ALL) > 0.0);
            prop_assert!(forms.may_be_in(&esp_mime::signature(text.as_bytes())));
        }

        #[test]
        fn a_word_is_found_anywhere_in_what_is_no_word(
            word in "[ab]{3,6}|[äö]{3,20}",
            before in "[abäö]{0,900}",
        ) {
            let text = format!("{before}{word}");
            prop_assert!(nearest(&mut WordForms::new(&word), &text, language::ALL) > 0.0);
        }

        #[test]
        fn a_signature_never_hides_a_word_that_comes_near(
            word in "[a-eéß]{1,9}",
            text in "[a-eéß ]{0,60}",
            tolerant: bool,
        ) {
            let mut forms = WordForms::new(&word);
            if tolerant {
                forms.tolerate();
            }
            if nearest(&mut forms, &text, language::ALL) > 0.0 {
                prop_assert!(forms.may_be_in(&esp_mime::signature(text.as_bytes())));
            }
        }

        #[test]
        fn any_octets_are_looked_at(word in "\\PC{1,20}", text: Vec<u8>) {
            let mut forms = WordForms::new(&word);
            forms.tolerate();
            forms.find(&text, || language::guess(&text), |at, near| {
                assert!(at <= text.len() && near <= SAME);
            });
        }

        #[test]
        fn one_mistake_is_found_where_three_letters_are_right(
            word in "[a-z]{7,12}",
            at in 1_usize..6,
            letter in "[a-z]",
            kind in 0_u8..4,
        ) {
            let mut chars: Vec<char> = word.chars().collect();
            match kind {
                0 => *chars.get_mut(at).unwrap() = letter.chars().next().unwrap(),
                1 => { chars.remove(at); }
                2 => chars.insert(at, letter.chars().next().unwrap()),
                _ => chars.swap(at, at + 1),
            }
            let wrong: String = chars.into_iter().collect();
            prop_assert!(mistyped(&wrong, &word) > 0.0, "{wrong} {word}");
        }
    }
}
