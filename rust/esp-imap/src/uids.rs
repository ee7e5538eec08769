//! Lists of UIDs that share common parts.

use std::sync::Arc;

/// UIDs in a chunk; a new message copies one chunk, and lists that differ elsewhere share it.
const CHUNK: usize = 1024;

/// Rising UIDs. Position + 1 is the sequence number.
#[derive(Debug, Clone, Default)]
pub(crate) struct UidList {
    chunks: Vec<Arc<[u32]>>,
    /// The number of UIDs before each chunk.
    before: Vec<u32>,
    length: u32,
}

impl UidList {
    fn new(chunks: Vec<Arc<[u32]>>) -> Self {
        let mut length = 0;
        let before = chunks
            .iter()
            .map(|chunk| {
                let before = length;
                length += u32::try_from(chunk.len()).unwrap_or(0);
                before
            })
            .collect();
        Self {
            chunks,
            before,
            length,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }

    pub(crate) fn last(&self) -> Option<u32> {
        self.chunks.last()?.last().copied()
    }

    pub(crate) fn get(&self, position: usize) -> Option<u32> {
        let chunk = self
            .before
            .partition_point(|before| (*before as usize) <= position)
            .checked_sub(1)?;
        let before = *self.before.get(chunk)? as usize;
        self.chunks.get(chunk)?.get(position - before).copied()
    }

    /// The position of `uid`, or where it would be.
    pub(crate) fn position(&self, uid: u32) -> Result<usize, usize> {
        let chunk = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(|first| *first <= uid));
        let Some(chunk) = chunk.checked_sub(1) else {
            return Err(0);
        };
        let (Some(uids), Some(before)) = (self.chunks.get(chunk), self.before.get(chunk)) else {
            return Err(self.len());
        };
        let before = *before as usize;
        match uids.binary_search(&uid) {
            Ok(position) => Ok(before + position),
            Err(position) => Err(before + position),
        }
    }

    pub(crate) fn contains(&self, uid: u32) -> bool {
        self.position(uid).is_ok()
    }

    /// UIDs from a position on.
    pub(crate) fn iter_from(&self, position: usize) -> impl Iterator<Item = u32> + '_ {
        let chunk = self
            .before
            .partition_point(|before| (*before as usize) <= position)
            .saturating_sub(1);
        let skipped = self
            .before
            .get(chunk)
            .map_or(0, |before| position - *before as usize);
        self.chunks
            .get(chunk..)
            .unwrap_or_default()
            .iter()
            .flat_map(|chunk| chunk.iter().copied())
            .skip(skipped)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.chunks.iter().flat_map(|chunk| chunk.iter().copied())
    }

    /// This list and `uids`, which are in rising order and greater than all of it.
    pub(crate) fn append(&self, uids: &[u32]) -> Self {
        let mut chunks = self.chunks.clone();
        let mut rest = uids;
        if let Some(last) = chunks.last_mut()
            && last.len() < CHUNK
        {
            let (head, tail) = rest.split_at(rest.len().min(CHUNK - last.len()));
            *last = last.iter().chain(head).copied().collect();
            rest = tail;
        }
        chunks.extend(rest.chunks(CHUNK).map(Arc::from));
        Self::new(chunks)
    }

    /// This list without `gone`, which are in rising order.
    pub(crate) fn without(&self, gone: &[u32]) -> Self {
        let chunks = self
            .chunks
            .iter()
            .filter_map(|chunk| {
                let (first, last) = (*chunk.first()?, *chunk.last()?);
                let from = gone.partition_point(|uid| *uid < first);
                let to = gone.partition_point(|uid| *uid <= last);
                let gone = gone.get(from..to).unwrap_or_default();
                if gone.is_empty() {
                    return Some(Arc::clone(chunk));
                }
                let left: Arc<[u32]> = chunk
                    .iter()
                    .copied()
                    .filter(|uid| gone.binary_search(uid).is_err())
                    .collect();
                (!left.is_empty()).then_some(left)
            })
            .collect();
        Self::new(chunks)
    }

    /// UIDs of this list that `other` lacks; chunks that both share are skipped.
    pub(crate) fn missing_in(&self, other: &Self) -> Vec<u32> {
        let same = self
            .chunks
            .iter()
            .zip(&other.chunks)
            .take_while(|(one, other)| Arc::ptr_eq(one, other))
            .count();
        let rest = |list: &Self| list.chunks.get(same..).unwrap_or_default().to_vec();
        let shared: std::collections::HashSet<*const u32> =
            rest(other).iter().map(|chunk| chunk.as_ptr()).collect();
        rest(self)
            .iter()
            .filter(|chunk| !shared.contains(&chunk.as_ptr()))
            .flat_map(|chunk| chunk.iter().copied())
            .filter(|uid| !other.contains(*uid))
            .collect()
    }

    /// How many UIDs lie in an inclusive range.
    pub(crate) fn count(&self, first: u32, last: u32) -> usize {
        let from = self.position(first).unwrap_or_else(|position| position);
        let to = self
            .position(last)
            .map_or_else(|position| position, |position| position + 1);
        to.saturating_sub(from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_is_what_was_put_in(
            steps in prop::collection::vec((1usize..2_000, prop::collection::vec(any::<prop::sample::Index>(), 0..20)), 1..8)
        ) {
            let mut model: Vec<u32> = Vec::new();
            let mut list = UidList::default();
            let mut next = 1;
            for (count, gone) in steps {
                let added: Vec<u32> = (0..count as u32).map(|step| next + step * 2).collect();
                next = added[added.len() - 1] + 1;
                model.extend(&added);
                let longer = list.append(&added);
                prop_assert!(list.missing_in(&longer).is_empty());
                let mut gone: Vec<u32> = gone.iter().map(|index| *index.get(&model)).collect();
                gone.sort_unstable();
                gone.dedup();
                model.retain(|uid| !gone.contains(uid));
                list = longer.without(&gone);
                prop_assert_eq!(longer.missing_in(&list), gone);
                prop_assert_eq!(list.iter().collect::<Vec<_>>(), model.clone());
                for (position, uid) in model.iter().enumerate().step_by(97) {
                    prop_assert_eq!(list.get(position), Some(*uid));
                    prop_assert_eq!(list.position(*uid), Ok(position));
                }
                prop_assert_eq!(list.get(model.len()), None);
            }
        }
    }
}
