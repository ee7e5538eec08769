//! What a SEARCH or SORT is to answer (RFC 4731 §3.1, RFC 5182 §2.1, RFC 5267 §3 and §4, RFC 6203 §4, RFC 9394 §3.1).

use crate::cursor::{Cursor, SyntaxError};
use crate::fetch_items::FetchItems;
use std::sync::Arc;

/// `partial-range`: the first and last place of the results wanted, from 1; negative numbers count from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    first: i64,
    last: i64,
}

impl Partial {
    /// The results wanted, in their order.
    #[must_use]
    pub fn of<'a, T>(&self, results: &'a [T]) -> &'a [T] {
        results.get(self.places(results.len())).unwrap_or_default()
    }

    /// Which places are wanted, of `count` results.
    pub(crate) fn places(&self, count: usize) -> std::ops::Range<usize> {
        let (low, high) = (self.first.min(self.last), self.first.max(self.last));
        let place = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let (from, to) = if low > 0 {
            (place(low - 1), place(high))
        } else {
            let from_end = |number: i64| count.saturating_sub(place(-number));
            (from_end(low), from_end(high + 1))
        };
        let to = to.min(count);
        from.min(to)..to
    }
}

impl std::fmt::Display for Partial {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // RFC 9394 §3.1: 500:400 is the same as 400:500. It is written as a range that counts from its end, as in
        // Dovecot.
        let (near, far) = if self.first.abs() <= self.last.abs() {
            (self.first, self.last)
        } else {
            (self.last, self.first)
        };
        write!(out, "{near}:{far}")
    }
}

/// The options of `RETURN (…)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Returns {
    /// Names, in upper case.
    pub options: Vec<&'static str>,
    /// The range of the option PARTIAL.
    pub partial: Option<Partial>,
    /// Fetch items of the option UPDATE, for new messages that enter the result (RFC 5465 §7).
    pub fetch: Option<Arc<FetchItems>>,
}

const OPTIONS: [&str; 9] = [
    "MIN",
    "MAX",
    "ALL",
    "COUNT",
    "SAVE",
    "PARTIAL",
    "UPDATE",
    "CONTEXT",
    "RELEVANCY",
];
/// Options that ask for no result.
const SILENT: [&str; 3] = ["SAVE", "UPDATE", "CONTEXT"];

impl Returns {
    /// Parse the options without their parentheses.
    ///
    /// # Errors
    /// `SyntaxError` when they are not options.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let octets = format!("RETURN ({text}) ").into_bytes();
        let mut cursor = Cursor::new(&octets);
        let returns = Self::read(&mut cursor)?;
        cursor.end()?;
        Ok(returns.unwrap_or_default())
    }

    /// `"RETURN" SP "(" [option *(SP option)] ")" SP`, if it is there.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, SyntaxError> {
        if !cursor.take_word("RETURN") {
            return Ok(None);
        }
        cursor.space()?;
        let mut returns = Self::default();
        cursor.list(true, |cursor| {
            let option = OPTIONS
                .into_iter()
                .find(|option| cursor.take_word(option))
                .ok_or_else(|| cursor.error(format!("one of {}", OPTIONS.join(" "))))?;
            if option == "PARTIAL" {
                cursor.space()?;
                if returns.partial.is_some() {
                    return Err(cursor.error("PARTIAL once"));
                }
                returns.partial = Some(read_partial(cursor)?);
            }
            if option == "UPDATE" {
                returns.fetch = read_update(cursor)?;
            }
            if !returns.options.contains(&option) {
                returns.options.push(option);
            }
            Ok(())
        })?;
        // RFC 5267 §4.4: the two contradict each other.
        if returns.has("ALL") && returns.has("PARTIAL") {
            return Err(cursor.error("either ALL or PARTIAL"));
        }
        // RFC 4731 §3.1: no option is ALL; RFC 5182 §2.1: SAVE alone returns nothing; RFC 5267 §4.3: UPDATE alone is
        // ALL.
        let silent = returns.options.iter().all(|option| SILENT.contains(option));
        let asked = |option: &&str| *option != "RELEVANCY" && !SILENT.contains(option);
        // Scores of messages that are not named are of no use: RELEVANCY alone implies ALL, with or without SAVE.
        let scores_only = returns.has("RELEVANCY") && !returns.options.iter().any(asked);
        if scores_only || (silent && !returns.has("SAVE")) {
            returns.options.push("ALL");
        }
        cursor.space()?;
        Ok(Some(returns))
    }

    /// Whether an option was given.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    /// Whether no result is asked for.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.options.iter().all(|option| SILENT.contains(option))
    }

    /// Of the results, in their order, those whose scores RELEVANCY tells: those that the response names, or all if it
    /// names none (RFC 6203 §4).
    pub(crate) fn scored<'a, T: Copy>(&self, results: &'a [T]) -> std::borrow::Cow<'a, [T]> {
        if self.has("ALL") {
            return results.into();
        }
        if let Some(partial) = self.partial {
            return partial.of(results).into();
        }
        let ends = [("MIN", results.first()), ("MAX", results.last())];
        let named: Vec<T> = ends
            .into_iter()
            .filter(|(option, _)| self.has(option))
            .filter_map(|(_, result)| result.copied())
            .collect();
        if self.has("MIN") || self.has("MAX") {
            return named.into();
        }
        results.into()
    }

    /// Of the results, in their order, those that become `$` (RFC 5182 §2.4, RFC 9394 §3.4).
    #[must_use]
    pub fn saved(&self, results: &[u32]) -> Vec<u32> {
        let ends = self.has("MIN") || self.has("MAX");
        // RFC 5182 §2.4, RFC 9394 §3.2.
        if self.has("ALL") || self.has("COUNT") || !(ends || self.has("PARTIAL")) {
            return results.to_vec();
        }
        let mut saved = self
            .partial
            .map_or_else(Vec::new, |partial| partial.of(results).to_vec());
        if self.has("MIN") {
            saved.extend(results.first());
        }
        if self.has("MAX") {
            saved.extend(results.last());
        }
        saved.sort_unstable();
        saved.dedup();
        saved
    }
}

/// `modifier-update = "UPDATE" ["(" fetch-att *(SP fetch-att) ")"]`; the RFC's own examples have a space between.
fn read_update(cursor: &mut Cursor<'_>) -> Result<Option<Arc<FetchItems>>, SyntaxError> {
    let mut ahead = cursor.clone();
    ahead.take_octet(b' ');
    if ahead.peek() != Some(b'(') {
        return Ok(None);
    }
    cursor.take_octet(b' ');
    Ok(Some(Arc::new(FetchItems::read_peeking(cursor)?)))
}

/// `partial-range = (nz-number ":" nz-number) / ("-" nz-number ":" "-" nz-number)` (RFC 9394 §5).
pub(crate) fn read_partial(cursor: &mut Cursor<'_>) -> Result<Partial, SyntaxError> {
    let from_end = cursor.peek() == Some(b'-');
    let number = |cursor: &mut Cursor<'_>| {
        if from_end {
            cursor.expect(b'-')?;
        }
        let number = u32::try_from(cursor.number()?).unwrap_or(0);
        if number == 0 {
            return Err(cursor.error("a number from 1 to 4,294,967,295"));
        }
        Ok(if from_end {
            -i64::from(number)
        } else {
            i64::from(number)
        })
    };
    let first = number(cursor)?;
    cursor.expect(b':')?;
    let last = number(cursor)?;
    Ok(Partial { first, last })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(text: &str) -> Vec<&'static str> {
        Returns::parse(text).unwrap().options
    }

    #[test]
    fn nothing_is_all_and_what_only_acts_asks_for_nothing() {
        assert_eq!(options(""), ["ALL"]);
        assert_eq!(options("SAVE"), ["SAVE"]);
        assert_eq!(options("UPDATE"), ["UPDATE", "ALL"]);
        assert_eq!(
            options("COUNT UPDATE (UID FLAGS) MIN"),
            ["COUNT", "UPDATE", "MIN"]
        );
        assert_eq!(options("UPDATE(UID)"), ["UPDATE", "ALL"]);
        assert_eq!(options("COUNT update count"), ["COUNT", "UPDATE"]);
        assert!(Returns::parse("SAVE").unwrap().is_silent());
    }

    #[test]
    fn contradictions_are_refused() {
        for text in [
            "ALL PARTIAL 1:2",
            "PARTIAL 1:2 PARTIAL 3:4",
            "PARTIAL 0:1",
            "PARTIAL -1:1",
            "PARTIAL 1",
            "FOO",
            "RELEVANCY 1",
        ] {
            assert!(Returns::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_may_be_counted_from_either_end_and_beyond() {
        let part = |text: &str| {
            let partial = Returns::parse(&format!("PARTIAL {text}")).unwrap().partial;
            partial.unwrap().of(&[10, 20, 30, 40, 50]).to_vec()
        };
        assert_eq!(part("1:2"), [10, 20]);
        assert_eq!(part("4:2"), [20, 30, 40]);
        assert_eq!(part("5:9"), [50]);
        assert_eq!(part("6:9"), [0; 0]);
        assert_eq!(part("-1:-2"), [40, 50]);
        assert_eq!(part("-4:-9"), [10, 20]);
        assert_eq!(part("-6:-9"), [0; 0]);
    }

    #[test]
    fn scores_are_told_of_what_is_named() {
        let scored = |text: &str| {
            let returns = Returns::parse(text).unwrap();
            returns.scored(&[1, 2, 3, 4]).to_vec()
        };
        assert_eq!(options("RELEVANCY"), ["RELEVANCY", "ALL"]);
        assert_eq!(options("RELEVANCY SAVE"), ["RELEVANCY", "SAVE", "ALL"]);
        assert_eq!(options("RELEVANCY COUNT"), ["RELEVANCY", "COUNT"]);
        assert_eq!(scored("RELEVANCY MIN ALL"), [1, 2, 3, 4]);
        assert_eq!(scored("RELEVANCY PARTIAL 2:3 MAX"), [2, 3]);
        assert_eq!(scored("RELEVANCY MAX"), [4]);
        assert_eq!(scored("RELEVANCY COUNT MAX MIN"), [1, 4]);
        assert_eq!(scored("RELEVANCY COUNT"), [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_saved_follows_from_what_is_asked_for() {
        let saved = |text: &str| Returns::parse(text).unwrap().saved(&[1, 2, 3, 4]);
        assert_eq!(saved("SAVE"), [1, 2, 3, 4]);
        assert_eq!(saved("SAVE MIN"), [1]);
        assert_eq!(saved("SAVE MIN MAX"), [1, 4]);
        assert_eq!(saved("SAVE MIN COUNT"), [1, 2, 3, 4]);
        assert_eq!(saved("SAVE COUNT"), [1, 2, 3, 4]);
        assert_eq!(saved("SAVE PARTIAL 2:3"), [2, 3]);
        assert_eq!(saved("SAVE PARTIAL 2:3 COUNT"), [1, 2, 3, 4]);
        assert_eq!(saved("SAVE PARTIAL 2:3 MAX"), [2, 3, 4]);
    }
}
