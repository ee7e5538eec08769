//! A SEARCH being answered: cheap keys first, text only where it decides.

use crate::cache::{Arena, TextCache, read_text};
use crate::date::DAY;
use crate::encode_set;
use crate::files::Files;
use crate::index::{Row, Table, keyword_bit};
use crate::search_program::{DateOf, Key, Place, SearchProgram};
use crate::uids::UidList;
use crate::view::{Known, RangeError, View};
use esp_mime::{Needle, Scope, SearchText};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

/// Messages whose text is looked at together.
const BATCH: usize = 1_000;

/// What is needed to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchNeed {
    /// Content ids whose `sent_at` is needed.
    pub sent: Vec<i64>,
    /// Content ids whose text is needed.
    pub text: Vec<i64>,
}

/// A key with all that can be known beforehand worked out.
enum Test {
    Fixed(bool),
    Flag(i64),
    Recent,
    Positions(Vec<(usize, usize)>),
    Day(DateOf, i64, i64),
    Larger(u64),
    Smaller(u64),
    Since(i64),
    ModSeq(i64),
    Contains(Place, Box<Needle>),
    Not(Box<Test>),
    Any(Vec<Test>),
    Every(Vec<Test>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    No,
    Yes,
    /// `Date:` decides.
    Sent,
    /// Text decides.
    Text,
}

#[derive(Clone, Copy)]
enum Look<'a> {
    /// The text is not there yet.
    None,
    /// Only what the text cannot have is known.
    Signature(&'a [u8]),
    Text(&'a SearchText),
}

struct Subject<'a> {
    row: &'a Row,
    position: usize,
    recent: bool,
    /// `None`: not known yet.
    #[allow(
        clippy::option_option,
        reason = "not known is not the same as not there"
    )]
    sent: Option<Option<i64>>,
}

fn compile(key: &Key, known: &Known, table: &Table, now: i64) -> Result<Test, RangeError> {
    let all = |keys: &[Key]| {
        keys.iter()
            .map(|key| compile(key, known, table, now))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match key {
        Key::All => Test::Fixed(true),
        Key::Flag(bits) => Test::Flag(*bits),
        Key::Keyword(name) => Test::Flag(keyword_bit(&table.keywords, name)),
        Key::Recent => Test::Recent,
        Key::Numbers(set) => Test::Positions(known.positions(set, false)?),
        Key::Uids(set) => Test::Positions(known.positions(set, true)?),
        Key::Day(of, from, to) => Test::Day(*of, *from, *to),
        Key::Larger(size) => Test::Larger(*size),
        Key::Smaller(size) => Test::Smaller(*size),
        Key::Younger(seconds) => {
            let interval = i64::try_from(*seconds)
                .unwrap_or(i64::MAX)
                .saturating_mul(1_000_000);
            Test::Since(now.saturating_sub(interval))
        }
        Key::ModSeq(modseq) => Test::ModSeq(*modseq),
        Key::Contains(place, needle) => {
            Test::Contains(place.clone(), Box::new(Needle::new(needle)))
        }
        Key::Not(inner) => Test::Not(Box::new(compile(inner, known, table, now)?)),
        Key::Any(keys) => Test::Any(all(keys)?),
        Key::Every(keys) => Test::Every(all(keys)?),
    })
}

fn verdict(yes: bool) -> Verdict {
    if yes { Verdict::Yes } else { Verdict::No }
}

impl Test {
    fn judge(&self, subject: &Subject<'_>, look: Look<'_>) -> Verdict {
        let row = subject.row;
        match self {
            Self::Fixed(yes) => verdict(*yes),
            Self::Flag(bits) => verdict(row.flags & bits != 0),
            Self::Recent => verdict(subject.recent),
            Self::Positions(ranges) => {
                let after = ranges.partition_point(|(from, _)| *from <= subject.position);
                verdict(
                    after
                        .checked_sub(1)
                        .and_then(|range| ranges.get(range))
                        .is_some_and(|(_, to)| subject.position < *to),
                )
            }
            Self::Day(of, from, to) => {
                let time = match of {
                    DateOf::Internal => Some(row.internal_date),
                    DateOf::Saved => Some(row.saved_at),
                    DateOf::Sent => match subject.sent {
                        None => return Verdict::Sent,
                        Some(time) => time,
                    },
                };
                verdict(time.is_some_and(|time| (*from..*to).contains(&time.div_euclid(DAY))))
            }
            Self::Larger(size) => verdict(row.size > *size),
            Self::Smaller(size) => verdict(row.size < *size),
            Self::Since(time) => verdict(row.internal_date >= *time),
            Self::ModSeq(modseq) => verdict(row.modseq >= *modseq),
            Self::Contains(place, needle) => match look {
                Look::None => Verdict::Text,
                Look::Signature(signature) if needle.may_be_in(signature) => Verdict::Text,
                Look::Signature(_) => Verdict::No,
                Look::Text(text) => verdict(needle.is_in(
                    text,
                    match place {
                        Place::Text => Scope::Text,
                        Place::Body => Scope::Body,
                        Place::Header(name) => Scope::Field(name),
                    },
                )),
            },
            Self::Not(inner) => match inner.judge(subject, look) {
                Verdict::Yes => Verdict::No,
                Verdict::No => Verdict::Yes,
                open => open,
            },
            Self::Any(tests) => judge_all(tests, subject, look, Verdict::Yes, Verdict::No),
            Self::Every(tests) => judge_all(tests, subject, look, Verdict::No, Verdict::Yes),
        }
    }
}

/// `decisive` from one test decides; an open one stays open otherwise, the cheaper need first.
fn judge_all(
    tests: &[Test],
    subject: &Subject<'_>,
    look: Look<'_>,
    decisive: Verdict,
    otherwise: Verdict,
) -> Verdict {
    let mut result = otherwise;
    for test in tests {
        match test.judge(subject, look) {
            verdict if verdict == decisive => return decisive,
            Verdict::Sent => result = Verdict::Sent,
            Verdict::Text if result != Verdict::Sent => result = Verdict::Text,
            _ => {}
        }
    }
    result
}

enum Stage {
    Begin,
    /// `sent_at` was asked for.
    Sent(Vec<usize>),
    /// Positions left, and whether the text of the first batch was asked for.
    Text(Vec<usize>, bool),
    Done,
}

/// See the module.
pub struct Search {
    view: Arc<View>,
    texts: Arc<TextCache>,
    uids: Arc<UidList>,
    recent: Vec<(u32, u32)>,
    test: Test,
    with_modseq: bool,
    stage: Stage,
    hits: Vec<usize>,
    files: Files,
    text: SearchText,
}

impl Search {
    /// Begin.
    ///
    /// # Errors
    /// `RangeError` for sequence numbers beyond EXISTS.
    pub fn new(
        view: Arc<View>,
        program: &SearchProgram,
        texts: Arc<TextCache>,
        now: i64,
    ) -> Result<Self, RangeError> {
        let (test, uids, recent) = {
            let known = view.known();
            let table = view.index().read();
            (
                compile(&program.key, &known, &table, now)?,
                Arc::clone(&known.uids),
                known.recent.clone(),
            )
        };
        Ok(Self {
            view,
            texts,
            uids,
            recent,
            test,
            with_modseq: program.modseq(),
            stage: Stage::Begin,
            hits: Vec::new(),
            files: Files::default(),
            text: SearchText::default(),
        })
    }

    /// Judge messages without text. Those that text decides are returned first, those that `Date:` does second.
    fn judge_rows(
        &mut self,
        positions: impl Iterator<Item = (usize, u32)>,
        asked: bool,
    ) -> (Vec<usize>, Vec<usize>) {
        let view = Arc::clone(&self.view);
        let table = view.index().read();
        let same = Arc::ptr_eq(&self.uids, &table.uids);
        let mut hint = 0;
        let (mut text, mut sent) = (Vec::new(), Vec::new());
        for (position, uid) in positions {
            if !same && !table.uids.contains(uid) {
                continue;
            }
            let Some(row) = table.find_near(uid, &mut hint) else {
                continue;
            };
            let subject = self.subject(&table, row, position, uid, asked);
            match self.test.judge(&subject, Look::None) {
                Verdict::Yes => self.hits.push(position),
                Verdict::No => {}
                Verdict::Sent => sent.push(position),
                Verdict::Text => text.push(position),
            }
        }
        (text, sent)
    }

    fn subject<'a>(
        &self,
        table: &Table,
        row: &'a Row,
        position: usize,
        uid: u32,
        asked: bool,
    ) -> Subject<'a> {
        Subject {
            row,
            position,
            recent: self
                .recent
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&uid)),
            // What the database does not tell when asked is not there.
            sent: table.sent(row.content).or_else(|| asked.then_some(None)),
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
                    let (text, sent) = self.judge_rows(uids.iter().enumerate(), false);
                    if sent.is_empty() {
                        self.stage = Stage::Text(text, false);
                        continue;
                    }
                    let need = SearchNeed {
                        sent: self.contents(&sent),
                        text: Vec::new(),
                    };
                    self.stage = Stage::Sent([text, sent].concat());
                    return Ok(Some(need));
                }
                Stage::Sent(positions) => {
                    let uids = Arc::clone(&self.uids);
                    let open = positions
                        .into_iter()
                        .filter_map(|position| Some((position, uids.get(position)?)));
                    let (text, _) = self.judge_rows(open, true);
                    self.stage = Stage::Text(text, false);
                }
                Stage::Text(positions, _) if positions.is_empty() => {
                    self.hits.sort_unstable();
                    return Ok(None);
                }
                Stage::Text(mut positions, asked) => {
                    let batch = positions.split_off(positions.len().saturating_sub(BATCH));
                    if !asked {
                        let mut need = self.contents(&batch);
                        let account = self.view.index().account;
                        {
                            let arena = self.texts.lock();
                            need.retain(|content| !arena.contains((account, *content)));
                        }
                        if !need.is_empty() {
                            positions.extend(batch);
                            self.stage = Stage::Text(positions, true);
                            return Ok(Some(SearchNeed {
                                sent: Vec::new(),
                                text: need,
                            }));
                        }
                    }
                    self.judge_texts(&batch)?;
                    self.stage = Stage::Text(positions, false);
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    fn contents(&self, positions: &[usize]) -> Vec<i64> {
        let table = self.view.index().read();
        let mut ids: Vec<i64> = positions
            .iter()
            .filter_map(|position| Some(table.find(self.uids.get(*position)?)?.content))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn judge_texts(&mut self, positions: &[usize]) -> std::io::Result<()> {
        let view = Arc::clone(&self.view);
        let texts = Arc::clone(&self.texts);
        let account = view.index().account;
        let mut unread = Vec::new();
        {
            let table = view.index().read();
            let mut arena = texts.lock();
            for &position in positions {
                let uid = self.uids.get(position).unwrap_or(0);
                let Some(row) = table.find(uid) else { continue };
                let subject = self.subject(&table, row, position, uid, true);
                let mut text = std::mem::take(&mut self.text);
                match judge_cached(&self.test, &subject, &mut arena, account, &mut text) {
                    Some(true) => self.hits.push(position),
                    Some(false) => {}
                    None => unread.push((position, uid, *row)),
                }
                self.text = text;
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
            let subject = self.subject(&table, &row, position, uid, true);
            if self.test.judge(&subject, Look::Text(&text)) == Verdict::Yes {
                self.hits.push(position);
            }
            texts.keep(
                (account, row.content),
                &esp_mime::signature(text.all()),
                &text,
            );
        }
        Ok(())
    }

    /// The result as UIDs, rising.
    #[must_use]
    pub fn uids(&self) -> Vec<u32> {
        self.hits
            .iter()
            .filter_map(|position| self.uids.get(*position))
            .collect()
    }

    /// The result as sequence numbers, rising.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        self.hits
            .iter()
            .map(|position| u32::try_from(position + 1).unwrap_or(u32::MAX))
            .collect()
    }

    /// The highest mod-sequence in the result, or 0.
    #[must_use]
    pub fn modseq(&self) -> i64 {
        let table = self.view.index().read();
        self.uids()
            .into_iter()
            .filter_map(|uid| table.find(uid))
            .map(|row| row.modseq)
            .max()
            .unwrap_or(0)
    }

    /// The untagged response; none when only SAVE is asked for.
    #[must_use]
    pub fn response(&self, uid: bool, tag: &str, returns: Option<&[String]>) -> Vec<u8> {
        let found = if uid { self.uids() } else { self.numbers() };
        let modseq = if self.with_modseq && !found.is_empty() {
            self.modseq()
        } else {
            0
        };
        let mut out = Vec::with_capacity(64 + found.len() * 6);
        let Some(returns) = returns else {
            out.extend_from_slice(b"* SEARCH");
            for number in found {
                let _ = write!(out, " {number}");
            }
            if modseq > 0 {
                let _ = write!(out, " (MODSEQ {modseq})");
            }
            out.extend_from_slice(b"\r\n");
            return out;
        };
        if returns.iter().all(|option| option == "SAVE") {
            return out;
        }
        let _ = write!(out, "* ESEARCH (TAG ");
        crate::write_nstring(&mut out, Some(tag.as_bytes()));
        let _ = write!(out, "){}", if uid { " UID" } else { "" });
        let wanted = |name: &str| returns.iter().any(|option| option == name);
        if let (Some(first), Some(last)) = (found.first(), found.last()) {
            if wanted("MIN") {
                let _ = write!(out, " MIN {first}");
            }
            if wanted("MAX") {
                let _ = write!(out, " MAX {last}");
            }
            if wanted("ALL") {
                let _ = write!(out, " ALL {}", encode_set(&found));
            }
        }
        if wanted("COUNT") {
            let _ = write!(out, " COUNT {}", found.len());
        }
        if modseq > 0 {
            let _ = write!(out, " MODSEQ {modseq}");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// `None` when the cache has no text of the message.
fn judge_cached(
    test: &Test,
    subject: &Subject<'_>,
    arena: &mut Arena<2>,
    account: i64,
    text: &mut SearchText,
) -> Option<bool> {
    let [signature, octets] = arena.get((account, subject.row.content))?;
    match test.judge(subject, Look::Signature(signature)) {
        Verdict::Yes => return Some(true),
        Verdict::No => return Some(false),
        Verdict::Sent | Verdict::Text => {}
    }
    read_text(octets, text)?;
    Some(test.judge(subject, Look::Text(text)) == Verdict::Yes)
}
