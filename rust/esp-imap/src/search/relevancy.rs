//! How relevant found messages are (RFC 6203 §4): by how much they have of the words of FUZZY.

use crate::fuzzy::scores;
use crate::search_test::Test;
use std::collections::HashMap;

pub(super) struct Relevancy {
    /// Whether words of FUZZY make scores.
    scored: bool,
    /// What there is of these words in messages, by position.
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

    /// A message is found; what there is of the words is still to be weighed.
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

    /// None is found any longer.
    pub(super) fn clear(&mut self) {
        self.amounts.clear();
    }

    /// All are found; weigh the words, each by how rare it is in so many messages.
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

    /// 1 to 100.
    pub(super) fn score(&self, position: usize) -> u8 {
        // Where no word was looked for, all are what was asked for.
        self.scores.get(&position).copied().unwrap_or(100)
    }
}
