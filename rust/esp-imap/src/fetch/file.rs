//! Messages of a FETCH rendered from their files.

use super::Fetch;
use super::response::{Made, Sections, Strings};
use crate::fetch_items::FetchItem;
use crate::files::Files;
use crate::index::Row;
use crate::source::{Piece, Source, Value, to_usize};
use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::Arc;

/// Messages that `Fetch::step_cached` renders; each is at most `CACHED_OCTETS`: all take well below a millisecond.
const CACHED_MESSAGES: usize = 8;
const CACHED_OCTETS: u64 = 65_536;
/// A FETCH with more items for each message uses a thread.
const CACHED_ITEMS: usize = 16;

/// The result for a message with items from its file.
pub(super) enum Rendered {
    Done,
    /// Wire strings are needed first.
    NeedsContents,
    /// This would have to wait for the disk.
    NeedsDisk,
}

impl Fetch {
    /// The octets of the first few messages, as far as their files are small and in the page cache: then this never
    /// waits for a disk. Empty if that is not certain for the first message.
    ///
    /// # Errors
    /// As for `step`.
    pub fn step_cached(&mut self) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let items = &self.renderer.items;
        if !items.reads_files() || items.items.len() > CACHED_ITEMS || !self.pieces.is_empty() {
            return Ok(out);
        }
        let most = to_usize(CACHED_OCTETS);
        for _ in 0..CACHED_MESSAGES {
            if out.len() >= most
                || self.ranges.is_empty()
                || !matches!(self.render_file(false)?, Rendered::Done)
            {
                break;
            }
            // A part whose place was remembered, beside a header, may not be among the octets read.
            if self
                .pieces
                .iter()
                .any(|piece| matches!(piece, Piece::File(..) | Piece::Later(_)))
            {
                break;
            }
            // If a client asks for the same octets many times, `step` renders the rest.
            self.write_pieces(&mut out, 2 * most)?;
        }
        self.note_end();
        Ok(out)
    }

    /// Render one message with items from its file.
    pub(super) fn render_file(&mut self, may_wait: bool) -> std::io::Result<Rendered> {
        let Some((position, _)) = self.ranges.front().copied() else {
            return Ok(Rendered::Done);
        };
        let view = Arc::clone(&self.view);
        let index = view.index();
        let items = Arc::clone(&self.renderer.items);
        let uid = self.uids.get(position).unwrap_or(0);
        let row = index.read().find(uid).copied();
        if let Some(row) = row
            && items.changed_since.is_some_and(|since| row.modseq <= since)
        {
            self.advance(1);
            return Ok(Rendered::Done);
        }
        let key = row.map(|row| (index.account, row.content));
        let lacks =
            key.is_some_and(|key| items.needs_contents() && !self.contents.lock().contains(key));
        let unindexed =
            key.is_some_and(|key| items.needs_indexed() && !self.contents.indexed().contains(key));
        if (lacks || unindexed) && position >= self.renderer.asked {
            return Ok(Rendered::NeedsContents);
        }
        let mut source = if may_wait {
            self.advance(1);
            let file = match row {
                Some(row) => self.files.open(index, &row)?,
                None => None,
            };
            let Some(file) = file else {
                self.missing.push(uid);
                return Ok(Rendered::Done);
            };
            Source::new(file)?
        } else {
            let cached = row
                .and_then(|row| Files::open_cached(index, &row))
                .and_then(|file| Source::cached(file, CACHED_OCTETS));
            let Some(source) = cached else {
                return Ok(Rendered::NeedsDisk);
            };
            self.advance(1);
            source
        };
        let wanted = items.items.iter().filter_map(|item| match item {
            FetchItem::Section(section) => Some(section),
            _ => None,
        });
        let values = source.values(&wanted.collect::<Vec<_>>(), &index.parts, uid)?;
        if values
            .iter()
            .any(|value| matches!(value, Value::UnknownEncoding))
        {
            self.undecodable.push(uid);
            return Ok(Rendered::Done);
        }
        let described = if lacks {
            source.read_whole()?;
            Some(esp_mime::describe(&source.data))
        } else {
            None
        };
        let mut out = Vec::new();
        let mut pieces = VecDeque::new();
        let sections = Sections::new(values, &mut pieces);
        let contents = Arc::clone(&self.contents);
        // The table is locked before the cache, as everywhere: a writer that waits between two readers must not stop
        // both.
        let table = index.read();
        let mut arena = contents.lock();
        let mut indexed = contents.indexed();
        let made = Made {
            strings: match &described {
                Some(description) => Strings::Now(description),
                None => Strings::Cached(Some(&mut arena)),
            },
            indexed: Some(&mut indexed),
        };
        if self
            .renderer
            .render(&mut out, &table, position, uid, made, sections)
            .is_err()
        {
            // Gone, or dropped from the cache, between two looks; the client asks again.
            self.missing.push(uid);
            return Ok(Rendered::Done);
        }
        self.pieces.extend(pieces);
        self.pieces.push_back(Piece::Octets(out));
        Ok(Rendered::Done)
    }
    /// Render one message with wire strings that are computed now.
    pub(super) fn describe(
        &mut self,
        out: &mut Vec<u8>,
        position: usize,
        uid: u32,
        row: Option<Row>,
    ) -> std::io::Result<()> {
        let view = Arc::clone(&self.view);
        let file = match row {
            Some(row) => self.files.open(view.index(), &row)?,
            None => None,
        };
        let Some(mut file) = file else {
            self.missing.push(uid);
            return Ok(());
        };
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        let description = esp_mime::describe(&data);
        let contents = Arc::clone(&self.contents);
        let table = view.index().read();
        let mut indexed = contents.indexed();
        let made = Made {
            strings: Strings::Now(&description),
            indexed: Some(&mut indexed),
        };
        let rendered = self
            .renderer
            .render(out, &table, position, uid, made, Sections::default());
        if rendered.is_err() {
            self.missing.push(uid);
        }
        Ok(())
    }
}
