//! Testing messages against a search: with their rows and heads, then with signatures, then with texts.

use super::Search;
use crate::cache::read_text;
use crate::criteria::{Look, Subject, Verdict};
use crate::index::{Row, Table};
use crate::set;
use std::io::Read as _;
use std::sync::Arc;

impl Search {
    /// Test messages without text. Returns first the positions that text decides, second those that heads decide.
    pub(super) fn judge_rows(
        &mut self,
        positions: impl Iterator<Item = (usize, u32)>,
    ) -> (Vec<usize>, Vec<usize>) {
        let view = Arc::clone(&self.view);
        let table = view.index().read();
        let same = Arc::ptr_eq(&self.uids, &table.uids);
        let mut hint = 0;
        let (mut text, mut head) = (Vec::new(), Vec::new());
        for (position, uid) in positions {
            if !same && !table.uids.contains(uid) {
                continue;
            }
            let Some(row) = table.find_near(uid, &mut hint) else {
                continue;
            };
            let subject = self.subject(&table, row, position, uid);
            match self.test.judge(&subject, Look::None) {
                Verdict::Yes => self.add_hit(position),
                Verdict::No => {}
                Verdict::Head => head.push(position),
                Verdict::Text => text.push(position),
            }
        }
        (text, head)
    }

    fn subject<'a>(
        &self,
        table: &'a Table,
        row: &'a Row,
        position: usize,
        uid: u32,
    ) -> Subject<'a> {
        Subject {
            row,
            position,
            recent: set::contains(&self.recent, uid),
            heads: &table.heads,
        }
    }

    /// Return the positions whose texts have to be looked at.
    pub(super) fn judge_signatures(&mut self, positions: &[usize]) -> Vec<usize> {
        let view = Arc::clone(&self.view);
        let texts = Arc::clone(&self.texts);
        let table = view.index().read();
        let mut arena = texts.signatures();
        let mut candidates = Vec::new();
        let mut hint = positions.first().copied().unwrap_or(0);
        for &position in positions {
            let uid = self.uids.get(position).unwrap_or(0);
            let Some(row) = table.find_near(uid, &mut hint) else {
                continue;
            };
            let Some([signature]) = arena.get((table.account, row.content)) else {
                candidates.push(position);
                continue;
            };
            let subject = self.subject(&table, row, position, uid);
            match self.test.judge(&subject, Look::Signature(signature)) {
                Verdict::Yes => self.add_hit(position),
                Verdict::No => {}
                Verdict::Head | Verdict::Text => candidates.push(position),
            }
        }
        candidates
    }

    /// Test messages with their texts, which are read from the files if the database has none.
    pub(super) fn judge_texts(&mut self, positions: &[usize]) -> std::io::Result<()> {
        let view = Arc::clone(&self.view);
        let texts = Arc::clone(&self.texts);
        let account = view.index().account;
        let mut unread = Vec::new();
        {
            let table = view.index().read();
            let mut arena = texts.texts();
            let mut hint = positions.first().copied().unwrap_or(0);
            for &position in positions {
                let uid = self.uids.get(position).unwrap_or(0);
                let Some(row) = table.find_near(uid, &mut hint) else {
                    continue;
                };
                let cached = arena
                    .get((account, row.content))
                    .and_then(|[octets]| read_text(octets, &mut self.text));
                if cached.is_none() {
                    unread.push((position, uid, *row));
                    continue;
                }
                let subject = self.subject(&table, row, position, uid);
                let signed = texts.signatures().contains((account, row.content));
                if self.test.judge(&subject, Look::Text(&self.text, signed)) == Verdict::Yes {
                    self.add_hit(position);
                }
            }
        }
        // Not indexed yet: the text is read from the file, and kept.
        let mut data = Vec::new();
        for (position, uid, row) in unread {
            let Some(mut file) = self.files.open(view.index(), &row)? else {
                continue;
            };
            data.clear();
            file.read_to_end(&mut data)?;
            let text = esp_mime::search_text(&data);
            let table = view.index().read();
            let subject = self.subject(&table, &row, position, uid);
            let signed = texts.signatures().contains((account, row.content));
            if self.test.judge(&subject, Look::Text(&text, signed)) == Verdict::Yes {
                self.add_hit(position);
            }
            texts.keep((account, row.content), &text);
        }
        Ok(())
    }

    fn add_hit(&mut self, position: usize) {
        self.hits.push(position);
        self.relevancy.add(&self.test, position);
    }
}
