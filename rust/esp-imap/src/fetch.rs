//! A FETCH being answered, in pieces of bounded size.
//!
//! A message whose items are all known is rendered from memory (`rows`), any other from its file (`file`); what is
//! written is the same (`response`).

mod file;
mod global;
mod response;
mod rows;

use crate::cache::ContentCache;
use crate::fetch_items::FetchItems;
use crate::files::Files;
use crate::flags;
use crate::returns::Partial;
use crate::set::SequenceSet;
use crate::source::Piece;
use crate::uids::UidList;
use crate::view::{RangeError, View};
use file::Rendered;
use response::Renderer;
use std::collections::VecDeque;
use std::sync::Arc;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this.
    Octets(Vec<u8>),
    /// Load these into the `ContentCache`.
    Contents(Vec<i64>),
}

/// A FETCH; see the module.
pub struct Fetch {
    view: Arc<View>,
    contents: Arc<ContentCache>,
    uids: Arc<UidList>,
    /// Ranges of positions still to be answered, each without `to`.
    ranges: VecDeque<(usize, usize)>,
    unseen: Vec<u32>,
    missing: Vec<u32>,
    undecodable: Vec<u32>,
    pieces: VecDeque<Piece>,
    files: Files,
    renderer: Renderer,
}

/// Keep those positions that PARTIAL names.
fn cut(ranges: Vec<(usize, usize)>, partial: Partial) -> Vec<(usize, usize)> {
    let count = ranges.iter().map(|(from, to)| to - from).sum();
    let wanted = partial.places(count);
    let mut before = 0;
    ranges
        .into_iter()
        .filter_map(|(from, to)| {
            let first = from + wanted.start.saturating_sub(before);
            let last = to.min(from + wanted.end.saturating_sub(before));
            before += to - from;
            (first < last).then_some((first, last))
        })
        .collect()
}

impl Fetch {
    /// Begin a FETCH.
    ///
    /// # Errors
    /// `RangeError` for sequence numbers beyond EXISTS.
    pub fn new(
        view: Arc<View>,
        set: &SequenceSet,
        items: Arc<FetchItems>,
        with_uid: bool,
        contents: Arc<ContentCache>,
    ) -> Result<Self, RangeError> {
        let known = view.known();
        let mut ranges = known.positions(set, with_uid)?;
        if let Some(partial) = items.partial {
            ranges = cut(ranges, partial);
        }
        let mut unseen = Vec::new();
        if items.sets_seen && view.settable() & flags::SEEN != 0 {
            let table = view.index().read();
            let mut hint = 0;
            for &(from, to) in &ranges {
                unseen.extend(known.uids.iter_from(from).take(to - from).filter(|uid| {
                    table.find_near(*uid, &mut hint).is_some_and(|row| {
                        row.flags & flags::SEEN == 0
                            && items.changed_since.is_none_or(|since| row.modseq > since)
                    }) && table.uids.contains(*uid)
                }));
            }
        }
        let fetch = Self {
            contents,
            uids: Arc::clone(&known.uids),
            ranges: ranges.into(),
            missing: Vec::new(),
            undecodable: Vec::new(),
            pieces: VecDeque::new(),
            files: Files::default(),
            view: Arc::clone(&view),
            renderer: Renderer::new(items, &known, with_uid, unseen.clone()),
            unseen,
        };
        drop(known);
        Ok(fetch)
    }

    /// The responses are unsolicited, so they have MODSEQ if the session has enabled CONDSTORE (RFC 7162 §3.1).
    #[must_use]
    pub fn unasked(mut self) -> Self {
        self.renderer.tell_modseqs();
        self
    }

    /// UIDs on which `\Seen` is to be set.
    #[must_use]
    pub fn unseen(&self) -> &[u32] {
        &self.unseen
    }

    /// UIDs that were skipped, since the messages or their files are gone.
    #[must_use]
    pub fn missing(&self) -> &[u32] {
        &self.missing
    }

    /// UIDs that were skipped, since a part to be decoded has an unknown transfer encoding (RFC 3516 §4.2).
    #[must_use]
    pub fn undecodable(&self) -> &[u32] {
        &self.undecodable
    }

    /// The next octets, or the contents needed; `None` at the end.
    ///
    /// # Errors
    /// Those of the file system, except that a file is gone. After an error, the stream cannot be continued.
    pub fn step(&mut self, max_octets: usize) -> std::io::Result<Option<Step>> {
        let max = max_octets.clamp(1_024, 16 << 20);
        let mut out = Vec::with_capacity(max + 2_048);
        loop {
            self.write_pieces(&mut out, max)?;
            if out.len() >= max || self.ranges.is_empty() {
                break;
            }
            let needs_contents = if self.renderer.items.reads_files() {
                matches!(self.render_file(true)?, Rendered::NeedsContents)
            } else {
                self.render_rows(&mut out, max)?
            };
            if needs_contents {
                if !out.is_empty() {
                    break;
                }
                return Ok(Some(Step::Contents(self.ask())));
            }
        }
        self.note_end();
        Ok((!out.is_empty()).then_some(Step::Octets(out)))
    }

    fn note_end(&mut self) {
        if self.ended() {
            self.view.told(self.renderer.told.drain(..));
        }
    }

    /// Whether the next step would return `None`.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ranges.is_empty() && self.pieces.is_empty()
    }

    fn write_pieces(&mut self, out: &mut Vec<u8>, max: usize) -> std::io::Result<()> {
        while out.len() < max
            && let Some(piece) = self.pieces.pop_front()
        {
            if let Some(rest) = piece.write(out, max - out.len())? {
                self.pieces.push_front(rest);
            }
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        if let Some(range) = self.ranges.front_mut() {
            range.0 += count;
            if range.0 >= range.1 {
                self.ranges.pop_front();
            }
        }
    }
}
