//! Languages whose word forms are known, and which of them a text is likely to be in.

use crate::words::{self, words};
use rust_stemmers::{Algorithm, Stemmer};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Octets of a text from which its language is guessed.
const SAMPLE: usize = 600;
/// Small words that are enough for a guess.
const ENOUGH: u16 = 3;
/// Octets of the longest small word.
const LONGEST: usize = 6;

/// A language: its stemmer, and small words that no text in it can do without.
pub(crate) struct Language {
    pub(crate) algorithm: Algorithm,
    small_words: &'static str,
}

/// How many languages are known.
pub(crate) const COUNT: usize = 12;

pub(crate) const LANGUAGES: [Language; COUNT] = [
    Language {
        algorithm: Algorithm::English,
        small_words: "the of and to in is that for it with as was on be this are have you your at from not we a",
    },
    Language {
        algorithm: Algorithm::German,
        small_words: "der die und das den von zu mit ist im nicht ein eine für auf dem sie ich wir es des",
    },
    Language {
        algorithm: Algorithm::French,
        small_words: "le la les de des et un une est dans pour que qui vous nous pas sur avec je du à",
    },
    Language {
        algorithm: Algorithm::Spanish,
        small_words: "el la los las de y que en un una por con para del es se no lo su al",
    },
    Language {
        algorithm: Algorithm::Italian,
        small_words: "il la di e che un una per non con del della sono le i gli in è si da",
    },
    Language {
        algorithm: Algorithm::Dutch,
        small_words: "de het een en van is dat op te in voor met niet zijn aan ik je wij u er",
    },
    Language {
        algorithm: Algorithm::Portuguese,
        small_words: "o a os as de e que em um uma para com não do da por se no na é",
    },
    Language {
        algorithm: Algorithm::Swedish,
        small_words: "och att det som en på är av för med den inte till jag vi du om i ett",
    },
    Language {
        algorithm: Algorithm::Danish,
        small_words: "og det er en til som på af for med den ikke jeg vi at du om i et",
    },
    Language {
        algorithm: Algorithm::Norwegian,
        small_words: "og det er en til som på av for med den ikke jeg vi å du om i et",
    },
    Language {
        algorithm: Algorithm::Finnish,
        small_words: "ja on ei se että oli ovat mutta kun myös tai niin en hän olen tämä",
    },
    Language {
        algorithm: Algorithm::Russian,
        small_words: "и в не на что с по это как для мы вы я он от за из к",
    },
];

/// Some of the languages, a bit for each.
pub(crate) type Languages = u16;

/// All of them.
pub(crate) const ALL: Languages = (1 << COUNT) - 1;

static SMALL_WORDS: LazyLock<HashMap<&'static str, Languages>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    for (number, language) in LANGUAGES.iter().enumerate() {
        for word in language.small_words.split(' ') {
            *known.entry(word).or_default() |= 1 << number;
        }
    }
    known
});

impl Language {
    /// The part that the forms of a folded word have in common.
    pub(crate) fn stem<'a>(&self, word: &'a str) -> Cow<'a, str> {
        let stem = Stemmer::create(self.algorithm).stem(word);
        if self.algorithm == Algorithm::Dutch {
            // No Dutch word ends in these, so the stemmer does not see that "huizen" belongs to "huis".
            for (voiced, voiceless) in [('z', "s"), ('v', "f")] {
                if let Some(kept) = stem.strip_suffix(voiced) {
                    return format!("{kept}{voiceless}").into();
                }
            }
        }
        stem
    }

    /// Other beginnings of words with this stem.
    pub(crate) fn other_beginnings(&self, stem: &str) -> Vec<String> {
        let mut others = Vec::new();
        let mut ending = |of: &str, instead: &str| {
            if let Some(kept) = stem.strip_suffix(of) {
                others.push(format!("{kept}{instead}"));
            }
        };
        match self.algorithm {
            // "happi", from "happy"
            Algorithm::English => ending("i", "y"),
            // "cheval", from "chevaux"
            Algorithm::French => ending("al", "au"),
            // "huis" and "brief", from "huizen" and "brieven"
            Algorithm::Dutch => {
                ending("s", "z");
                ending("f", "v");
            }
            _ => {}
        }
        let accents: &[(char, &[char])] = match self.algorithm {
            Algorithm::German => &[('a', &['ä']), ('o', &['ö']), ('u', &['ü'])],
            Algorithm::French => &[('e', &['é', 'è', 'ê'])],
            Algorithm::Spanish => SOUTHERN,
            Algorithm::Italian => &[
                ('a', &['à']),
                ('e', &['è', 'é']),
                ('i', &['ì']),
                ('o', &['ò']),
                ('u', &['ù']),
            ],
            Algorithm::Portuguese => &[
                ('a', &['á', 'â', 'ã']),
                ('e', &['é', 'ê']),
                ('i', &['í']),
                ('o', &['ó', 'ô', 'õ']),
                ('u', &['ú']),
            ],
            _ => &[],
        };
        let last = stem
            .char_indices()
            .rev()
            .find_map(|(at, char)| Some((at, *accents.iter().find(|(plain, _)| *plain == char)?)));
        if let Some((mut at, (mut plain, mut with))) = last {
            let before = stem.get(..at).unwrap_or_default();
            // "haus", from "häuser"
            if self.algorithm == Algorithm::German && plain == 'u' && before.ends_with('a') {
                (at, plain, with) = (at - 1, 'a', &['ä']);
            }
            let (before, rest) = stem.split_at_checked(at).unwrap_or((stem, ""));
            let after = rest.strip_prefix(plain).unwrap_or_default();
            others.extend(with.iter().map(|char| format!("{before}{char}{after}")));
        }
        if self.algorithm == Algorithm::German && stem.contains("ss") {
            // "strass", from "straße"
            others.push(stem.replace("ss", "ß"));
        }
        if self.algorithm == Algorithm::Dutch {
            others.extend(doubled(stem));
        }
        others
    }
}

const SOUTHERN: &[(char, &[char])] = &[
    ('a', &['á']),
    ('e', &['é']),
    ('i', &['í']),
    ('o', &['ó']),
    ('u', &['ú']),
];

/// Dutch "brod", from "brood".
fn doubled(stem: &str) -> Option<String> {
    let is_vowel = |char| matches!(char, 'a' | 'e' | 'o' | 'u');
    let mut chars = stem.char_indices().rev();
    let (_, last) = chars.next()?;
    let (at, vowel) = chars.next()?;
    let (_, before) = chars.next()?;
    if is_vowel(last) || !is_vowel(vowel) || is_vowel(before) {
        return None;
    }
    let (front, back) = stem.split_at_checked(at)?;
    Some(format!("{front}{vowel}{back}"))
}

/// Whether a word says little in some language: it is ignored if there are others.
pub(crate) fn is_small(word: &str) -> bool {
    SMALL_WORDS.contains_key(word)
}

/// The languages that a folded text may be in, by the small words at its beginning; all of them if these tell nothing.
pub(crate) fn guess(text: &[u8]) -> Languages {
    let sample = words::prefix(text, SAMPLE);
    let mut counts = [0_u16; COUNT];
    for word in words(sample).filter(|word| word.len() <= LONGEST) {
        let Some(languages) = SMALL_WORDS.get(word) else {
            continue;
        };
        for (number, count) in counts.iter_mut().enumerate() {
            *count += languages >> number & 1;
        }
    }
    let most = counts.into_iter().max().unwrap_or(0);
    if most < ENOUGH {
        return ALL;
    }
    // Danish and Norwegian are much alike; a mail may be in two languages.
    let likely = |count: u16| u16::from(count * 4 >= most * 3);
    counts
        .into_iter()
        .enumerate()
        .fold(0, |all, (number, count)| all | likely(count) << number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn guessed(text: &str) -> Vec<Algorithm> {
        let languages = guess(text.as_bytes());
        let named = LANGUAGES.iter().enumerate();
        named
            .filter(|(number, _)| languages >> number & 1 == 1)
            .map(|(_, language)| language.algorithm)
            .collect()
    }

    #[test]
    fn small_words_tell_the_language() {
        for (text, language) in [
            (
                "we have sent the books to you, and this is the bill for it",
                Algorithm::English,
            ),
            (
                "wir haben die bücher an sie gesandt, und das ist die rechnung für sie",
                Algorithm::German,
            ),
            (
                "nous vous avons envoyé les livres, et voici la facture pour les livres",
                Algorithm::French,
            ),
            (
                "hemos enviado los libros y esta es la factura del envío por correo",
                Algorithm::Spanish,
            ),
            (
                "abbiamo spedito i libri e il conto che non è per i libri della scuola",
                Algorithm::Italian,
            ),
            (
                "wij hebben de boeken aan je gestuurd, het is een rekening voor de boeken",
                Algorithm::Dutch,
            ),
            (
                "enviamos os livros e a fatura para o senhor, que não os tem em casa",
                Algorithm::Portuguese,
            ),
            (
                "vi har skickat böckerna till dig och det är en räkning för det som är på väg",
                Algorithm::Swedish,
            ),
            (
                "olemme lähettäneet kirjat ja lasku on tässä, mutta se ei ole että myös",
                Algorithm::Finnish,
            ),
            (
                "мы отправили книги и счёт, это не всё, что есть на складе для вас",
                Algorithm::Russian,
            ),
        ] {
            assert_eq!(guessed(text), [language], "{text}");
        }
        let northern =
            guessed("vi har sendt bøkene til deg, og det er en regning på det som ikke er betalt");
        assert_eq!(northern, [Algorithm::Danish, Algorithm::Norwegian]);
    }

    #[test]
    fn no_small_word_is_longer_than_is_looked_at() {
        assert!(SMALL_WORDS.keys().all(|word| word.len() <= LONGEST));
        assert!(SMALL_WORDS.keys().any(|word| word.len() == LONGEST));
    }

    #[test]
    fn little_text_may_be_in_any_language() {
        assert_eq!(guess(b""), ALL);
        assert_eq!(guess("räkning 2024".as_bytes()), ALL);
        assert_eq!(guess(&[0xff; 4_000]), ALL);
    }
}
