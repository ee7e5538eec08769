//! Messages of a FETCH rendered from memory: the index, and the cache of wire strings.

use super::Fetch;
use super::response::{Made, Sections, Skip, Strings};
use std::sync::Arc;

/// Messages whose wire strings are asked for together.
const AHEAD: usize = 4_000;
impl Fetch {
    /// Content ids that the cache lacks, for the next messages.
    pub(super) fn ask(&mut self) -> Vec<i64> {
        let table = self.view.index().read();
        let items = &self.renderer.items;
        let arena = items.needs_contents().then(|| self.contents.lock());
        let indexed = items.needs_indexed().then(|| self.contents.indexed());
        let account = self.view.index().account;
        let lacks = |content: i64| {
            let key = (account, content);
            arena.as_ref().is_some_and(|arena| !arena.contains(key))
                || indexed.as_ref().is_some_and(|arena| !arena.contains(key))
        };
        let mut ids = Vec::new();
        let mut left = AHEAD;
        let mut hint = self.renderer.hint;
        for &(from, to) in &self.ranges {
            let to = to.min(from + left);
            for uid in self.uids.iter_from(from).take(to - from) {
                if let Some(row) = table.find_near(uid, &mut hint)
                    && lacks(row.content)
                {
                    ids.push(row.content);
                }
            }
            self.renderer.asked = to;
            left -= to - from;
            if left == 0 {
                break;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Render messages from memory until `out` is full. `true` if wire strings are needed.
    pub(super) fn render_rows(&mut self, out: &mut Vec<u8>, max: usize) -> std::io::Result<bool> {
        let view = Arc::clone(&self.view);
        let contents = Arc::clone(&self.contents);
        let uids = Arc::clone(&self.uids);
        let items = Arc::clone(&self.renderer.items);
        while let Some((from, to)) = self.ranges.front().copied() {
            let mut position = from;
            let mut lacking = None;
            {
                let table = view.index().read();
                let mut arena = items.needs_contents().then(|| contents.lock());
                let mut indexed = items.needs_indexed().then(|| contents.indexed());
                for uid in uids.iter_from(from).take(to - from) {
                    if out.len() >= max {
                        break;
                    }
                    let made = Made {
                        strings: Strings::Cached(arena.as_deref_mut()),
                        indexed: indexed.as_deref_mut(),
                    };
                    match self.renderer.render(
                        out,
                        &table,
                        position,
                        uid,
                        made,
                        Sections::default(),
                    ) {
                        Ok(()) => {}
                        Err(Skip::Missing) => self.missing.push(uid),
                        Err(Skip::Contents) => {
                            lacking = Some((uid, table.find(uid).copied()));
                            break;
                        }
                    }
                    position += 1;
                }
            }
            self.advance(position - from);
            match lacking {
                Some(_) if position >= self.renderer.asked => return Ok(true),
                // The database does not have them, or the cache is too small: they are computed again.
                Some((uid, row)) => {
                    self.describe(out, position, uid, row)?;
                    self.advance(1);
                }
                None if out.len() >= max => break,
                None => {}
            }
        }
        Ok(false)
    }
}
