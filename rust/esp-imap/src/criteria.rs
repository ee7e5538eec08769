//! The keys of a search, compiled for one mailbox and tested against one message at a time.

use crate::date::DAY;
use crate::flags::keyword_bit;
use crate::fuzzy::Fuzzy;
use crate::heads::Heads;
use crate::index::{Row, Table};
use crate::search_program::{DateOf, Key, Place};
use crate::view::Known;
use esp_mime::{HEAD_FIELDS, Head, Needle, Scope, SearchText};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// The contents of threads that a search names.
pub type ThreadContents = HashMap<i64, Vec<i64>>;

/// A key, with everything worked out that can be known beforehand.
pub(crate) enum Test {
    Fixed(bool),
    Flag(i64),
    Recent,
    Positions(Vec<(usize, usize)>),
    Day(DateOf, i64, i64),
    Larger(u64),
    Smaller(u64),
    Since(i64),
    ModSeq(i64),
    Content(i64),
    Contents(HashSet<i64>),
    Contains(Place, Box<Needle>),
    /// A field that heads have.
    Head(String, Box<Needle>),
    /// Remembers the message that it saw last.
    Fuzzy(Box<RefCell<Fuzzy>>),
    Not(Box<Test>),
    /// And whether all tests are made, since they contribute to scores.
    Any(Vec<Test>, bool),
    Every(Vec<Test>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    No,
    Yes,
    /// The head decides.
    Head,
    /// Text decides.
    Text,
}

#[derive(Clone, Copy)]
pub(crate) enum Look<'a> {
    /// The text is not there yet.
    None,
    /// Only what the text cannot have is known.
    Signature(&'a [u8]),
    /// The text, and whether its signature was looked at before.
    Text(&'a SearchText, bool),
}

/// A message that is tested.
pub(crate) struct Subject<'a> {
    pub(crate) row: &'a Row,
    pub(crate) position: usize,
    pub(crate) recent: bool,
    /// The known heads of the mailbox.
    pub(crate) heads: &'a Heads,
}

impl<'a> Subject<'a> {
    fn head(&self) -> Option<Head<'a>> {
        self.heads.get(self.row.content)
    }
}

/// Work out what a key means for the messages that a view knows.
pub(crate) fn compile(
    key: &Key,
    known: &Known,
    table: &Table,
    now: i64,
    threads: &ThreadContents,
    fuzzy: bool,
) -> Test {
    let one = |key: &Key| compile(key, known, table, now, threads, fuzzy);
    let all = |keys: &[Key]| keys.iter().map(one).collect::<Vec<_>>();
    match key {
        Key::All => Test::Fixed(true),
        Key::Flag(bits) => Test::Flag(*bits),
        Key::Keyword(name) => Test::Flag(keyword_bit(&table.keywords, name)),
        Key::Recent => Test::Recent,
        // Numbers beyond EXISTS find nothing: RFC 9051 §9 would have BAD (a SHOULD), but clients and other servers'
        // tests take a search for a question that may have the answer "none".
        Key::Numbers(set) => Test::Positions(known.present(set, false)),
        Key::Uids(set) => Test::Positions(known.present(set, true)),
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
        Key::Content(content) => Test::Content(*content),
        Key::Thread(thread) => {
            Test::Contents(threads.get(thread).into_iter().flatten().copied().collect())
        }
        Key::Contains(place, needle) if fuzzy && let Some(words) = Fuzzy::new(place, needle) => {
            Test::Fuzzy(Box::new(RefCell::new(words)))
        }
        Key::Contains(place, needle) => {
            let needle = Box::new(Needle::new(needle));
            match place {
                Place::Header(name) if HEAD_FIELDS.contains(&name.as_str()) => {
                    Test::Head(name.clone(), needle)
                }
                place => Test::Contains(place.clone(), needle),
            }
        }
        // RFC 6203 §5: flags, dates, sizes and numbers have no near matches; they are compared exactly.
        Key::Fuzzy(inner) => compile(inner, known, table, now, threads, true),
        Key::Not(inner) => Test::Not(Box::new(one(inner))),
        Key::Any(keys) => {
            let tests = all(keys);
            let scored = tests.iter().any(|test| test.fuzzy(false).next().is_some());
            Test::Any(tests, scored)
        }
        Key::Every(keys) => Test::Every(all(keys)),
    }
}

fn verdict(yes: bool) -> Verdict {
    if yes { Verdict::Yes } else { Verdict::No }
}

impl Test {
    /// The words searched for; `negated` with those under NOT.
    pub(crate) fn fuzzy(&self, negated: bool) -> Box<dyn Iterator<Item = &RefCell<Fuzzy>> + '_> {
        match self {
            Self::Fuzzy(words) => Box::new(std::iter::once(&**words)),
            Self::Not(inner) if negated => inner.fuzzy(negated),
            Self::Any(tests, _) | Self::Every(tests) => {
                Box::new(tests.iter().flat_map(move |test| test.fuzzy(negated)))
            }
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Test a message, as far as what is known about it allows.
    pub(crate) fn judge(&self, subject: &Subject<'_>, look: Look<'_>) -> Verdict {
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
                let day = match of {
                    DateOf::Internal => Some(row.internal_date.div_euclid(DAY)),
                    DateOf::Saved => Some(row.saved_at.div_euclid(DAY)),
                    DateOf::Sent => match subject.head() {
                        None => return Verdict::Head,
                        Some(head) => head.sent_day(),
                    },
                };
                verdict(day.is_some_and(|day| (*from..*to).contains(&day)))
            }
            Self::Larger(size) => verdict(row.size > *size),
            Self::Smaller(size) => verdict(row.size < *size),
            Self::Since(time) => verdict(row.internal_date >= *time),
            Self::ModSeq(modseq) => verdict(row.modseq >= *modseq),
            Self::Content(content) => verdict(row.content == *content),
            Self::Contents(contents) => verdict(contents.contains(&row.content)),
            Self::Head(name, needle) => match subject.head() {
                None => Verdict::Head,
                Some(head) if head.has_fields() => verdict(head.has(needle, name)),
                Some(_) => judge_text(needle, Scope::Field(name), look),
            },
            Self::Contains(place, needle) => {
                let scope = match place {
                    Place::Text => Scope::Text,
                    Place::Body => Scope::Body,
                    Place::Header(name) => Scope::Field(name),
                };
                judge_text(needle, scope, look)
            }
            Self::Not(inner) => match inner.judge(subject, look) {
                Verdict::Yes => Verdict::No,
                Verdict::No => Verdict::Yes,
                open => open,
            },
            Self::Fuzzy(words) => words
                .borrow_mut()
                .judge(subject.position, subject.head(), look),
            Self::Any(tests, true) => judge_scored(tests, subject, look),
            Self::Any(tests, false) => judge_all(tests, subject, look, Verdict::Yes, Verdict::No),
            Self::Every(tests) => judge_all(tests, subject, look, Verdict::No, Verdict::Yes),
        }
    }
}

fn judge_text(needle: &Needle, scope: Scope<'_>, look: Look<'_>) -> Verdict {
    match look {
        Look::None => Verdict::Text,
        Look::Signature(signature) if needle.may_be_in(signature) => Verdict::Text,
        Look::Signature(_) => Verdict::No,
        Look::Text(text, _) => verdict(needle.is_in(text, scope)),
    }
}

/// If one test gives `decisive`, that decides; otherwise an open one stays open, with the cheaper need first.
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
            Verdict::Head => result = Verdict::Head,
            Verdict::Text if result != Verdict::Head => result = Verdict::Text,
            _ => {}
        }
    }
    result
}

/// One of the tests is enough, but all that can be made are made, for their scores.
fn judge_scored(tests: &[Test], subject: &Subject<'_>, look: Look<'_>) -> Verdict {
    let mut result = Verdict::No;
    for test in tests {
        result = match (test.judge(subject, look), result) {
            (Verdict::Head, _) | (_, Verdict::Head) => Verdict::Head,
            (Verdict::Text, _) | (_, Verdict::Text) => Verdict::Text,
            (Verdict::Yes, _) => Verdict::Yes,
            (Verdict::No, before) => before,
        };
    }
    result
}
