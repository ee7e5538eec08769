//! The commands of one connection, from octets in pieces of any size (RFC 3501 §2.2.1, RFC 7888).
//!
//! This module knows the state of a connection and which command comes next; its octets are kept in `buffer`, and the
//! messages of APPEND come in `messages`.

mod announced;
mod buffer;
mod event;
mod messages;

pub use event::{AppendLiteral, Event};

use crate::append::{self, Append, Next};
use crate::command::{self, Refusal};
use announced::{Announced, announced};
use buffer::{Buffer, LineEnd};
use std::collections::VecDeque;

/// Limits for what the client sends.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of a command without its literals.
    pub line: usize,
    /// Octets of all literals of a command together, without those of APPEND.
    pub literals: usize,
    /// Octets of one literal of APPEND.
    pub append: u64,
    /// Octets of the value of an annotation.
    pub annotation: u64,
}

#[derive(Debug)]
enum State {
    /// Reading a command.
    Command,
    /// Reading one raw line.
    Line,
    /// Waiting for `accept` or `refuse`.
    Deciding(Append, Announced),
    /// Returning the octets of a literal.
    Octets(Append, u64),
    /// Reading what follows a message of APPEND.
    Behind(Append),
    /// Skipping a literal of a refused command.
    Dropping(u64),
    /// Skipping the rest of a refused command.
    DroppingLine,
    /// Nothing can be read any more.
    Lost,
}

/// Reads commands; does no I/O.
#[derive(Debug)]
pub struct CommandReader {
    limits: Limits,
    buffer: Buffer,
    state: State,
    /// Events read from one line together with the next one.
    pending: VecDeque<Event>,
    /// Whether mailbox names are UTF-8.
    pub utf8: bool,
}

fn refusal(tag: Option<String>, response: impl Into<String>) -> Refusal {
    Refusal {
        tag,
        response: response.into(),
        unsaved: false,
    }
}

impl CommandReader {
    /// A reader at the beginning of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: Buffer::default(),
            state: State::Command,
            pending: VecDeque::new(),
            utf8: false,
        }
    }

    /// Take octets.
    pub fn feed(&mut self, octets: &[u8]) {
        if matches!(self.state, State::Lost) {
            return;
        }
        self.buffer.feed(octets);
    }

    /// Octets fed but not read yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Drop what was fed but not read yet.
    pub fn discard(&mut self) -> usize {
        let count = self.buffered();
        self.buffer.clear();
        count
    }

    /// Make the next event a raw line.
    pub fn expect_line(&mut self) {
        if matches!(self.state, State::Command) {
            self.state = State::Line;
        }
    }

    fn lost(&mut self, tag: Option<String>, response: &str) -> Event {
        self.buffer.clear();
        self.pending.clear();
        self.state = State::Lost;
        Event::Bad {
            refusal: refusal(tag, response),
            fatal: true,
        }
    }

    /// The next event, or `None` if more octets are needed.
    pub fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.pending.pop_front() {
            return Some(event);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Command) {
                state @ (State::Command | State::Behind(_)) => {
                    self.state = state;
                    if let Some(event) = self.command()? {
                        return Some(event);
                    }
                }
                State::Line => return self.raw_line(),
                State::Octets(append, left) => return self.octets(append, left),
                State::Dropping(left) => {
                    let there = u64::try_from(self.buffered()).unwrap_or(u64::MAX);
                    let dropped = left.min(there);
                    self.buffer.skip(usize::try_from(dropped).unwrap_or(0));
                    if dropped < left {
                        self.state = State::Dropping(left - dropped);
                        return None;
                    }
                    self.state = State::DroppingLine;
                }
                State::DroppingLine => {
                    self.state = State::DroppingLine;
                    let Some(LineEnd { end, next }) = self.buffer.line_end() else {
                        if self.too_long() {
                            return Some(self.lost(None, "BAD Command line too long"));
                        }
                        return None;
                    };
                    let literal = announced(self.buffer.line(end));
                    self.buffer.begin(next);
                    self.state = match literal {
                        Some(literal) if !literal.synchronising => {
                            if literal.size > self.limits.append {
                                return Some(self.lost(None, "BAD [TOOBIG] Literal too large"));
                            }
                            State::Dropping(literal.size)
                        }
                        _ => State::Command,
                    };
                }
                state @ (State::Deciding(..) | State::Lost) => {
                    self.state = state;
                    return None;
                }
            }
        }
    }

    fn too_long(&self) -> bool {
        self.buffer.is_longer(self.limits.line)
    }

    /// `None`: more octets are needed. `Some(None)`: go on.
    #[allow(
        clippy::option_option,
        reason = "two different ways of not having an event"
    )]
    fn command(&mut self) -> Option<Option<Event>> {
        if !self.buffer.line_begun() {
            return None;
        }
        if self.too_long() {
            let tag = self.tag_of(self.buffer.first(300));
            return Some(Some(self.lost(tag, "BAD Command line too long")));
        }
        let LineEnd { end, next } = self.buffer.line_end()?;
        let literal = announced(self.buffer.line(end));
        let length = literal.map_or(0, |literal| literal.length);
        let text = self.buffer.command(end - length);
        let append = match &self.state {
            State::Behind(append) => Some(append.clone()),
            _ => None,
        };
        match (
            append::read(text, append, self.utf8, literal.is_some()),
            literal,
        ) {
            (Some(Ok(reading)), literal) => {
                if let (Next::InLine { .. }, true, Some(literal)) =
                    (reading.next, reading.urls.is_empty(), literal)
                {
                    return Some(self.gather(literal, end, next));
                }
                return Some(self.append(reading, literal, next));
            }
            (Some(Err(refusal)), Some(literal)) => {
                self.state = State::Command;
                return Some(Some(self.refuse_literal(refusal, literal, next)));
            }
            (Some(Err(refusal)), None) => {
                self.buffer.begin(next);
                self.state = State::Command;
                return Some(Some(Event::Bad {
                    refusal,
                    fatal: false,
                }));
            }
            (None, Some(literal)) => return Some(self.gather(literal, end, next)),
            (None, None) => {}
        }
        let octets = self.buffer.command(end);
        let parsed = (!octets.is_empty()).then(|| command::parse(octets, self.utf8));
        self.buffer.begin(next);
        // RFC 3501 has no empty commands, but some clients send an empty line after a literal.
        Some(parsed.map(|parsed| match parsed {
            Ok(command) => Event::Command(command),
            Err(refusal) => Event::Bad {
                refusal,
                fatal: false,
            },
        }))
    }

    /// The tag of the command that is being read, whose first octets are given.
    fn tag_of(&self, octets: &[u8]) -> Option<String> {
        match &self.state {
            State::Behind(append) => Some(append.head.tag.clone()),
            _ => command::tag_of(octets),
        }
    }

    /// Take a literal in line with its command.
    fn gather(&mut self, literal: Announced, end: usize, next: usize) -> Option<Event> {
        let size = usize::try_from(literal.size).unwrap_or(usize::MAX);
        let text = self.buffer.command(end - literal.length);
        let too_large = if literal.size > self.limits.annotation
            && command::awaits_annotation(text, self.utf8)
        {
            // RFC 5464 §4.3
            Some(format!(
                "NO [METADATA MAXSIZE {}] The value is too long",
                self.limits.annotation
            ))
        } else if self.buffer.literals().saturating_add(size) > self.limits.literals {
            Some("BAD [TOOBIG] Literal too large".to_owned())
        } else {
            None
        };
        if let Some(response) = too_large {
            let tag = self.tag_of(text);
            self.state = State::Command;
            let refusal = refusal(tag, response);
            return Some(self.refuse_literal(refusal, literal, next));
        }
        self.buffer.begin_behind_literal(next, size);
        literal.synchronising.then_some(Event::Continue)
    }

    /// Answer a command at its literal, and skip what is sent of it.
    fn refuse_literal(&mut self, refusal: Refusal, literal: Announced, next: usize) -> Event {
        if !literal.synchronising && literal.size > self.limits.append {
            // RFC 7888 §4: a literal so large is not read to its end.
            return self.lost(refusal.tag, &refusal.response);
        }
        self.buffer.begin(next);
        if !literal.synchronising {
            self.state = State::Dropping(literal.size);
        }
        Event::Bad {
            refusal,
            fatal: false,
        }
    }

    fn raw_line(&mut self) -> Option<Event> {
        self.state = State::Line;
        if self.too_long() {
            return Some(self.lost(None, "BAD Line too long"));
        }
        let LineEnd { end, next } = self.buffer.line_end()?;
        let line = self.buffer.command(end).to_vec();
        self.buffer.begin(next);
        self.state = State::Command;
        Some(Event::Line(line))
    }
}
