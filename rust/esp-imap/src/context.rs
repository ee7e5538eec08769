//! A result that is kept up to date: RETURN (UPDATE) (RFC 5267 §4.3).

use crate::encode_set;
use crate::respond::Correlation;
use crate::search::{Order, Search};
use crate::uids::UidList;
use crate::view::View;
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;

/// The result as the client was told it.
pub struct Context {
    view: Arc<View>,
    tag: String,
    uid: bool,
    /// Whether the client is told places in the result: those of SORT.
    placed: bool,
    /// In the order of the result.
    uids: Vec<u32>,
}

/// A place from 0, and the UIDs that stand there.
type Run = (usize, Vec<u32>);

/// Runs of neighbouring numbers of a list that are wanted, each with the place of its first.
fn runs(list: &[u32], wanted: impl Fn(u32) -> bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open = false;
    for (place, uid) in list.iter().enumerate() {
        let here = wanted(*uid);
        match runs.last_mut() {
            Some((_, run)) if here && open => run.push(*uid),
            _ if here => runs.push((place, vec![*uid])),
            _ => {}
        }
        open = here;
    }
    runs
}

/// Numbers in both lists that need not be moved: as many as stand in the same order. Others change places only because
/// of FUZZY's scores: new messages let words weigh more or less.
fn in_place(before: &[u32], after: &[u32]) -> HashSet<u32> {
    let places: HashMap<u32, usize> = after.iter().copied().zip(0..).collect();
    // The longest rising subsequence: for each length the one with the least last place, and what comes before each.
    let mut ends: Vec<(usize, u32)> = Vec::new();
    let mut previous: HashMap<u32, u32> = HashMap::new();
    for uid in before {
        let Some(place) = places.get(uid) else {
            continue;
        };
        let length = ends.partition_point(|(end, _)| end < place);
        if let Some((_, last)) = length.checked_sub(1).and_then(|at| ends.get(at)) {
            previous.insert(*uid, *last);
        }
        match ends.get_mut(length) {
            Some(end) => *end = (*place, *uid),
            None => ends.push((*place, *uid)),
        }
    }
    let mut kept = HashSet::new();
    let mut next = ends.last().map(|(_, uid)| *uid);
    while let Some(uid) = next {
        kept.insert(uid);
        next = previous.get(&uid).copied();
    }
    kept
}

impl Context {
    /// Keep the result of a finished search.
    #[must_use]
    pub fn new(search: &Search, told: Correlation<'_>) -> Self {
        Self {
            view: Arc::clone(&search.view),
            tag: told.tag.to_owned(),
            uid: told.uid,
            placed: matches!(search.order, Order::Sort(_)),
            uids: search.uids(),
        }
    }

    /// The tag of the command that began it.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Report the results that leave with expunged messages; write it before the client is told of the expunges.
    pub fn without_expunged(&mut self) -> Vec<u8> {
        let (known, gone) = self.view.expunged();
        let gone: HashSet<u32> = gone.into_iter().collect();
        if gone.is_empty() {
            return Vec::new();
        }
        let kept = self.uids.iter().filter(|uid| !gone.contains(uid));
        let kept = kept.copied().collect();
        self.change_to(kept, &known)
    }

    /// Report how the result has changed; `search` is the same search, repeated.
    pub fn update(&mut self, search: &Search) -> Vec<u8> {
        // What the client was told meanwhile decides which messages there are.
        let (known, _) = self.view.expunged();
        let mut uids = search.uids();
        if !Arc::ptr_eq(&known, &search.uids) {
            uids.retain(|uid| known.contains(*uid));
        }
        self.change_to(uids, &known)
    }

    fn change_to(&mut self, uids: Vec<u32>, known: &UidList) -> Vec<u8> {
        let kept = in_place(&self.uids, &uids);
        let mut removed = runs(&self.uids, |uid| !kept.contains(&uid));
        // From the end, so that each place is still right when it is reported.
        removed.reverse();
        let added = runs(&uids, |uid| !kept.contains(&uid));
        self.uids = uids;
        let mut out = Vec::new();
        if removed.is_empty() && added.is_empty() {
            return out;
        }
        out.extend_from_slice(b"* ESEARCH (TAG ");
        crate::write_nstring(&mut out, Some(self.tag.as_bytes()));
        out.extend_from_slice(if self.uid { b") UID" } else { b")" });
        self.write(&mut out, "REMOVEFROM", removed, known);
        self.write(&mut out, "ADDTO", added, known);
        out.extend_from_slice(b"\r\n");
        out
    }

    fn write(&self, out: &mut Vec<u8>, name: &str, runs: Vec<Run>, known: &UidList) {
        if runs.is_empty() {
            return;
        }
        let runs = if self.placed {
            runs
        } else {
            let mut all: Vec<u32> = runs.into_iter().flat_map(|(_, run)| run).collect();
            all.sort_unstable();
            vec![(usize::MAX, all)]
        };
        for (number, (place, run)) in runs.into_iter().enumerate() {
            let _ = write!(
                out,
                "{}",
                if number == 0 {
                    format!(" {name} (")
                } else {
                    " ".to_owned()
                }
            );
            let numbers: Vec<u32> = if self.uid {
                run
            } else {
                let number = |uid| {
                    known
                        .position(uid)
                        .ok()
                        .and_then(|at| u32::try_from(at + 1).ok())
                };
                run.into_iter().filter_map(number).collect()
            };
            // Zero means anywhere: the order of SEARCH is that of the mailbox.
            let _ = write!(out, "{} {}", place.wrapping_add(1), encode_set(&numbers));
        }
        out.push(b')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_stands_in_order_is_not_moved() {
        let kept = |before: &[u32], after: &[u32]| {
            let mut kept: Vec<u32> = in_place(before, after).into_iter().collect();
            kept.sort_unstable();
            kept
        };
        assert_eq!(kept(&[1, 2, 3, 4], &[1, 3, 9, 4]), [1, 3, 4]);
        assert_eq!(kept(&[1, 2, 3, 4], &[4, 1, 2, 3]), [1, 2, 3]);
        assert_eq!(kept(&[3, 1, 2], &[3, 2]), [2, 3]);
        assert_eq!(kept(&[1, 2], &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn what_is_kept_stands_in_the_same_order(
            before in proptest::sample::subsequence((0_u32..20).collect::<Vec<_>>(), 0..20).prop_shuffle(),
            after in proptest::sample::subsequence((0_u32..20).collect::<Vec<_>>(), 0..20).prop_shuffle(),
        ) {
            let kept = in_place(&before, &after);
            let of = |list: &[u32]| -> Vec<u32> {
                list.iter().copied().filter(|uid| kept.contains(uid)).collect()
            };
            prop_assert_eq!(of(&before), of(&after));
            prop_assert_eq!(of(&before).len(), kept.len());
        }
    }
}
