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
    /// DATE: `Date:`, or INTERNALDATE without one.
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

    /// Numbers that are in the order of the values where they differ; equal ones must be compared in full.
    fn prefixes(&self) -> Vec<u64> {
        match self {
            Self::Numbers(numbers) => numbers
                .iter()
                .map(|number| number.cast_unsigned() ^ (1 << 63))
                .collect(),
            Self::Texts(texts) => texts
                .iter()
                .map(|text| {
                    let mut first = [0; 8];
                    for (to, from) in first.iter_mut().zip(*text) {
                        *to = *from;
                    }
                    u64::from_be_bytes(first)
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

/// Return the places of `rows` in the order asked for; ties keep theirs, whatever is reversed (RFC 5256 §3).
///
/// `heads` and `scores` are those of the rows; they may be left out when no key needs them.
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
    // Mostly a few octets decide, and these stand together.
    let mut places: Vec<(u64, usize)> = first.prefixes().into_iter().zip(0..).collect();
    let flip = if *reverse { u64::MAX } else { 0 };
    for (prefix, _) in &mut places {
        *prefix ^= flip;
    }
    places.sort_unstable_by(|(a_prefix, a), (b_prefix, b)| {
        a_prefix.cmp(b_prefix).then_with(|| {
            columns
                .iter()
                .map(|(column, reverse)| {
                    let order = column.compare(*a, *b);
                    if *reverse { order.reverse() } else { order }
                })
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.cmp(b))
        })
    });
    places.into_iter().map(|(_, place)| place).collect()
}
