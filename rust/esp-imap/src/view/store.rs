//! What a STORE would do to the messages it names (RFC 3501 §6.4.6, RFC 7162 §3.1.3); PostgreSQL does it.

use super::{RangeError, View};
use crate::command::StoreMode;
use crate::set::SequenceSet;
use std::sync::Arc;

/// What a STORE would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorePlan {
    /// Messages that are named and not refused.
    pub uids: Vec<u32>,
    /// Those of them whose flags would change.
    pub changing: Vec<u32>,
    /// Messages refused by UNCHANGEDSINCE.
    pub modified: Vec<u32>,
    /// The same as sequence numbers.
    pub modified_numbers: Vec<u32>,
    /// Whether a named message is expunged.
    pub vanished: bool,
}

impl View {
    /// What a STORE would do.
    ///
    /// # Errors
    /// `RangeError` for sequence numbers beyond EXISTS.
    pub fn store(
        &self,
        set: &SequenceSet,
        uid: bool,
        mode: StoreMode,
        bits: i64,
        unchanged_since: Option<i64>,
    ) -> Result<StorePlan, RangeError> {
        let known = self.known();
        let positions = known.positions(set, uid)?;
        let table = self.index.read();
        let same = Arc::ptr_eq(&known.uids, &table.uids);
        let mut plan = StorePlan::default();
        let mut hint = 0;
        let settable = self.settable();
        let bits = bits & settable;
        for (from, to) in positions {
            for (position, uid) in (from..to).zip(known.uids.iter_from(from)) {
                if !same && !table.uids.contains(uid) {
                    plan.vanished = true;
                    continue;
                }
                let Some(row) = table.find_near(uid, &mut hint) else {
                    continue;
                };
                if unchanged_since.is_some_and(|modseq| row.modseq > modseq) {
                    plan.modified.push(uid);
                    plan.modified_numbers
                        .push(u32::try_from(position + 1).unwrap_or(u32::MAX));
                    continue;
                }
                plan.uids.push(uid);
                let after = match mode {
                    StoreMode::Replace => (row.flags & !settable) | bits,
                    StoreMode::Add => row.flags | bits,
                    StoreMode::Remove => row.flags & !bits,
                };
                if after != row.flags {
                    plan.changing.push(uid);
                }
            }
        }
        Ok(plan)
    }
}
