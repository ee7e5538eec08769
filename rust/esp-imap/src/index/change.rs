//! Changes that the database reports as text for messages of the index: flags changed, messages expunged.

use crate::copy::CopyError;
use crate::set::{SequenceSet, normalise};

/// Flags became `flags & kept | added`.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) modseq: i64,
    pub(super) kept: i64,
    pub(super) added: i64,
    pub(super) ranges: Vec<(u32, u32)>,
}

impl Change {
    /// Mod-sequence, bits kept, bits added, sequence-set of UIDs, separated by spaces.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (modseq, kept, added) = (number()?, number()?, number()?);
        let set = SequenceSet::parse(words.next()?.as_bytes()).ok()?;
        words.next().is_none().then(|| Self {
            modseq,
            kept,
            added,
            ranges: set.resolve(u32::MAX),
        })
    }
}

/// UIDs of rows of `expunged`, as rising ranges.
pub(crate) fn expunged_ranges(texts: &[String]) -> Result<Vec<(u32, u32)>, CopyError> {
    let mut ranges = Vec::new();
    for text in texts {
        let set =
            SequenceSet::parse(text.as_bytes()).map_err(|_| CopyError("expunged is no set"))?;
        ranges.extend(set.resolve(u32::MAX));
    }
    normalise(&mut ranges);
    Ok(ranges)
}
