//! The messages of APPEND and REPLACE, which are returned as they come.

use super::announced::Announced;
use super::event::{AppendLiteral, Event};
use super::{CommandReader, State, refusal};
use crate::append::{self, Append, AppendHead, Next};
use crate::command::{Arguments, Command};

impl CommandReader {
    /// Take the literal announced last. `false` if there is none.
    pub fn accept(&mut self) -> bool {
        if !self.deciding() {
            return false;
        }
        match std::mem::replace(&mut self.state, State::Command) {
            State::Deciding(append, literal) => {
                self.state = State::Octets(append, literal.size);
                true
            }
            state => {
                self.state = state;
                false
            }
        }
    }

    /// Drop the APPEND that is being read. `false` if there is none.
    pub fn refuse(&mut self) -> bool {
        let had_pending = !self.pending.is_empty();
        self.pending.clear();
        match std::mem::replace(&mut self.state, State::Command) {
            State::Deciding(_, literal) => {
                // A client that waits for `+` sends the next command after the answer.
                if !literal.synchronising {
                    self.state = State::Dropping(literal.size);
                }
                true
            }
            State::Octets(_, left) => {
                self.state = State::Dropping(left);
                true
            }
            State::Behind(_) => {
                self.state = State::DroppingLine;
                true
            }
            state => {
                self.state = state;
                had_pending
            }
        }
    }

    /// Whether `accept` or `refuse` has to be called.
    #[must_use]
    pub fn deciding(&self) -> bool {
        self.pending.is_empty() && matches!(self.state, State::Deciding(..))
    }

    /// Return what a line of APPEND has brought.
    pub(super) fn append(
        &mut self,
        reading: append::Reading,
        literal: Option<Announced>,
        next: usize,
    ) -> Option<Event> {
        let append::Reading {
            append,
            urls,
            next: what,
        } = reading;
        let mut events: Vec<Event> = urls
            .into_iter()
            .map(|(head, url)| Event::AppendUrl { head, url })
            .collect();
        match (what, literal) {
            (Next::InLine { at }, _) => {
                // Earlier octets are not read again at each literal: that would take quadratic time.
                self.buffer.skip(at);
                self.state = State::Behind(append);
            }
            (Next::Literal { wrapped }, Some(literal)) => {
                self.state = State::Command;
                match self.announce(append, literal, wrapped, next) {
                    bad @ Event::Bad { .. } => return Some(bad),
                    event => events.push(event),
                }
            }
            _ => {
                self.state = State::Command;
                self.buffer.begin(next);
                let AppendHead {
                    tag,
                    name,
                    uid,
                    mailbox,
                    position,
                    ..
                } = append.head;
                events.push(Event::Command(Command {
                    tag,
                    name,
                    uid,
                    arguments: Arguments::Append {
                        mailbox,
                        count: position,
                    },
                }));
            }
        }
        self.pending.extend(events);
        self.pending.pop_front()
    }

    /// Ask whether the literal of a message is wanted.
    fn announce(
        &mut self,
        append: Append,
        literal: Announced,
        wrapped: bool,
        next: usize,
    ) -> Event {
        if literal.size > self.limits.append {
            let text = format!(
                "NO [TOOBIG] Message is larger than {} octets",
                self.limits.append
            );
            return self.refuse_literal(refusal(Some(append.head.tag), text), literal, next);
        }
        self.buffer.begin(next);
        let event = AppendLiteral {
            head: append.head.clone(),
            size: literal.size,
            synchronising: literal.synchronising,
            binary: literal.binary,
            utf8: wrapped,
        };
        self.state = State::Deciding(append, literal);
        Event::AppendLiteral(event)
    }

    /// Return what has come of a literal.
    pub(super) fn octets(&mut self, append: Append, left: u64) -> Option<Event> {
        let there = u64::try_from(self.buffered()).unwrap_or(u64::MAX);
        let taken = left.min(there);
        if taken == 0 && left > 0 {
            self.state = State::Octets(append, left);
            return None;
        }
        let octets = self.buffer.take(usize::try_from(taken).unwrap_or(0));
        let last = taken == left;
        self.state = if last {
            State::Behind(append)
        } else {
            State::Octets(append, left - taken)
        };
        Some(Event::AppendOctets { octets, last })
    }
}
