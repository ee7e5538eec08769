//! A result that is kept up to date: RETURN (UPDATE) (RFC 5267 §4.3).

use crate::encode_set;
use crate::respond::Correlation;
use crate::search::{Order, Search};
use crate::uids::UidList;
use crate::view::View;
use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

/// What the client was told that the result is.
pub struct Context {
    view: Arc<View>,
    tag: String,
    uid: bool,
    /// Whether places in the result are told, those of SORT.
    placed: bool,
    /// In their order.
    uids: Vec<u32>,
}

/// Places from 0, and what stands there.
type Run = (usize, Vec<u32>);

/// Numbers that stand together in a list, with the place of the first.
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

    /// Of the command that began it.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Tell which results go with the messages that are expunged; to be written before it is told that they are.
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

    /// Tell how the result has changed, by the same search done again.
    pub fn update(&mut self, search: &Search) -> Vec<u8> {
        // What was told meanwhile decides which messages there are.
        let (known, _) = self.view.expunged();
        let mut uids = search.uids();
        if !Arc::ptr_eq(&known, &search.uids) {
            uids.retain(|uid| known.contains(*uid));
        }
        self.change_to(uids, &known)
    }

    fn change_to(&mut self, uids: Vec<u32>, known: &UidList) -> Vec<u8> {
        let before: HashSet<u32> = self.uids.iter().copied().collect();
        let after: HashSet<u32> = uids.iter().copied().collect();
        let mut removed = runs(&self.uids, |uid| !after.contains(&uid));
        // From the end, so that each place is right when it is looked at.
        removed.reverse();
        let added = runs(&uids, |uid| !before.contains(&uid));
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
            // Zero is anywhere: the order of SEARCH is that of the mailbox.
            let _ = write!(out, "{} {}", place.wrapping_add(1), encode_set(&numbers));
        }
        out.push(b')');
    }
}
