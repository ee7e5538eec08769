//! The order of SORT (RFC 5256 §3, RFC 5957 §4, RFC 6203 §6).

use crate::cursor::{Cursor, SyntaxError};
use crate::index::Row;
use esp_mime::{Head, HeadKey};
use std::cmp::Ordering;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// ARRIVAL: INTERNALDATE.
    Arrival,
    /// DATE: `Date:`, or INTERNALDATE if there is none.
    Date,
    /// SIZE
    Size,
    /// RELEVANCY: the score, the highest first.
    Relevancy,
    /// SUBJECT, FROM, TO, CC, DISPLAYFROM, DISPLAYTO
    Head(HeadKey),
}

/// One of the criteria.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// What is compared.
    pub by: SortBy,
    /// REVERSE
    pub reverse: bool,
}

impl SortKey {
    const NAMES: [(&'static str, SortBy); 10] = [
        ("ARRIVAL", SortBy::Arrival),
        ("CC", SortBy::Head(HeadKey::Cc)),
        ("DATE", SortBy::Date),
        ("FROM", SortBy::Head(HeadKey::From)),
        ("RELEVANCY", SortBy::Relevancy),
        ("SIZE", SortBy::Size),
        ("SUBJECT", SortBy::Head(HeadKey::Subject)),
        ("TO", SortBy::Head(HeadKey::To)),
        ("DISPLAYFROM", SortBy::Head(HeadKey::DisplayFrom)),
        ("DISPLAYTO", SortBy::Head(HeadKey::DisplayTo)),
    ];

    /// `"(" sort-key *(SP sort-key) ")"`, `sort-key = ["REVERSE" SP] word` (RFC 5256 §5).
    pub(crate) fn read_list(cursor: &mut Cursor<'_>) -> Result<Vec<Self>, SyntaxError> {
        cursor.list(false, |cursor| {
            let reverse = cursor.take_word("REVERSE");
            if reverse {
                cursor.space()?;
            }
            let by = cursor.named("a sort key", &Self::NAMES)?;
            Ok(Self { by, reverse })
        })
    }

    /// Whether heads are needed.
    #[must_use]
    pub fn needs_head(&self) -> bool {
        matches!(self.by, SortBy::Date | SortBy::Head(_))
    }
}

/// When a message was sent, in seconds (RFC 5256 §2.2).
pub(crate) fn sent(row: &Row, head: Head<'_>) -> i64 {
    head.sent()
        .unwrap_or_else(|| row.internal_date.div_euclid(1_000_000))
}

/// How many octets of a text are in its prefix.
const BEGINNING: usize = 15;

/// Whether a prefix (`Column::prefixes`) contains all of its value.
fn whole(prefix: u128) -> bool {
    let [.., length] = prefix.to_be_bytes();
    usize::from(length) <= BEGINNING
}

/// One criterion's values, one for each message.
enum Column<'a> {
    Numbers(Vec<i64>),
    Texts(Vec<&'a [u8]>),
}

impl<'a> Column<'a> {
    fn new(by: SortBy, rows: &[&Row], heads: &[Head<'a>], scores: &[u8]) -> Self {
        match by {
            SortBy::Relevancy => {
                Self::Numbers(scores.iter().map(|score| -i64::from(*score)).collect())
            }
            SortBy::Arrival => Self::Numbers(rows.iter().map(|row| row.internal_date).collect()),
            SortBy::Size => {
                let size = |row: &&Row| i64::try_from(row.size).unwrap_or(i64::MAX);
                Self::Numbers(rows.iter().map(size).collect())
            }
            SortBy::Date => {
                let both = rows.iter().zip(heads);
                Self::Numbers(both.map(|(row, head)| sent(row, *head)).collect())
            }
            SortBy::Head(key) => Self::Texts(heads.iter().map(|head| head.key(key)).collect()),
        }
    }

    /// Numbers in the order of the values where they differ; equal numbers mean equal values if they are `whole`.
    fn prefixes(&self) -> Vec<u128> {
        match self {
            Self::Numbers(numbers) => numbers
                .iter()
                .map(|number| u128::from(number.cast_unsigned() ^ (1 << 63)) << 64)
                .collect(),
            Self::Texts(texts) => texts
                .iter()
                .map(|text| {
                    let mut first = [0; 16];
                    for (to, from) in first.iter_mut().zip(text.iter().take(BEGINNING)) {
                        *to = *from;
                    }
                    // Distinguishes "a" from "a" and a NUL, and a complete value from one that goes on.
                    let length = text.len().min(BEGINNING + 1);
                    u128::from_be_bytes(first) | length as u128
                })
                .collect(),
        }
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        match self {
            Self::Numbers(numbers) => numbers.get(a).cmp(&numbers.get(b)),
            Self::Texts(texts) => texts.get(a).cmp(&texts.get(b)),
        }
    }
}

/// Return the places of `rows` in the order asked for; ties keep their order, even with REVERSE (RFC 5256 §3).
///
/// `heads` and `scores` are those of the rows; they may be omitted if no key needs them.
pub(crate) fn sorted(
    rows: &[&Row],
    heads: &[Head<'_>],
    scores: &[u8],
    keys: &[SortKey],
) -> Vec<usize> {
    let columns: Vec<(Column<'_>, bool)> = keys
        .iter()
        .map(|key| (Column::new(key.by, rows, heads, scores), key.reverse))
        .collect();
    let Some((first, reverse)) = columns.first() else {
        return (0..rows.len()).collect();
    };
    // Mostly a few octets decide, and these are together in memory.
    let mut places: Vec<(u128, usize)> = first.prefixes().into_iter().zip(0..).collect();
    let flip = if *reverse { u128::MAX } else { 0 };
    for (prefix, _) in &mut places {
        *prefix ^= flip;
    }
    places.sort_by(|(a_prefix, a), (b_prefix, b)| {
        a_prefix.cmp(b_prefix).then_with(|| {
            columns
                .iter()
                .skip(usize::from(whole(a_prefix ^ flip)))
                .map(|(column, reverse)| {
                    let order = column.compare(*a, *b);
                    if *reverse { order.reverse() } else { order }
                })
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    });
    places.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_in_the_order_of_texts_and_whole_ones_tell_all() {
        let texts: [&[u8]; 10] = [
            b"",
            b"\0",
            b"a",
            b"a\0",
            b"a\0\0b",
            b"fifteen octets!",
            b"fifteen octets!\0",
            b"fifteen octets!!",
            b"fifteen octets!! and more",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ];
        let prefixes = Column::Texts(texts.to_vec()).prefixes();
        for (a_prefix, a) in prefixes.iter().zip(texts) {
            for (b_prefix, b) in prefixes.iter().zip(texts) {
                let order = a_prefix.cmp(b_prefix);
                if order.is_ne() || whole(*a_prefix) {
                    assert_eq!(order, a.cmp(b), "{a:?} {b:?}");
                }
            }
        }
        let entire: Vec<bool> = prefixes.into_iter().map(whole).collect();
        assert_eq!(entire, [[true; 6].as_slice(), &[false; 4]].concat());
    }

    #[test]
    fn prefixes_of_numbers_are_whole_and_in_their_order() {
        let prefixes = Column::Numbers(vec![i64::MIN, -1, 0, 1, i64::MAX]).prefixes();
        assert!(prefixes.is_sorted_by(|a, b| a < b));
        assert!(prefixes.into_iter().all(whole));
    }
}
