//! Words that are searched for as a person means them: FUZZY of a key that searches text (RFC 6203).
//!
//! A message must have every word, in any order: as it is, in another form of some language, or within a longer word.
//! Words that say little are ignored if there are others. If no message has all the words, one letter of each may be
//! wrong. So FUZZY finds everything that the key finds without it.

use crate::criteria::{Look, Verdict};
use crate::language::{self, Languages};
use crate::search_program::Place;
use crate::word_forms::WordForms;
use crate::words::words;
use esp_mime::{HEAD_FIELDS, Head, Needle, Scope, SearchText};
use std::cell::OnceCell;

/// Words that are searched for; further ones are ignored.
const MOST_WORDS: usize = 32;
/// BM25: how soon repetitions count less, how much a long text counts less, and the octets of a text of neutral length.
const SATURATION: f32 = 1.2;
const LENGTH_COUNTS: f32 = 0.5;
const USUAL_LENGTH: f32 = 2_000.0;
/// Longer texts count no less than a text of this length.
const LONGEST_LENGTH: f32 = 20_000.0;
/// How much a word in a header field counts, if one in the text counts 1.
const SUBJECT_COUNTS: f32 = 4.0;
const PEOPLE_COUNT: f32 = 2.0;
const OTHER_FIELDS_COUNT: f32 = 0.2;
/// How much it counts that the words stand together, as a fraction of what the words count.
const TOGETHER_COUNTS: f32 = 0.5;

/// How much of each word a message has, each below 1, and whether they stand together.
type Amounts = Vec<f32>;

/// A fuzzy search; see the module.
pub(crate) struct Fuzzy {
    place: Place,
    /// The text as it was given.
    whole: Needle,
    words: Vec<WordForms>,
    /// The number of messages each word may be in.
    spread: Vec<usize>,
    found: bool,
    /// The amounts for the message looked at last, with its position.
    last: Option<(usize, Amounts)>,
}

impl Fuzzy {
    /// Prepare a search for a text as given; `None` if it has no words, so that it is searched for literally.
    pub(crate) fn new(place: &Place, text: &str) -> Option<Self> {
        let folded = esp_mime::fold(text);
        let mut wanted: Vec<&str> = words(&folded).collect();
        if wanted.iter().any(|word| !language::is_small(word)) {
            wanted.retain(|word| !language::is_small(word));
        }
        let mut seen = Vec::new();
        wanted.retain(|word| {
            let is_new = !seen.contains(word) && seen.len() < MOST_WORDS;
            seen.extend(is_new.then_some(*word));
            is_new
        });
        if wanted.is_empty() {
            return None;
        }
        Some(Self {
            place: place.clone(),
            whole: Needle::new(text),
            spread: vec![0; wanted.len()],
            words: wanted.into_iter().map(WordForms::new).collect(),
            found: false,
            last: None,
        })
    }

    /// Let the words be mistyped, after no message was found otherwise; `false` if that makes no difference.
    pub(crate) fn tolerate(&mut self) -> bool {
        if self.found {
            return false;
        }
        self.words
            .iter_mut()
            .map(WordForms::tolerate)
            .fold(false, |any, tolerates| any | tolerates)
    }

    /// Note that all messages are looked at again.
    pub(crate) fn begin_anew(&mut self) {
        self.spread.fill(0);
    }

    /// Test a message for the words, as far as it is known.
    pub(crate) fn judge(
        &mut self,
        position: usize,
        head: Option<Head<'_>>,
        look: Look<'_>,
    ) -> Verdict {
        let in_head = match &self.place {
            Place::Header(name) if HEAD_FIELDS.contains(&name.as_str()) => match head {
                None => return Verdict::Head,
                Some(head) => head.has_fields().then_some((name, head)),
            },
            _ => None,
        };
        let amounts = match (in_head, look) {
            (Some((name, head)), _) => {
                let values: Vec<&[u8]> = head.values(name).collect();
                // Heads are looked at again with the texts; each message is counted once.
                let spread = matches!(look, Look::None).then_some(&mut *self.spread);
                amounts(
                    &mut self.words,
                    spread,
                    |word| in_values(word, &values, || language::ALL),
                    || head.has(&self.whole, name),
                )
            }
            (None, Look::None) => return Verdict::Text,
            (None, Look::Signature(signature)) => return self.judge_signature(signature),
            (None, Look::Text(text, signed)) => self.in_text(text, signed),
        };
        let Some(amounts) = amounts else {
            return Verdict::No;
        };
        self.found = true;
        self.last = Some((position, amounts));
        Verdict::Yes
    }

    fn judge_signature(&mut self, signature: &[u8]) -> Verdict {
        let mut all = true;
        for (word, spread) in self.words.iter().zip(&mut self.spread) {
            let may_be = word.may_be_in(signature);
            *spread += usize::from(may_be);
            all &= may_be;
        }
        if all { Verdict::Text } else { Verdict::No }
    }

    fn in_text(&mut self, text: &SearchText, signed: bool) -> Option<Amounts> {
        let guessed = OnceCell::new();
        let languages = || *guessed.get_or_init(|| language::guess(text.text()));
        let (words, whole) = (&mut self.words, &self.whole);
        let spread = (!signed).then_some(&mut *self.spread);
        match &self.place {
            Place::Header(name) => {
                let values: Vec<&[u8]> = text.fields(name).collect();
                amounts(
                    words,
                    spread,
                    |word| in_values(word, &values, languages),
                    || whole.is_in(text, Scope::Field(name)),
                )
            }
            Place::Body => amounts(
                words,
                spread,
                |word| in_body(word, text.text(), languages),
                || whole.is_in(text, Scope::Body),
            ),
            Place::Text => amounts(
                words,
                spread,
                |word| {
                    in_fields(word, text.headers(), languages)
                        + in_values(word, &[text.part_headers()], languages)
                        + in_body(word, text.text(), languages)
                },
                || whole.is_in(text, Scope::Text),
            ),
        }
    }

    /// The amounts of the message at this position; zero for all words unless they found it.
    pub(crate) fn take_amounts(&mut self, position: usize) -> Amounts {
        match self.last.take() {
            Some((last, amounts)) if last == position => amounts,
            _ => vec![0.0; self.words.len() + 1],
        }
    }

    /// How much each of the amounts counts: a word that few of the messages have counts more.
    pub(crate) fn weights(&self, messages: usize) -> Vec<f32> {
        let number = |count: usize| f32::from(u16::try_from(count).unwrap_or(u16::MAX));
        let mut weights: Vec<f32> = self
            .spread
            .iter()
            .map(|spread| {
                // Beyond what fits, only the ratio matters.
                let scale = 1 + messages / usize::from(u16::MAX);
                let (all, with) = (number(messages / scale), number(spread / scale));
                (1.0 + (all - with + 0.5).max(0.5) / (with + 0.5)).ln()
            })
            .collect();
        weights.push(weights.iter().sum::<f32>() * TOGETHER_COUNTS);
        weights
    }
}

/// The amount of each word, by `count`; `None` if one is missing. `spread` counts the words that are there.
fn amounts(
    words: &mut [WordForms],
    spread: Option<&mut [usize]>,
    count: impl Fn(&mut WordForms) -> f32,
    together: impl FnOnce() -> bool,
) -> Option<Amounts> {
    let mut amounts: Amounts = words.iter_mut().map(count).collect();
    for (number, amount) in spread.into_iter().flatten().zip(&amounts) {
        *number += usize::from(*amount > 0.0);
    }
    if amounts.iter().any(|amount| *amount <= 0.0) {
        return None;
    }
    for amount in &mut amounts {
        *amount /= *amount + SATURATION;
    }
    amounts.push(f32::from(u8::from(amounts.len() > 1 && together())));
    Some(amounts)
}

fn in_values(word: &mut WordForms, values: &[&[u8]], languages: impl Fn() -> Languages) -> f32 {
    let mut count = 0.0;
    for value in values {
        word.find(value, &languages, |_, near| count += near);
    }
    count
}

fn in_body(word: &mut WordForms, text: &[u8], languages: impl Fn() -> Languages) -> f32 {
    let length = f32::from(u16::try_from(text.len()).unwrap_or(u16::MAX)).min(LONGEST_LENGTH);
    let share = 1.0 - LENGTH_COUNTS + LENGTH_COUNTS * length / USUAL_LENGTH;
    in_values(word, &[text], languages) / share
}

/// The amount of a word in the lines of a header.
fn in_fields(word: &mut WordForms, headers: &[u8], languages: impl Fn() -> Languages) -> f32 {
    let mut count = 0.0;
    word.find(headers, languages, |at, near| {
        let before = headers.get(..at).unwrap_or_default();
        let line = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        let line = headers.get(line..at).unwrap_or_default();
        // In the field's name itself, there is no colon before it.
        let name = line.split(|octet| *octet == b':').next();
        let name = name.filter(|name| name.len() < line.len());
        count += near
            * match name {
                Some(b"subject") => SUBJECT_COUNTS,
                Some(b"from" | b"to" | b"cc" | b"bcc" | b"sender" | b"reply-to") => PEOPLE_COUNT,
                _ => OTHER_FIELDS_COUNT,
            };
    });
    count
}

/// Scores from 1 to 100; the best message has 100 (RFC 6203 §4).
pub(crate) fn scores(relevancies: &[f32]) -> Vec<u8> {
    let most = relevancies.iter().copied().fold(0.0, f32::max);
    relevancies
        .iter()
        .map(|relevancy| {
            if most <= 0.0 {
                return 100;
            }
            // Between 1 and 100, as the clamp says.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let score = (relevancy / most * 100.0).round().clamp(1.0, 100.0) as u8;
            score
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn text(message: &str) -> SearchText {
        esp_mime::search_text(message.as_bytes())
    }

    fn subject() -> Place {
        Place::Header("x-topic".to_owned())
    }

    fn finds(place: &Place, wanted: &str, message: &str) -> bool {
        let mut fuzzy = Fuzzy::new(place, wanted).unwrap();
        let text = text(message);
        fuzzy.judge(0, None, Look::Text(&text, false)) == Verdict::Yes
    }

    /// Relevancies of messages, in their order.
    fn weigh(wanted: &str, messages: &[&str]) -> Vec<f32> {
        let mut fuzzy = Fuzzy::new(&Place::Text, wanted).unwrap();
        let mut all = Vec::new();
        for (position, message) in messages.iter().enumerate() {
            let text = text(message);
            fuzzy.judge(
                position,
                None,
                Look::Signature(&esp_mime::signature(text.all())),
            );
            fuzzy.judge(position, None, Look::Text(&text, true));
            all.push(fuzzy.take_amounts(position));
        }
        let weights = fuzzy.weights(messages.len());
        all.iter()
            .map(|amounts| amounts.iter().zip(&weights).map(|(a, b)| a * b).sum())
            .collect()
    }

    #[test]
    fn every_word_has_to_be_there_in_any_order_and_form() {
        let message = "X-Topic: IMAP is broken\r\n\r\nwe break it\r\n";
        assert!(finds(&Place::Text, "breaking IMAP", message));
        assert!(!finds(&Place::Text, "breaking pop", message));
        assert!(!finds(&Place::Body, "breaking IMAP", message));
        assert!(finds(&Place::Body, "Breaks", message));
        assert!(finds(&subject(), "is the imap", message));
        assert!(!finds(&subject(), "breaks", message));
    }

    #[test]
    fn small_words_count_alone_only() {
        let message = "X-Topic: x\r\n\r\nbill\r\n";
        assert!(finds(&Place::Text, "the bill", message));
        assert!(!finds(&Place::Text, "the", message));
        assert!(finds(&Place::Text, "the", "\r\nthe\r\n"));
        assert!(Fuzzy::new(&Place::Text, "").is_none());
        assert!(Fuzzy::new(&Place::Text, "<!>").is_none());
    }

    #[test]
    fn letters_may_be_wrong_only_when_nothing_was_found() {
        let text = text("\r\nhello again\r\n");
        let judge = |fuzzy: &mut Fuzzy| fuzzy.judge(0, None, Look::Text(&text, false));
        let mut wrong = Fuzzy::new(&Place::Text, "again hullo").unwrap();
        assert_eq!(judge(&mut wrong), Verdict::No);
        assert!(wrong.tolerate());
        assert_eq!(judge(&mut wrong), Verdict::Yes);
        assert!(!wrong.tolerate());
        let mut right = Fuzzy::new(&Place::Text, "hello").unwrap();
        assert_eq!(judge(&mut right), Verdict::Yes);
        assert!(!right.tolerate());
    }

    #[test]
    fn where_and_how_often_words_are_decides() {
        let filler = "lorem ipsum dolor ".repeat(200);
        let messages = [
            "Subject: bill\r\n\r\nx\r\n".to_owned(),
            "Subject: x\r\nFrom: bill@example.test\r\n\r\nx\r\n".to_owned(),
            "Subject: x\r\n\r\nbill\r\n".to_owned(),
            format!("Subject: x\r\n\r\nbill {filler}\r\n"),
            "Subject: x\r\nX-Y: bill\r\n\r\nx\r\n".to_owned(),
            "Subject: x\r\n\r\nx\r\n".to_owned(),
        ];
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        let found = weigh("bill", &messages);
        assert!(found.is_sorted_by(|a, b| a > b), "{found:?}");
        assert_eq!(found.last(), Some(&0.0));
        let twice = weigh("bill", &["\r\nbill bill\r\n", "\r\nbill bell\r\n"]);
        assert!(twice.is_sorted_by(|a, b| a > b));
        let together = weigh("red bill", &["\r\nred bill\r\n", "\r\nbill red\r\n"]);
        assert!(together.is_sorted_by(|a, b| a > b));
    }

    #[test]
    fn a_rare_word_counts_more_than_a_common_one() {
        let mut messages = vec![
            "\r\ncommon rare rare rare\r\n",
            "\r\ncommon common common rare\r\n",
        ];
        messages.extend(["\r\ncommon words\r\n"; 20]);
        let found = weigh("common rare", &messages);
        assert!(found.get(..2).unwrap().is_sorted_by(|a, b| a > b));
        // The same in a mailbox of more messages than are counted.
        let mut fuzzy = Fuzzy::new(&Place::Text, "common rare").unwrap();
        fuzzy.spread = vec![900_000, 70];
        let weights = fuzzy.weights(1_000_000);
        let both = weights.get(..2).unwrap();
        assert!(both.is_sorted_by(|common, rare| *common > 0.0 && *rare > 5.0 * common));
    }

    #[test]
    fn scores_use_the_whole_range() {
        assert_eq!(scores(&[2.0, 1.0, 0.0, 0.001]), [100, 50, 1, 1]);
        assert_eq!(scores(&[0.0, 0.0]), [100, 100]);
        assert_eq!(scores(&[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn what_is_found_plainly_is_found(
            message in "(\\PC|[ \n:a-c]){0,60}",
            from in 0_usize..60,
            length in 1_usize..12,
        ) {
            let message = format!("X-Topic: {}\r\n\r\n{message}", message.replace('\n', " "));
            let text = text(&message);
            let folded = String::from_utf8_lossy(text.text()).into_owned();
            let wanted: String = folded.chars().skip(from).take(length).collect();
            for place in [Place::Text, Place::Body] {
                let scope = if place == Place::Text { Scope::Text } else { Scope::Body };
                if let Some(mut fuzzy) = Fuzzy::new(&place, &wanted)
                    && Needle::new(&wanted).is_in(&text, scope)
                {
                    let signature = esp_mime::signature(text.all());
                    prop_assert_eq!(fuzzy.judge(0, None, Look::Signature(&signature)), Verdict::Text);
                    prop_assert_eq!(fuzzy.judge(0, None, Look::Text(&text, false)), Verdict::Yes);
                }
            }
        }
    }
}
