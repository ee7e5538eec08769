//! How SEARCH, SORT and THREAD are answered (RFC 3501 §7.2.5, RFC 4731 §3, RFC 5256 §4, RFC 5267 §4, RFC 6203 §4).

use crate::encode_set;
use crate::returns::Returns;
use crate::search::{Order, Search};
use std::io::Write as _;

/// What a response says about its command.
#[derive(Debug, Clone, Copy)]
pub struct Correlation<'a> {
    /// The tag of the command.
    pub tag: &'a str,
    /// Whether numbers are UIDs.
    pub uid: bool,
    /// The mailbox's name on the wire and its UIDVALIDITY, if the response has to name its mailbox.
    pub mailbox: Option<(&'a [u8], u32)>,
}

impl Search {
    /// The result as UIDs, in its order.
    #[must_use]
    pub fn uids(&self) -> Vec<u32> {
        // Looking each one up is faster only for few.
        if self.hits.len() * 16 < self.uids.len() {
            let uids = self.hits.iter();
            return uids
                .filter_map(|position| self.uids.get(*position))
                .collect();
        }
        let all: Vec<u32> = self.uids.iter().collect();
        let uids = self.hits.iter();
        uids.filter_map(|position| all.get(*position).copied())
            .collect()
    }

    /// The result as sequence numbers, in its order.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        self.hits
            .iter()
            .map(|position| u32::try_from(position + 1).unwrap_or(u32::MAX))
            .collect()
    }

    fn found(&self, uid: bool) -> Vec<u32> {
        if uid { self.uids() } else { self.numbers() }
    }

    fn highest_modseq(&self, positions: &[usize]) -> i64 {
        let table = self.view.index().read();
        positions
            .iter()
            .filter_map(|position| table.find(self.uids.get(*position)?))
            .map(|row| row.modseq)
            .max()
            .unwrap_or(0)
    }

    /// The highest mod-sequence in the result, or 0.
    #[must_use]
    pub fn modseq(&self) -> i64 {
        self.highest_modseq(&self.hits)
    }

    /// The mod-sequence of a response (RFC 7162 §3.1.10): with MIN or MAX alone, that of the messages named; 0 if none.
    fn told_modseq(&self, returns: Option<&Returns>) -> i64 {
        if !self.with_modseq {
            return 0;
        }
        let Some(returns) = returns else {
            return self.modseq();
        };
        let more = ["ALL", "COUNT", "PARTIAL"];
        if more.iter().any(|option| returns.has(option)) {
            return self.modseq();
        }
        let ends = [("MIN", self.hits.first()), ("MAX", self.hits.last())];
        let named: Vec<usize> = ends
            .into_iter()
            .filter(|(option, _)| returns.has(option))
            .filter_map(|(_, position)| position.copied())
            .collect();
        self.highest_modseq(&named)
    }

    /// Scores of the messages that a response names.
    fn told_scores(&self, returns: &Returns) -> Vec<u8> {
        if !returns.has("RELEVANCY") {
            return Vec::new();
        }
        let named = returns.scored(&self.hits);
        named.iter().map(|position| self.score(*position)).collect()
    }

    /// The untagged response; empty if no result is asked for.
    #[must_use]
    pub fn response(&self, told: Correlation<'_>, returns: Option<&Returns>) -> Vec<u8> {
        let name = match self.order {
            Order::Mailbox => "SEARCH",
            Order::Sort(_) => "SORT",
            Order::Thread(_) => return self.thread_response(told.uid),
        };
        let found = self.found(told.uid);
        let modseq = self.told_modseq(returns);
        let mut out = Vec::with_capacity(64 + found.len() * 7);
        if let Some(returns) = returns {
            if !returns.is_silent() {
                write_esearch(&mut out, told, returns, &found, &self.told_scores(returns));
                if modseq > 0 {
                    let _ = write!(out, " MODSEQ {modseq}");
                }
                out.extend_from_slice(b"\r\n");
            }
            return out;
        }
        let _ = write!(out, "* {name}");
        for number in found {
            out.push(b' ');
            crate::wire::number(&mut out, number);
        }
        if modseq > 0 {
            let _ = write!(out, " (MODSEQ {modseq})");
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    fn thread_response(&self, uid: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.hits.len() * 8);
        out.extend_from_slice(b"* THREAD");
        if let Some(threads) = self.threads.as_ref().filter(|_| !self.hits.is_empty()) {
            out.push(b' ');
            threads.write(&self.found(uid), &mut out);
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

fn write_esearch(
    out: &mut Vec<u8>,
    told: Correlation<'_>,
    returns: &Returns,
    found: &[u32],
    scores: &[u8],
) {
    out.extend_from_slice(b"* ESEARCH (TAG ");
    crate::write_nstring(out, Some(told.tag.as_bytes()));
    if let Some((name, uidvalidity)) = told.mailbox {
        out.extend_from_slice(b" MAILBOX ");
        out.extend_from_slice(name);
        let _ = write!(out, " UIDVALIDITY {uidvalidity}");
    }
    out.extend_from_slice(if told.uid { b") UID" } else { b")" });
    if let (Some(first), Some(last)) = (found.first(), found.last()) {
        if returns.has("MIN") {
            let _ = write!(out, " MIN {first}");
        }
        if returns.has("MAX") {
            let _ = write!(out, " MAX {last}");
        }
        if returns.has("ALL") {
            let _ = write!(out, " ALL {}", encode_set(found));
        }
    }
    if returns.has("COUNT") {
        let _ = write!(out, " COUNT {}", found.len());
    }
    if let Some(partial) = returns.partial {
        let part = partial.of(found);
        let set = if part.is_empty() {
            "NIL".to_owned()
        } else {
            encode_set(part)
        };
        let _ = write!(out, " PARTIAL ({partial} {set})");
    }
    if returns.has("RELEVANCY") {
        out.extend_from_slice(b" RELEVANCY (");
        for (number, score) in scores.iter().enumerate() {
            if number > 0 {
                out.push(b' ');
            }
            crate::wire::number(out, u32::from(*score));
        }
        out.push(b')');
    }
}
