//! A SEARCH, SORT or THREAD being answered: cheap keys first, heads where they decide, text only where nothing else does.
//!
//! It goes on by steps. Each says what has to be brought from the database for the next; what is not there is read from
//! the message's file, so that the answer is right before a worker has indexed the message.

use crate::cache::{TextCache, read_text};
use crate::cursor::{Cursor, SyntaxError};
use crate::files::Files;
use crate::fuzzy::scores;
use crate::index::{Row, Table};
use crate::search_program::SearchProgram;
use crate::search_test::{Look, Subject, Test, ThreadContents, Verdict, compile};
use crate::sort::{SortKey, sent, sorted};
use crate::thread::{Algorithm, Message, Threads};
use crate::uids::UidList;
use crate::view::View;
use esp_mime::{Head, HeadKey, SearchText, Structure};
use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;

/// Messages whose signatures are looked at together.
const SIGNATURES: usize = 10_000;
/// Messages whose text is looked at together.
const TEXTS: usize = 1_000;
/// Octets of a header that are read; longer ones are an attack.
const LONGEST_HEADER: u64 = 1 << 20;

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

/// In which order the result is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// SEARCH: that of the mailbox.
    Mailbox,
    /// SORT
    Sort(Vec<SortKey>),
    /// THREAD
    Thread(Algorithm),
}

impl Order {
    /// Parse `SORT (criteria)` or `THREAD algorithm`.
    ///
    /// # Errors
    /// `SyntaxError` when it is neither.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let order = if cursor.take_word("SORT") {
            cursor.space()?;
            Self::Sort(SortKey::read_list(&mut cursor)?)
        } else if cursor.take_word("THREAD") {
            cursor.space()?;
            Self::Thread(Algorithm::read(&mut cursor)?)
        } else {
            return Err(cursor.error("SORT or THREAD"));
        };
        cursor.end()?;
        Ok(order)
    }

    fn needs_heads(&self) -> bool {
        match self {
            Self::Mailbox => false,
            Self::Sort(keys) => keys.iter().any(SortKey::needs_head),
            Self::Thread(_) => true,
        }
    }
}

enum Stage {
    Begin,
    /// Heads were asked for: positions that wait for them, and those that text will decide.
    Heads(Vec<usize>, Vec<usize>),
    /// Positions that text decides, and whether the signatures of the last batch were asked for.
    Signatures(Vec<usize>, bool),
    /// The same, what is left for `Signatures`, and whether the texts of the last batch were asked for.
    Texts(Vec<usize>, Vec<usize>, bool),
    /// All are found; whether the heads to order them by were asked for.
    Order(bool),
    Done,
}

/// See the module.
pub struct Search {
    pub(crate) view: Arc<View>,
    texts: Arc<TextCache>,
    pub(crate) uids: Arc<UidList>,
    recent: Vec<(u32, u32)>,
    test: Test,
    pub(crate) with_modseq: bool,
    pub(crate) order: Order,
    stage: Stage,
    /// Positions found; in the order asked for at the end.
    pub(crate) hits: Vec<usize>,
    pub(crate) threads: Option<Threads>,
    /// Whether words of FUZZY make scores.
    scored: bool,
    /// Of messages found by words of FUZZY, what there is of these.
    amounts: HashMap<usize, Vec<f32>>,
    scores: HashMap<usize, u8>,
    files: Files,
    text: SearchText,
}

impl Search {
    /// Begin.
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
        let scored = test.fuzzy(false).next().is_some();
        Self {
            view,
            texts,
            uids,
            recent,
            scored,
            test,
            with_modseq: program.modseq(),
            order,
            stage: Stage::Begin,
            hits: Vec::new(),
            threads: None,
            amounts: HashMap::new(),
            scores: HashMap::new(),
            files: Files::default(),
            text: SearchText::default(),
        }
    }

    /// Judge messages without text. Those that text decides are returned first, those that heads do second.
    fn judge_rows(
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
            recent: self
                .recent
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&uid)),
            heads: &table.heads,
        }
    }

    /// Go on; what is needed next, or `None` when done.
    ///
    /// # Errors
    /// Those of the file system, other than that a file is gone.
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
                    self.give_scores();
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

    /// A message is found; what there is of the words is still to be weighed.
    fn add_hit(&mut self, position: usize) {
        self.hits.push(position);
        if !self.scored {
            return;
        }
        let mut all = Vec::new();
        for words in self.test.fuzzy(false) {
            all.extend(words.borrow_mut().take_amounts(position));
        }
        self.amounts.insert(position, all);
    }

    /// Begin anew with words mistyped, if no message has them as they are.
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
            self.amounts.clear();
        }
        any
    }

    fn give_scores(&mut self) {
        if self.amounts.is_empty() {
            return;
        }
        let messages = self.uids.len();
        let weights: Vec<f32> = self
            .test
            .fuzzy(false)
            .flat_map(|words| words.borrow().weights(messages))
            .collect();
        let weigh = |amounts: &Vec<f32>| amounts.iter().zip(&weights).map(|(a, b)| a * b).sum();
        let relevancies: Vec<f32> = self.amounts.values().map(weigh).collect();
        let positions = self.amounts.keys().copied();
        self.scores = positions.zip(scores(&relevancies)).collect();
    }

    /// How relevant a message is that was found: 1 to 100 (RFC 6203 §4).
    pub(crate) fn score(&self, position: usize) -> u8 {
        // Where no word was looked for, all are what was asked for.
        self.scores.get(&position).copied().unwrap_or(100)
    }

    /// The rows at positions, with these.
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

    /// Content ids of messages, those left out for which `known` holds.
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

    /// Make the heads that the database does not have yet. A message whose file is gone too has an empty one.
    fn read_heads(&mut self, positions: &[usize]) -> std::io::Result<()> {
        let view = Arc::clone(&self.view);
        let unread: Vec<Row> = {
            let table = view.index().read();
            self.rows(&table, positions)
                .filter(|(_, row)| !has_head(&table, row.content))
                .map(|(_, row)| *row)
                .collect()
        };
        let mut data = Vec::new();
        for row in unread {
            data.clear();
            if let Some(file) = self.files.open(view.index(), &row)? {
                read_header(file, &mut data)?;
            }
            let head = esp_mime::head(&Structure::parse(&data));
            view.index().write().heads.insert(row.content, &head);
        }
        Ok(())
    }

    /// Return the positions whose texts have to be looked at.
    fn judge_signatures(&mut self, positions: &[usize]) -> Vec<usize> {
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

    fn judge_texts(&mut self, positions: &[usize]) -> std::io::Result<()> {
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
        // Not indexed yet: from the file, and kept.
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

    /// Bring what was found in the order asked for; or return the content ids whose heads that takes.
    fn put_in_order(&mut self) -> Vec<i64> {
        if self.order == Order::Mailbox {
            return Vec::new();
        }
        let view = Arc::clone(&self.view);
        let table = view.index().read();
        // What the index no longer has cannot be compared.
        let (hits, rows): (Vec<usize>, Vec<&Row>) = self.rows(&table, &self.hits).unzip();
        let mut heads = Vec::new();
        if self.order.needs_heads() {
            heads = rows
                .iter()
                .map(|row| table.heads.get(row.content))
                .collect();
            let missing = rows.iter().zip(&heads).filter(|(_, head)| head.is_none());
            let missing: Vec<i64> = missing.map(|(row, _)| row.content).collect();
            if !missing.is_empty() {
                return missing;
            }
        }
        let heads: Vec<Head<'_>> = heads.into_iter().flatten().collect();
        match &self.order {
            Order::Mailbox => {}
            Order::Sort(keys) => {
                let scores: Vec<u8> = hits.iter().map(|hit| self.score(*hit)).collect();
                self.hits = sorted(&rows, &heads, &scores, keys)
                    .into_iter()
                    .filter_map(|place| hits.get(place).copied())
                    .collect();
            }
            Order::Thread(algorithm) => {
                let messages: Vec<Message<'_>> = rows
                    .iter()
                    .zip(&heads)
                    .map(|(row, head)| message(row, *head))
                    .collect();
                self.threads = Some(Threads::new(&messages, *algorithm));
                self.hits = hits;
            }
        }
        Vec::new()
    }
}

fn has_head(table: &Table, content: i64) -> bool {
    table.heads.contains(content)
}

fn message<'a>(row: &Row, head: Head<'a>) -> Message<'a> {
    Message {
        id: head.id(),
        references: head.references().collect(),
        subject: head.key(HeadKey::Subject),
        is_reply: head.is_reply(),
        sent: sent(row, head),
        arrival: row.internal_date,
    }
}

/// Read the octets of a file up to the end of its header.
fn read_header(file: std::fs::File, data: &mut Vec<u8>) -> std::io::Result<()> {
    const PIECE: u64 = 8 * 1024;
    let mut file = file.take(LONGEST_HEADER);
    loop {
        let before = data.len();
        file.by_ref().take(PIECE).read_to_end(data)?;
        if data.len() == before {
            return Ok(());
        }
        if let Some(end) = esp_mime::header_end(data) {
            data.truncate(end);
            return Ok(());
        }
    }
}
