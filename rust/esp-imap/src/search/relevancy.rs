//! How relevant found messages are (RFC 6203 §4): by how much they contain of FUZZY's words.

use crate::criteria::Test;
use crate::fuzzy::scores;
use std::collections::HashMap;

pub(super) struct Relevancy {
    /// Whether words of FUZZY make scores.
    scored: bool,
    /// How much of these words messages have, by position.
    amounts: HashMap<usize, Vec<f32>>,
    scores: HashMap<usize, u8>,
}

impl Relevancy {
    pub(super) fn of(test: &Test) -> Self {
        Self {
            scored: test.fuzzy(false).next().is_some(),
            amounts: HashMap::new(),
            scores: HashMap::new(),
        }
    }

    /// Note a found message; the amounts of its words are weighed later.
    #[inline]
    pub(super) fn add(&mut self, test: &Test, position: usize) {
        if !self.scored {
            return;
        }
        let mut all = Vec::new();
        for words in test.fuzzy(false) {
            all.extend(words.borrow_mut().take_amounts(position));
        }
        self.amounts.insert(position, all);
    }

    /// Forget all found messages.
    pub(super) fn clear(&mut self) {
        self.amounts.clear();
    }

    /// All messages are found; weigh the words, each by how rare it is among `messages` messages.
    pub(super) fn weigh(&mut self, test: &Test, messages: usize) {
        if self.amounts.is_empty() {
            return;
        }
        let weights: Vec<f32> = test
            .fuzzy(false)
            .flat_map(|words| words.borrow().weights(messages))
            .collect();
        let weigh = |amounts: &Vec<f32>| amounts.iter().zip(&weights).map(|(a, b)| a * b).sum();
        let relevancies: Vec<f32> = self.amounts.values().map(weigh).collect();
        let positions = self.amounts.keys().copied();
        self.scores = positions.zip(scores(&relevancies)).collect();
    }

    /// The score, 1 to 100.
    pub(super) fn score(&self, position: usize) -> u8 {
        // If no word was searched for, all are what was asked for.
        self.scores.get(&position).copied().unwrap_or(100)
    }
}
