//! Sequence sets (RFC 3501 §9): parsing, resolving, writing.

use crate::cursor::{Cursor, SyntaxError};
use std::fmt::Write as _;

/// `sequence-set`, or `$` (RFC 5182 §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet {
    /// As written: `(first, last)` with 0 for `*`.
    ranges: Vec<(u32, u32)>,
    saved: bool,
}

impl SequenceSet {
    /// Parse a complete text.
    ///
    /// # Errors
    /// `SyntaxError` when it is not a sequence-set.
    pub fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor::new(text);
        let set = Self::read(&mut cursor)?;
        cursor.end()?;
        Ok(set)
    }

    /// `sequence-set = (seq-number / seq-range) ["," sequence-set] / "$"`.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        if cursor.take_octet(b'$') {
            return Ok(Self {
                ranges: Vec::new(),
                saved: true,
            });
        }
        let mut ranges = Vec::new();
        loop {
            let first = seq_number(cursor)?;
            let last = if cursor.take_octet(b':') {
                seq_number(cursor)?
            } else {
                first
            };
            ranges.push((first, last));
            if !cursor.take_octet(b',') {
                return Ok(Self {
                    ranges,
                    saved: false,
                });
            }
        }
    }

    /// From one number to another.
    pub(crate) fn range(first: u32, last: u32) -> Self {
        Self {
            ranges: vec![(first, last)],
            saved: false,
        }
    }

    /// Whether it is `$`.
    #[must_use]
    pub fn saved(&self) -> bool {
        self.saved
    }

    /// The ranges as written, `(first, last)` with 0 for `*`.
    #[must_use]
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Whether it contains `*`.
    #[must_use]
    pub fn has_star(&self) -> bool {
        self.ranges
            .iter()
            .any(|(first, last)| *first == 0 || *last == 0)
    }

    /// Whether its numbers were written in rising order, each only once.
    pub(crate) fn rises(&self) -> bool {
        self.ranges.iter().all(|(first, last)| first <= last)
            && self
                .ranges
                .windows(2)
                .all(|pair| matches!(pair, [before, after] if before.1 < after.0))
    }

    /// How many numbers there are in a set without `*`, in which no number is named twice.
    pub(crate) fn count(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(first, last)| u64::from(first.abs_diff(*last)) + 1)
            .sum()
    }

    /// Rising, disjoint, inclusive ranges, where `*` is `largest`.
    #[must_use]
    pub fn resolve(&self, largest: u32) -> Vec<(u32, u32)> {
        let star = |number: u32| if number == 0 { largest } else { number };
        let mut ranges: Vec<(u32, u32)> = self
            .ranges
            .iter()
            .map(|&(first, last)| {
                let (first, last) = (star(first), star(last));
                (first.min(last), first.max(last))
            })
            .collect();
        normalise(&mut ranges);
        ranges
    }
}

impl std::fmt::Display for SequenceSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.saved {
            return out.write_char('$');
        }
        let number = |out: &mut std::fmt::Formatter<'_>, value: u32| {
            if value == 0 {
                out.write_char('*')
            } else {
                write!(out, "{value}")
            }
        };
        for (position, &(first, last)) in self.ranges.iter().enumerate() {
            if position > 0 {
                out.write_char(',')?;
            }
            number(out, first)?;
            if first != last {
                out.write_char(':')?;
                number(out, last)?;
            }
        }
        Ok(())
    }
}

/// Sort ranges and join adjacent ones.
pub(crate) fn normalise(ranges: &mut Vec<(u32, u32)>) {
    if ranges.windows(2).any(|pair| match pair {
        [a, b] => b.0 <= a.1.saturating_add(1),
        _ => false,
    }) {
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for &(first, last) in ranges.iter() {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => joined.push((first, last)),
            }
        }
        *ranges = joined;
    }
}

/// Whether rising, disjoint ranges contain a number.
pub(crate) fn contains(ranges: &[(u32, u32)], number: u32) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= number);
    behind
        .checked_sub(1)
        .and_then(|range| ranges.get(range))
        .is_some_and(|(_, last)| number <= *last)
}

/// The intersection of two lists of rising, disjoint ranges.
pub(crate) fn intersect(one: &[(u32, u32)], other: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut common = Vec::new();
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let (first, last) = (a.0.max(b.0), a.1.min(b.1));
        if first <= last {
            common.push((first, last));
        }
        if a.1 < b.1 {
            one.next();
        } else {
            other.next();
        }
    }
    common
}

/// Rising numbers as ranges.
pub(crate) fn ranges_of(numbers: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(range) if number == range.1.saturating_add(1) => range.1 = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// `seq-number = nz-number / "*"`; 0 stands for `*`.
fn seq_number(cursor: &mut Cursor<'_>) -> Result<u32, SyntaxError> {
    if cursor.take_octet(b'*') {
        return Ok(0);
    }
    match cursor.number()? {
        0 => Err(cursor.error("a number above zero or *")),
        number => u32::try_from(number).map_err(|_| cursor.error("a number below 4,294,967,296")),
    }
}

/// Write numbers as a compact set, in their order.
#[must_use]
pub fn encode_set(numbers: &[u32]) -> String {
    let mut out = String::new();
    let mut rest = numbers.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while rest.peek().copied() == last.checked_add(1) {
            last = rest.next().unwrap_or(last);
        }
        if !out.is_empty() {
            out.push(',');
        }
        let _ = if first == last {
            write!(out, "{first}")
        } else {
            write!(out, "{first}:{last}")
        };
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_set_is_written_as_it_was_read() {
        for text in ["1", "1:3,7", "*", "4:*", "*:4", "$", "3,1"] {
            assert_eq!(
                SequenceSet::parse(text.as_bytes()).unwrap().to_string(),
                text
            );
        }
    }

    #[test]
    fn zero_and_overflow_are_no_numbers() {
        for text in [
            "0",
            "1:0",
            "4294967296",
            "",
            "1,",
            "1:",
            "a",
            "1 ",
            "-1",
            "+1",
        ] {
            assert!(SequenceSet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_joined_and_may_be_written_backwards() {
        let set = SequenceSet::parse(b"9:7,1,2,*:8,3:4").unwrap();
        assert_eq!(set.resolve(10), [(1, 4), (7, 10)]);
    }

    #[test]
    fn ranges_are_cut_by_others() {
        assert_eq!(
            intersect(&[(1, 4), (7, 10), (20, 20)], &[(3, 8), (10, 30)]),
            [(3, 4), (7, 8), (10, 10), (20, 20)]
        );
        assert_eq!(intersect(&[(1, 4)], &[(5, 9)]), []);
        assert_eq!(ranges_of([1, 2, 3, 7, 9, 10]), [(1, 3), (7, 7), (9, 10)]);
    }

    proptest! {
        #[test]
        fn a_range_is_found_among_many(numbers in prop::collection::btree_set(1u32..60, 0..40), wanted in 0u32..62) {
            let ranges = ranges_of(numbers.iter().copied());
            prop_assert_eq!(contains(&ranges, wanted), numbers.contains(&wanted));
        }

        #[test]
        fn numbers_survive_the_wire(mut numbers in prop::collection::vec(1u32..60, 1..40)) {
            numbers.sort_unstable();
            numbers.dedup();
            let set = SequenceSet::parse(encode_set(&numbers).as_bytes()).unwrap();
            let back: Vec<u32> = set.resolve(0).into_iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(back, numbers);
        }
    }
}
