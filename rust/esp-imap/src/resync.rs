//! What a returning client has missed (RFC 7162 §3.2.5, §3.2.6, §3.2.10).

use crate::copy::CopyError;
use crate::index::expunged_ranges;
use crate::set::{SequenceSet, intersect, normalise};
use crate::uids::UidList;
use crate::view::{Known, View};
use std::io::Write as _;

/// Octets of UIDs in a VANISHED response; a longer list goes into several.
const LINE: usize = 4_000;

/// Append `VANISHED` responses; `tag` is the text between the word and the UIDs.
pub(crate) fn write_vanished(out: &mut Vec<u8>, tag: &str, ranges: &[(u32, u32)]) {
    let mut begun = usize::MAX;
    for &(first, last) in ranges {
        if begun == usize::MAX {
            let _ = write!(out, "* VANISHED {tag}");
            begun = out.len();
        } else {
            out.push(b',');
        }
        let _ = if first == last {
            write!(out, "{first}")
        } else {
            write!(out, "{first}:{last}")
        };
        if out.len() - begun > LINE {
            out.extend_from_slice(b"\r\n");
            begun = usize::MAX;
        }
    }
    if begun != usize::MAX {
        out.extend_from_slice(b"\r\n");
    }
}

/// The parts of `ranges` that no UID of `present` is in.
fn without(ranges: &[(u32, u32)], present: &UidList) -> Vec<(u32, u32)> {
    let mut left = Vec::new();
    for &(first, last) in ranges {
        let from = present.position(first).unwrap_or_else(|position| position);
        let mut next = Some(first);
        for uid in present.iter_from(from).take_while(|uid| *uid <= last) {
            if let Some(start) = next
                && start < uid
            {
                left.push((start, uid - 1));
            }
            next = uid.checked_add(1);
        }
        if let Some(start) = next
            && start <= last
        {
            left.push((start, last));
        }
    }
    left
}

/// The greatest UID up to which a client's sequence numbers are still right: nothing before it is expunged
/// (RFC 7162 §3.2.5.2). The sets rise and have the same number of members.
fn matched_uid(known: &Known, numbers: &SequenceSet, uids: &SequenceSet) -> u32 {
    let stands = |number: u32, uid: u32| {
        (number as usize)
            .checked_sub(1)
            .and_then(|position| known.uids.get(position))
            == Some(uid)
    };
    let mut matched = 0;
    let (mut numbers, mut uids) = (numbers.ranges().iter(), uids.ranges().iter());
    let (mut number, mut uid) = (numbers.next().copied(), uids.next().copied());
    while let (Some((first, last)), Some((first_uid, last_uid))) = (number, uid) {
        let more = (last - first).min(last_uid - first_uid);
        // If one pair matches, all before it do: the last one of a run is found by bisection.
        let (mut standing, mut falling) = (0, u64::from(more) + 1);
        while standing < falling {
            let middle = (standing + falling) / 2;
            let offset = u32::try_from(middle).unwrap_or(u32::MAX);
            if stands(
                first.saturating_add(offset),
                first_uid.saturating_add(offset),
            ) {
                standing = middle + 1;
            } else {
                falling = middle;
            }
        }
        if standing > 0 {
            matched = first_uid + u32::try_from(standing - 1).unwrap_or(more);
        }
        if standing <= u64::from(more) {
            break;
        }
        let rest = |first: u32, last: u32| (first + more < last).then(|| (first + more + 1, last));
        number = rest(first, last).or_else(|| numbers.next().copied());
        uid = rest(first_uid, last_uid).or_else(|| uids.next().copied());
    }
    matched
}

impl View {
    /// `VANISHED (EARLIER)`: which of the UIDs that a client knows were expunged after a mod-sequence.
    ///
    /// # Arguments
    /// * `expunged`: what was expunged since, rows of `expunged`; `None` if that is not remembered. Then all UIDs
    ///   without a message count as expunged.
    /// * `uids`: what the client knows; `None` for all UIDs ever assigned.
    /// * `matched`: sequence numbers and the UIDs that they had.
    ///
    /// # Errors
    /// `CopyError` when a text of `expunged` is not a set.
    pub fn vanished_earlier(
        &self,
        expunged: Option<&[String]>,
        uids: Option<&SequenceSet>,
        matched: Option<(&SequenceSet, &SequenceSet)>,
    ) -> Result<Vec<u8>, CopyError> {
        let known = self.known();
        let mut out = Vec::new();
        let Some(greatest) = self.index().uidnext().checked_sub(1).filter(|uid| *uid > 0) else {
            return Ok(out);
        };
        let mut ranges = match uids {
            Some(set) if set.saved() => known.saved.clone(),
            // Here `*` reaches beyond the last remaining message: the UIDs after it are just those asked about.
            Some(set) => set.resolve(greatest),
            None => vec![(1, greatest)],
        };
        normalise(&mut ranges);
        let matched = matched.map_or(0, |(numbers, uids)| matched_uid(&known, numbers, uids));
        ranges = intersect(&ranges, &[(matched.saturating_add(1), greatest)]);
        if let Some(expunged) = expunged {
            ranges = intersect(&ranges, &expunged_ranges(expunged)?);
        }
        // Expunged messages that the session still counts are told without EARLIER, when their time comes.
        write_vanished(&mut out, "(EARLIER) ", &without(&ranges, &known.uids));
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_list_goes_into_several_responses() {
        let mut out = Vec::new();
        write_vanished(&mut out, "(EARLIER) ", &[(3, 5), (9, 9)]);
        assert_eq!(out, b"* VANISHED (EARLIER) 3:5,9\r\n");
        let many: Vec<(u32, u32)> = (0..2_000).map(|n| (n * 3 + 1, n * 3 + 1)).collect();
        out.clear();
        write_vanished(&mut out, "", &many);
        let lines: Vec<&[u8]> = out.split(|octet| *octet == b'\n').collect();
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() < LINE + 50));
        out.clear();
        write_vanished(&mut out, "", &[]);
        assert_eq!(out, b"");
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_is_not_there(
            present in prop::collection::btree_set(1u32..60, 0..40),
            wanted in prop::collection::btree_set(1u32..60, 0..40),
        ) {
            let list = UidList::default().append(&present.iter().copied().collect::<Vec<_>>());
            let left = without(&crate::set::ranges_of(wanted.iter().copied()), &list);
            let left: Vec<u32> = left.into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(left, wanted.difference(&present).copied().collect::<Vec<_>>());
        }
    }
}
