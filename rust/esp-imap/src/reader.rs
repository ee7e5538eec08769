//! The commands of one connection, from octets in pieces of any size (RFC 3501 §2.2.1, RFC 7888).

use crate::append::{self, Append, AppendHead, Next};
use crate::command::{self, Arguments, Command, Refusal};
use std::collections::VecDeque;

/// What the client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of a command without its literals.
    pub line: usize,
    /// Octets of a command's literals together, those of APPEND not counted.
    pub literals: usize,
    /// Octets of one literal of APPEND.
    pub append: u64,
}

/// A message, or a part of one, that APPEND or REPLACE is about to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendLiteral {
    /// Where it belongs.
    pub head: AppendHead,
    /// Octets.
    pub size: u64,
    /// Whether the client waits for `+`.
    pub synchronising: bool,
    /// Whether it is a literal8.
    pub binary: bool,
    /// Whether it stands in `UTF8 (…)`, which makes it text again (RFC 6855 §4).
    pub utf8: bool,
}

/// What the octets meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A whole command.
    Command(Command),
    /// The client waits for `+`.
    Continue,
    /// See `CommandReader::accept`, `refuse`.
    AppendLiteral(AppendLiteral),
    /// A part of a message that is here already (RFC 4469); may be refused as a literal may.
    AppendUrl {
        /// Where it belongs.
        head: AppendHead,
        /// As given.
        url: String,
    },
    /// Octets of an accepted literal.
    AppendOctets {
        /// The octets.
        octets: Vec<u8>,
        /// Whether the literal is complete.
        last: bool,
    },
    /// Answer this.
    Bad {
        /// The answer.
        refusal: Refusal,
        /// Whether the stream is lost.
        fatal: bool,
    },
    /// A line asked for with `expect_line`.
    Line(Vec<u8>),
}

/// The literal that ends a line.
#[derive(Debug, Clone, Copy)]
struct Announced {
    size: u64,
    synchronising: bool,
    binary: bool,
    /// Octets of the announcement, `{5+}`.
    length: usize,
}

#[derive(Debug)]
enum State {
    /// Reading a command from `start`.
    Command,
    /// Reading one raw line from `start`.
    Line,
    /// `accept` or `refuse` is due.
    Deciding(Append, Announced),
    /// Handing out a literal.
    Octets(Append, u64),
    /// Reading what follows a message of APPEND.
    Behind(Append),
    /// Passing over a literal of a refused command.
    Dropping(u64),
    /// Passing over the rest of a refused command.
    DroppingLine,
    /// Nothing can be read any longer.
    Lost,
}

/// Reads commands; does no I/O.
#[derive(Debug)]
pub struct CommandReader {
    limits: Limits,
    buffer: Vec<u8>,
    /// Where the current command, line or literal begins in `buffer`.
    start: usize,
    /// Where the current line of it begins.
    line: usize,
    /// From where a line end is looked for.
    scan: usize,
    /// Octets of literals in the current command.
    literals: usize,
    state: State,
    /// What was read in one line with what comes next.
    pending: VecDeque<Event>,
    /// Whether mailbox names are UTF-8.
    pub utf8: bool,
}

/// `["~"] "{" number ["+" / "-"] "}"` at the end of a line.
fn announced(line: &[u8]) -> Option<Announced> {
    let body = line.strip_suffix(b"}")?;
    let (body, synchronising) = match body.strip_suffix(b"+") {
        Some(body) => (body, false),
        None => (body, true),
    };
    let digits = body
        .iter()
        .rev()
        .take_while(|octet| octet.is_ascii_digit())
        .count();
    let (before, digits) = body.split_at_checked(body.len() - digits)?;
    let before = before.strip_suffix(b"{")?;
    if digits.is_empty() {
        return None;
    }
    let binary = before.ends_with(b"~");
    Some(Announced {
        // A number too large for 64 bits is larger than every limit as well.
        size: std::str::from_utf8(digits)
            .ok()?
            .parse()
            .unwrap_or(u64::MAX),
        synchronising,
        binary,
        length: line.len() - before.len() + usize::from(binary),
    })
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
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
            buffer: Vec::new(),
            start: 0,
            line: 0,
            scan: 0,
            literals: 0,
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
        self.buffer.extend_from_slice(octets);
    }

    /// Octets fed and not yet read.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Drop what was fed and not yet read.
    pub fn discard(&mut self) -> usize {
        let count = self.buffered();
        self.buffer.clear();
        self.begin(0);
        count
    }

    /// Make the next event a raw line.
    pub fn expect_line(&mut self) {
        if matches!(self.state, State::Command) {
            self.state = State::Line;
        }
    }

    /// Take the literal announced last. `false` when none is.
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

    /// Drop the APPEND that is being read. `false` when none is.
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

    /// Whether `accept` or `refuse` is due.
    #[must_use]
    pub fn deciding(&self) -> bool {
        self.pending.is_empty() && matches!(self.state, State::Deciding(..))
    }

    /// A new command, line or literal begins at `at`.
    fn begin(&mut self, at: usize) {
        self.start = at;
        self.line = at;
        self.scan = at;
        self.literals = 0;
        if self.start >= self.buffer.len() {
            self.buffer.clear();
            (self.start, self.line, self.scan) = (0, 0, 0);
            if self.buffer.capacity() > 65_536 {
                self.buffer = Vec::new();
            }
        } else if self.start * 2 >= self.buffer.len() {
            // Moves no more octets than were read since the last time, so the whole stays linear.
            self.buffer.drain(..self.start);
            (self.start, self.line, self.scan) = (0, 0, 0);
        }
    }

    fn slice(&self, from: usize, to: usize) -> &[u8] {
        self.buffer.get(from..to).unwrap_or_default()
    }

    /// The end of the current line and where the next begins, once it is there.
    fn line_end(&mut self) -> Option<(usize, usize)> {
        let rest = self.buffer.get(self.scan..).unwrap_or_default();
        match memchr::memchr(b'\n', rest) {
            Some(length) => {
                let end = self.scan + length;
                Some((
                    self.line + without_cr(self.slice(self.line, end)).len(),
                    end + 1,
                ))
            }
            None => {
                self.scan = self.buffer.len();
                None
            }
        }
    }

    fn lost(&mut self, tag: Option<String>, response: &str) -> Event {
        self.buffer = Vec::new();
        self.pending.clear();
        self.begin(0);
        self.state = State::Lost;
        Event::Bad {
            refusal: refusal(tag, response),
            fatal: true,
        }
    }

    /// The next event, or `None` when more octets are needed.
    pub fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.pending.pop_front() {
            return Some(event);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Command) {
                State::Command => {
                    if let Some(event) = self.command(None)? {
                        return Some(event);
                    }
                }
                State::Line => return self.raw_line(),
                State::Octets(append, left) => return self.octets(append, left),
                State::Behind(append) => {
                    self.state = State::Behind(append.clone());
                    if let Some(event) = self.command(Some(append))? {
                        return Some(event);
                    }
                }
                State::Dropping(left) => {
                    let there = u64::try_from(self.buffered()).unwrap_or(u64::MAX);
                    let dropped = left.min(there);
                    self.begin(self.start + usize::try_from(dropped).unwrap_or(0));
                    if dropped < left {
                        self.state = State::Dropping(left - dropped);
                        return None;
                    }
                    self.state = State::DroppingLine;
                }
                State::DroppingLine => {
                    self.state = State::DroppingLine;
                    let Some((end, next)) = self.line_end() else {
                        if self.too_long() {
                            return Some(self.lost(None, "BAD Command line too long"));
                        }
                        return None;
                    };
                    let literal = announced(self.slice(self.line, end));
                    self.begin(next);
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

    /// Whether the line being read is longer than may be, its end seen or not.
    fn too_long(&self) -> bool {
        let seen = memchr::memchr(b'\n', self.buffer.get(self.scan..).unwrap_or_default())
            .map_or(self.buffer.len(), |length| self.scan + length);
        seen - self.start > self.limits.line + self.literals
    }

    /// `None`: more octets are needed. `Some(None)`: go on. With `append`, its literal is behind us.
    #[allow(
        clippy::option_option,
        reason = "two different ways of not having an event"
    )]
    fn command(&mut self, append: Option<Append>) -> Option<Option<Event>> {
        if self.buffer.len() < self.line {
            return None;
        }
        if self.too_long() {
            let tag = match append {
                Some(append) => Some(append.head.tag),
                None => command::tag_of(self.slice(self.start, self.start + 300)),
            };
            return Some(Some(self.lost(tag, "BAD Command line too long")));
        }
        let (end, next) = self.line_end()?;
        let literal = announced(self.slice(self.line, end));
        let text = self.slice(
            self.start,
            end - literal.map_or(0, |literal| literal.length),
        );
        let is_append = append.is_some();
        match (
            append::read(text, append, self.utf8, literal.is_some()),
            literal,
        ) {
            (Some(Ok(reading)), _) if reading.next != Next::InLine => {
                return Some(Some(self.append(reading, literal, next)));
            }
            (Some(Err(refusal)), Some(literal)) => {
                self.state = State::Command;
                return Some(Some(self.refuse_literal(refusal, literal, next)));
            }
            (Some(Err(refusal)), None) => {
                self.begin(next);
                self.state = State::Command;
                return Some(Some(Event::Bad {
                    refusal,
                    fatal: false,
                }));
            }
            (_, Some(literal)) => {
                return Some(self.gather(literal, end, next, is_append));
            }
            (_, None) => {}
        }
        let parsed =
            (end > self.start).then(|| command::parse(self.slice(self.start, end), self.utf8));
        self.begin(next);
        // RFC 3501 has no empty commands; some clients send an empty line after a literal.
        Some(parsed.map(|parsed| match parsed {
            Ok(command) => Event::Command(command),
            Err(refusal) => Event::Bad {
                refusal,
                fatal: false,
            },
        }))
    }

    /// Have a literal in line with its command.
    fn gather(
        &mut self,
        literal: Announced,
        end: usize,
        next: usize,
        is_append: bool,
    ) -> Option<Event> {
        let size = usize::try_from(literal.size).unwrap_or(usize::MAX);
        if self.literals.saturating_add(size) > self.limits.literals {
            let tag = match &self.state {
                State::Behind(append) if is_append => Some(append.head.tag.clone()),
                _ => command::tag_of(self.slice(self.start, end)),
            };
            self.state = State::Command;
            let refusal = refusal(tag, "BAD [TOOBIG] Literal too large");
            return Some(self.refuse_literal(refusal, literal, next));
        }
        // Looks for a line end behind the literal from now on, and for nothing before all of it is there.
        self.literals += size;
        self.line = next + size;
        self.scan = self.line;
        literal.synchronising.then_some(Event::Continue)
    }

    /// Hand out what a line of APPEND has brought.
    fn append(
        &mut self,
        reading: append::Reading,
        literal: Option<Announced>,
        next: usize,
    ) -> Event {
        let append::Reading {
            append,
            urls,
            next: what,
        } = reading;
        self.state = State::Command;
        let last = match (what, literal) {
            (Next::Literal { wrapped }, Some(literal)) => {
                self.announce(append, literal, wrapped, next)
            }
            _ => {
                self.begin(next);
                let AppendHead {
                    tag,
                    name,
                    uid,
                    mailbox,
                    position,
                    ..
                } = append.head;
                Event::Command(Command {
                    tag,
                    name,
                    uid,
                    arguments: Arguments::Append {
                        mailbox,
                        count: position,
                    },
                })
            }
        };
        if matches!(last, Event::Bad { .. }) {
            return last;
        }
        let urls = urls
            .into_iter()
            .map(|(head, url)| Event::AppendUrl { head, url });
        self.pending.extend(urls.chain([last]));
        self.pending.pop_front().unwrap_or(Event::Continue)
    }

    /// Answer a command at its literal and pass over what is sent of it.
    fn refuse_literal(&mut self, refusal: Refusal, literal: Announced, next: usize) -> Event {
        if !literal.synchronising && literal.size > self.limits.append {
            // RFC 7888 §4: nobody reads that to its end.
            return self.lost(refusal.tag, &refusal.response);
        }
        self.begin(next);
        if !literal.synchronising {
            self.state = State::Dropping(literal.size);
        }
        Event::Bad {
            refusal,
            fatal: false,
        }
    }

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
        self.begin(next);
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

    fn octets(&mut self, append: Append, left: u64) -> Option<Event> {
        let there = u64::try_from(self.buffered()).unwrap_or(u64::MAX);
        let taken = left.min(there);
        if taken == 0 && left > 0 {
            self.state = State::Octets(append, left);
            return None;
        }
        let until = self.start + usize::try_from(taken).unwrap_or(0);
        let octets = if self.start == 0 && until == self.buffer.len() {
            std::mem::take(&mut self.buffer)
        } else {
            self.slice(self.start, until).to_vec()
        };
        self.begin(until);
        let last = taken == left;
        self.state = if last {
            State::Behind(append)
        } else {
            State::Octets(append, left - taken)
        };
        Some(Event::AppendOctets { octets, last })
    }

    fn raw_line(&mut self) -> Option<Event> {
        self.state = State::Line;
        if self.too_long() {
            return Some(self.lost(None, "BAD Line too long"));
        }
        let (end, next) = self.line_end()?;
        let line = self.slice(self.start, end).to_vec();
        self.begin(next);
        self.state = State::Command;
        Some(Event::Line(line))
    }
}
