//! A SEARCH, SORT or THREAD being answered: cheap keys first, heads where they decide, text only if nothing else does.
//!
//! This module goes on step by step; `judging` judges messages. Each step says what has to be loaded from the database
//! for the next. What is missing there is read from the message's file, so that the answer is right even before a
//! worker has indexed the message.

mod headers;
mod judging;
mod order;
mod relevancy;

pub use order::Order;

use crate::cache::TextCache;
use crate::criteria::{Test, ThreadContents, compile};
use crate::files::Files;
use crate::index::{Row, Table};
use crate::search_program::SearchProgram;
use crate::thread::Threads;
use crate::uids::UidList;
use crate::view::View;
use esp_mime::SearchText;
use headers::has_head;
use relevancy::Relevancy;
use std::sync::Arc;

/// Messages whose signatures are looked at together.
const SIGNATURES: usize = 10_000;
/// Messages whose text is looked at together.
const TEXTS: usize = 1_000;

/// What is needed to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchNeed {
    /// Content ids whose head is needed.
    pub heads: Vec<i64>,
    /// Content ids whose signature is needed.
    pub signatures: Vec<i64>,
    /// Content ids whose text is needed.
    pub texts: Vec<i64>,
}

enum Stage {
    Begin,
    /// Heads were asked for: positions that wait for them, and those that text will decide.
    Heads(Vec<usize>, Vec<usize>),
    /// Positions that text decides, and whether the signatures of the last batch were asked for.
    Signatures(Vec<usize>, bool),
    /// The same, what is left for `Signatures`, and whether the texts of the last batch were asked for.
    Texts(Vec<usize>, Vec<usize>, bool),
    /// All messages are found; whether the heads to order them by were asked for.
    Order(bool),
    Done,
}

/// A search; see the module.
pub struct Search {
    pub(crate) view: Arc<View>,
    texts: Arc<TextCache>,
    pub(crate) uids: Arc<UidList>,
    recent: Vec<(u32, u32)>,
    test: Test,
    pub(crate) with_modseq: bool,
    pub(crate) order: Order,
    stage: Stage,
    /// Positions found; at the end, in the order asked for.
    pub(crate) hits: Vec<usize>,
    pub(crate) threads: Option<Threads>,
    relevancy: Relevancy,
    files: Files,
    text: SearchText,
}

impl Search {
    /// Begin a search.
    #[must_use]
    pub fn new(
        view: Arc<View>,
        program: &SearchProgram,
        order: Order,
        texts: Arc<TextCache>,
        now: i64,
        threads: &ThreadContents,
    ) -> Self {
        let (test, uids, recent) = {
            let known = view.known();
            let table = view.index().read();
            (
                compile(&program.key, &known, &table, now, threads, false),
                Arc::clone(&known.uids),
                known.recent.clone(),
            )
        };
        Self {
            view,
            texts,
            uids,
            recent,
            relevancy: Relevancy::of(&test),
            test,
            with_modseq: program.modseq(),
            order,
            stage: Stage::Begin,
            hits: Vec::new(),
            threads: None,
            files: Files::default(),
            text: SearchText::default(),
        }
    }

    /// Go on; returns what is needed next, or `None` when done.
    ///
    /// # Errors
    /// Those of the file system, except that a file is gone.
    pub fn step(&mut self) -> std::io::Result<Option<SearchNeed>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Begin => {
                    let uids = Arc::clone(&self.uids);
                    let (text, heads) = self.judge_rows(uids.iter().enumerate());
                    if heads.is_empty() {
                        self.stage = Stage::Signatures(text, false);
                        continue;
                    }
                    let need = self.contents(&heads, has_head);
                    self.stage = Stage::Heads(heads, text);
                    return Ok(Some(SearchNeed {
                        heads: need,
                        ..SearchNeed::default()
                    }));
                }
                Stage::Heads(waiting, mut text) => {
                    self.read_heads(&waiting)?;
                    let uids = Arc::clone(&self.uids);
                    let open = waiting
                        .into_iter()
                        .filter_map(|position| Some((position, uids.get(position)?)));
                    let (more, _) = self.judge_rows(open);
                    text.extend(more);
                    text.sort_unstable();
                    self.stage = Stage::Signatures(text, false);
                }
                Stage::Signatures(positions, _) if positions.is_empty() => {
                    if self.tolerate() {
                        self.stage = Stage::Begin;
                        continue;
                    }
                    self.hits.sort_unstable();
                    self.relevancy.weigh(&self.test, self.uids.len());
                    self.stage = Stage::Order(false);
                }
                Stage::Signatures(mut positions, asked) => {
                    let batch = positions.split_off(positions.len().saturating_sub(SIGNATURES));
                    if !asked {
                        let mut need = self.contents(&batch, |_, _| false);
                        let account = self.view.index().account;
                        self.texts.signatures().retain_missing(account, &mut need);
                        if !need.is_empty() {
                            positions.extend(batch);
                            self.stage = Stage::Signatures(positions, true);
                            return Ok(Some(SearchNeed {
                                signatures: need,
                                ..SearchNeed::default()
                            }));
                        }
                    }
                    let candidates = self.judge_signatures(&batch);
                    self.stage = Stage::Texts(candidates, positions, false);
                }
                Stage::Texts(candidates, rest, _) if candidates.is_empty() => {
                    self.stage = Stage::Signatures(rest, false);
                }
                Stage::Texts(mut candidates, rest, asked) => {
                    let batch = candidates.split_off(candidates.len().saturating_sub(TEXTS));
                    if !asked {
                        let mut need = self.contents(&batch, |_, _| false);
                        let account = self.view.index().account;
                        self.texts.texts().retain_missing(account, &mut need);
                        if !need.is_empty() {
                            candidates.extend(batch);
                            self.stage = Stage::Texts(candidates, rest, true);
                            return Ok(Some(SearchNeed {
                                texts: need,
                                ..SearchNeed::default()
                            }));
                        }
                    }
                    self.judge_texts(&batch)?;
                    self.stage = Stage::Texts(candidates, rest, false);
                }
                Stage::Order(asked) => {
                    if asked {
                        let hits = std::mem::take(&mut self.hits);
                        self.read_heads(&hits)?;
                        self.hits = hits;
                    }
                    let need = self.put_in_order();
                    if !need.is_empty() {
                        self.stage = Stage::Order(true);
                        return Ok(Some(SearchNeed {
                            heads: need,
                            ..SearchNeed::default()
                        }));
                    }
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    /// The relevancy of a message that was found: 1 to 100.
    pub(crate) fn score(&self, position: usize) -> u8 {
        self.relevancy.score(position)
    }

    /// Whether messages that the session still counts were left out, since they are gone.
    #[must_use]
    pub fn leaves_out(&self) -> bool {
        let table = self.view.index().read();
        !Arc::ptr_eq(&self.uids, &table.uids) && !self.uids.missing_in(&table.uids).is_empty()
    }

    /// Start again with mistyped words, if no message has the words as they are.
    fn tolerate(&mut self) -> bool {
        let mut any = false;
        for words in self.test.fuzzy(true) {
            any |= words.borrow_mut().tolerate();
        }
        if any {
            for words in self.test.fuzzy(true) {
                words.borrow_mut().begin_anew();
            }
            self.hits.clear();
            self.relevancy.clear();
        }
        any
    }

    /// The rows at these positions, each with its position.
    fn rows<'a>(
        &'a self,
        table: &'a Table,
        positions: &'a [usize],
    ) -> impl Iterator<Item = (usize, &'a Row)> {
        let same = Arc::ptr_eq(&self.uids, &table.uids);
        let mut hint = positions.first().copied().unwrap_or(0);
        positions.iter().filter_map(move |&position| {
            let row = if same {
                table.row(position)?
            } else {
                table.find_near(self.uids.get(position)?, &mut hint)?
            };
            Some((position, row))
        })
    }

    /// Content ids of messages, without those for which `known` holds.
    fn contents(&self, positions: &[usize], known: impl Fn(&Table, i64) -> bool) -> Vec<i64> {
        let table = self.view.index().read();
        let mut ids: Vec<i64> = self
            .rows(&table, positions)
            .map(|(_, row)| row.content)
            .filter(|content| !known(&table, *content))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
