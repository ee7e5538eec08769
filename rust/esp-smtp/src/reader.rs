//! One connection: octets in, events out.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memchr::memchr;

use crate::command::{Command, Problem, parse};
use crate::content::{Content, Fault, Rules};
use crate::dots::Unstuffer;

/// RFC 4954 §4: 12288 octets for an AUTH response; every other line is shorter.
const LONGEST_LINE: usize = 12_288 + 2;
/// Octets that a connection keeps as its read buffer.
const SMALL_BUFFER: usize = 1024;
/// Octets that a message may always keep, however many other messages do.
const SMALL: usize = 16 * 1024;

/// What one door allows its connections, and the octets that they hold together.
#[derive(Debug, Default)]
pub struct Limits {
    /// The rules for each message.
    pub rules: Rules,
    /// Octets of one message in memory; the rest is returned as parts.
    pub memory_limit: usize,
    /// Octets of all messages in memory; above it, a message keeps only a little.
    pub memory_budget: usize,
    held: AtomicUsize,
}

impl Limits {
    /// Limits of a door without connections yet.
    #[must_use]
    pub const fn new(rules: Rules, memory_limit: usize, memory_budget: usize) -> Self {
        Self {
            rules,
            memory_limit,
            memory_budget,
            held: AtomicUsize::new(0),
        }
    }

    /// Octets that all readers of this door hold.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A command. After `Data` call `begin_data` to take the message, after `Bdat` `keep_chunk`.
    Command(Command),
    /// A line that is not a valid command.
    Problem(Problem),
    /// A line that was asked for with `expect_line`.
    Line(Vec<u8>),
    /// The message's next octets, if it is too large for memory.
    Part(Vec<u8>),
    /// A BDAT chunk has ended; not returned for the last chunk of a message that was kept.
    ChunkEnd {
        /// Whether it was kept.
        kept: bool,
        /// Whether the command had `LAST`.
        last: bool,
        /// What is wrong with the message so far.
        fault: Option<Fault>,
    },
    /// The message has ended.
    Message(Message),
}

/// A message that has come completely.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Message {
    /// The octets after the last part.
    pub rest: Vec<u8>,
    /// Octets that came in all.
    pub size: u64,
    /// Why it cannot be accepted; if set, the other fields mean nothing.
    pub fault: Option<Fault>,
    /// Number of `Received` fields.
    pub received: u32,
    /// Whether there is a `Date` field.
    pub has_date: bool,
    /// Whether there is a `Message-ID` field.
    pub has_message_id: bool,
    /// Whether there is a `From` field.
    pub has_from: bool,
}

#[derive(Debug)]
enum Mode {
    Command,
    Line,
    Data {
        unstuffer: Unstuffer,
        ended: bool,
    },
    Chunk {
        remaining: u64,
        last: bool,
        kept: bool,
    },
}

/// Reads one connection.
#[derive(Debug)]
pub struct Reader {
    limits: Arc<Limits>,
    mode: Mode,
    buffer: Vec<u8>,
    /// How many octets of the buffer were read.
    start: usize,
    /// How far it was searched for a line end.
    searched: usize,
    overlong: bool,
    content: Option<Box<Content>>,
    accounted: usize,
    /// Returned before anything else.
    unread: Option<Box<Event>>,
}

impl Reader {
    /// A reader for a connection on which nothing has come yet.
    #[must_use]
    pub const fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            mode: Mode::Command,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            overlong: false,
            content: None,
            accounted: 0,
            unread: None,
        }
    }

    /// Octets that wait to be read as commands.
    #[must_use]
    pub const fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Take octets from the network.
    pub fn feed(&mut self, octets: &[u8]) {
        let used = if self.buffer.is_empty() {
            self.consume(octets)
        } else {
            0
        };
        if self.start > self.buffered() {
            // Otherwise it would grow for as long as a client's pieces end within lines.
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer
            .extend_from_slice(octets.get(used..).unwrap_or_default());
        self.account();
    }

    /// What came next, or `None` until more is fed.
    pub fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.unread.take() {
            return Some(*event);
        }
        let event = match self.mode {
            Mode::Command => self.line(parse).map(|read| match read {
                Ok(command) => {
                    if let Command::Bdat { size, last } = command {
                        self.mode = Mode::Chunk {
                            remaining: size,
                            last,
                            kept: false,
                        };
                    }
                    Event::Command(command)
                }
                Err(problem) => Event::Problem(problem),
            }),
            Mode::Line => self.line(|line| Ok(line.to_vec())).map(|read| {
                self.mode = Mode::Command;
                read.map_or_else(Event::Problem, Event::Line)
            }),
            Mode::Data { .. } | Mode::Chunk { .. } => self.message_event(),
        };
        self.account();
        event
    }

    /// Take the last event back: it is returned next.
    pub fn unread(&mut self, event: Event) {
        self.unread = Some(Box::new(event));
    }

    /// The next line is not a command (RFC 4954 §4).
    pub fn expect_line(&mut self) {
        self.mode = Mode::Line;
    }

    /// What follows is a message, up to the line with the dot; a message whose chunks have come is dropped.
    pub fn begin_data(&mut self, strip_bcc: bool) {
        self.begin_content(strip_bcc);
        self.mode = Mode::Data {
            unstuffer: Unstuffer::new(),
            ended: false,
        };
    }

    /// The chunk that follows belongs to the message; without this call it is read and dropped.
    pub fn keep_chunk(&mut self, strip_bcc: bool) {
        if let Mode::Chunk { kept, .. } = &mut self.mode {
            *kept = true;
            if self.content.is_none() {
                self.begin_content(strip_bcc);
            }
        }
    }

    /// Drop the message whose chunks have come.
    pub fn forget(&mut self) {
        self.content = None;
        self.account();
    }

    /// Drop what was fed but not read: it came in clear text before TLS (RFC 3207 §4.2). Returns how much it was.
    pub fn discard(&mut self) -> usize {
        let discarded = self.buffered();
        self.used(self.buffer.len());
        self.overlong = false;
        self.mode = Mode::Command;
        self.forget();
        discarded
    }

    fn begin_content(&mut self, strip_bcc: bool) {
        let mut rules = self.limits.rules.clone();
        rules.strip_bcc = strip_bcc;
        self.content = Some(Box::new(Content::new(rules)));
    }

    /// Take octets of the message from the front; returns how many they are.
    fn consume(&mut self, octets: &[u8]) -> usize {
        match &mut self.mode {
            Mode::Command | Mode::Line => 0,
            Mode::Data { ended: true, .. } => 0,
            Mode::Data { unstuffer, ended } => {
                let content = &mut self.content;
                let end = unstuffer.feed(octets, |text| {
                    if let Some(content) = content {
                        content.push(text);
                    }
                });
                *ended = end.is_some();
                end.unwrap_or(octets.len())
            }
            Mode::Chunk {
                remaining, kept, ..
            } => {
                let length =
                    usize::try_from(*remaining).map_or(octets.len(), |left| left.min(octets.len()));
                *remaining -= length as u64;
                if let (true, Some(content), Some(chunk)) =
                    (*kept, &mut self.content, octets.get(..length))
                {
                    content.push(chunk);
                }
                length
            }
        }
    }

    fn message_event(&mut self) -> Option<Event> {
        if !self.buffer.is_empty() {
            let buffer = mem::take(&mut self.buffer);
            let used = self.consume(buffer.get(self.start..).unwrap_or_default());
            self.buffer = buffer;
            self.used(self.start + used);
        }
        let over = match self.mode {
            Mode::Data { ended, .. } => ended.then_some((true, true)),
            Mode::Chunk {
                remaining,
                last,
                kept,
            } => (remaining == 0).then_some((kept, last)),
            Mode::Command | Mode::Line => None,
        };
        let limit = if self.limits.held() > self.limits.memory_budget {
            SMALL.min(self.limits.memory_limit)
        } else {
            self.limits.memory_limit
        };
        match over {
            Some((true, true)) => {
                self.mode = Mode::Command;
                let mut content = self.content.take()?;
                content.finish();
                if let Some(fault) = content.fault() {
                    return Some(Event::Message(Message {
                        size: content.size(),
                        fault: Some(fault),
                        ..Message::default()
                    }));
                }
                Some(Event::Message(Message {
                    rest: content.take(),
                    size: content.size(),
                    fault: None,
                    received: content.received,
                    has_date: content.has_date,
                    has_message_id: content.has_message_id,
                    has_from: content.has_from,
                }))
            }
            Some((kept, last)) => {
                self.mode = Mode::Command;
                Some(Event::ChunkEnd {
                    kept,
                    last,
                    fault: self.content.as_ref().and_then(|content| content.fault()),
                })
            }
            None => self
                .content
                .as_mut()
                .filter(|content| content.is_over(limit))
                .map(|content| content.take_part())
                .filter(|part| !part.is_empty())
                .map(Event::Part),
        }
    }

    /// Read the next line with `read`, once it is complete.
    fn line<T>(
        &mut self,
        read: impl FnOnce(&[u8]) -> Result<T, Problem>,
    ) -> Option<Result<T, Problem>> {
        let from = self.searched.max(self.start);
        let Some(at) = memchr(b'\n', self.buffer.get(from..).unwrap_or_default()) else {
            if self.buffered() > LONGEST_LINE {
                // The last octet stays: it may be the CR of the line end.
                self.overlong = true;
                self.buffer.drain(..self.buffer.len() - 1);
                self.buffer.shrink_to_fit();
                self.start = 0;
            }
            self.searched = self.buffer.len();
            return None;
        };
        let end = from + at;
        let line = self.buffer.get(self.start..end).unwrap_or_default();
        let overlong = mem::take(&mut self.overlong) || line.len() > LONGEST_LINE;
        let result = match line.strip_suffix(b"\r") {
            None => Err(Problem::BareLf),
            Some(_) if overlong => Err(Problem::LineTooLong),
            Some(line) if memchr(b'\r', line).is_some() => Err(Problem::BareCr),
            Some(line) => read(line),
        };
        self.used(end + 1);
        Some(result)
    }

    /// The buffer was read up to here.
    fn used(&mut self, end: usize) {
        self.start = end;
        self.searched = end;
        if end >= self.buffer.len() {
            self.start = 0;
            self.searched = 0;
            self.buffer.clear();
            // An idle connection holds next to nothing.
            self.buffer.shrink_to(SMALL_BUFFER);
        }
    }

    fn account(&mut self) {
        let held =
            self.buffer.capacity() + self.content.as_ref().map_or(0, |content| content.held());
        if held > self.accounted {
            self.limits
                .held
                .fetch_add(held - self.accounted, Ordering::Relaxed);
        } else if held < self.accounted {
            self.limits
                .held
                .fetch_sub(self.accounted - held, Ordering::Relaxed);
        }
        self.accounted = held;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.limits
            .held
            .fetch_sub(self.accounted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(memory_limit: usize) -> Arc<Limits> {
        let rules = Rules {
            size_limit: 1_000_000,
            header_limit: 100_000,
            authserv_id: "mx.example".to_owned(),
            strip_bcc: false,
        };
        Arc::new(Limits::new(rules, memory_limit, usize::MAX))
    }

    /// Everything that a connection returns, with parts joined to their message.
    fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, memory_limit: usize) -> Vec<Event> {
        let mut reader = Reader::new(limits(memory_limit));
        let mut events = Vec::new();
        let mut parts = Vec::new();
        for piece in pieces {
            reader.feed(piece);
            while let Some(event) = reader.next_event() {
                match event {
                    Event::Part(part) => parts.extend(part),
                    Event::Message(mut message) => {
                        parts.extend(message.rest);
                        // What was returned before a fault was found is thrown away by the door.
                        message.rest = if message.fault.is_some() {
                            Vec::new()
                        } else {
                            parts
                        };
                        parts = Vec::new();
                        events.push(Event::Message(message));
                    }
                    other => {
                        match &other {
                            Event::Command(Command::Data) => {
                                // RFC 3030 §2: no door accepts DATA between chunks; the reader begins again.
                                parts.clear();
                                reader.begin_data(true);
                            }
                            Event::Command(Command::Bdat { .. }) => reader.keep_chunk(true),
                            Event::Command(Command::Other(line)) if line == b"AUTH" => {
                                reader.expect_line()
                            }
                            _ => {}
                        }
                        events.push(other);
                    }
                }
            }
        }
        events
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just(&b"\r\n"[..]),
            Just(&b"\r\n.\r\n"[..]),
            Just(&b"\n"[..]),
            Just(&b"\r"[..]),
            Just(&b"."[..]),
            Just(&b"DATA\r\n"[..]),
            Just(&b"BDAT 5\r\n"[..]),
            Just(&b"BDAT 3 LAST\r\n"[..]),
            Just(&b"MAIL FROM:<a@b>\r\n"[..]),
            Just(&b"AUTH\r\n"[..]),
            Just(&b"Received: x\r\n"[..]),
            Just(&b"Bcc: x\r\n y\r\n"[..]),
            Just(&b"Authentication-Results: mx.example; none\r\n"[..]),
            Just(&b"x"[..]),
            Just(&b" "[..]),
        ];
        prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn the_division_of_the_octets_does_not_matter(
            text in text(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            memory_limit in 0..64_usize,
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces = at.windows(2).filter_map(|pair| text.get(pair[0]..pair[1]));
            prop_assert_eq!(run(pieces, memory_limit), run([&text[..]], 1_000_000));
            prop_assert_eq!(run(text.chunks(1), memory_limit), run([&text[..]], 1_000_000));
        }

        #[test]
        fn what_was_stuffed_comes_out_again(lines in prop::collection::vec("[.a:]{0,5}", 0..20)) {
            let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let stuffed: String = lines
                .iter()
                .map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") })
                .collect();
            let wire = format!("DATA\r\n{stuffed}.\r\nQUIT\r\n");
            let events = run([wire.as_bytes()], 1_000_000);
            prop_assert_eq!(events.len(), 3);
            let Some(Event::Message(message)) = events.get(1) else { panic!("no message") };
            prop_assert_eq!(&message.rest, body.as_bytes());
            prop_assert_eq!(events.last(), Some(&Event::Command(Command::Quit)));
        }

        #[test]
        fn no_octets_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            run(pieces.iter().map(Vec::as_slice), 10);
        }
    }

    #[test]
    fn pipelined_commands_behind_a_message_are_read() {
        let events = run(
            [&b"DATA\r\na\r\n.\r\nRSET\r\nBDAT 3\r\nab\nNOOP\r\nBDAT 0 LAST\r\nQUIT\r\n"[..]],
            100,
        );
        assert_eq!(events.len(), 9);
        assert!(matches!(&events[1], Event::Message(message) if message.rest == b"a\r\n"));
        assert_eq!(
            events[4],
            Event::ChunkEnd {
                kept: true,
                last: false,
                fault: Some(Fault::BareLineEnd)
            }
        );
        assert!(
            matches!(&events[7], Event::Message(message) if message.fault == Some(Fault::BareLineEnd))
        );
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut reader = Reader::new(limits(100));
        for _ in 0..100 {
            reader.feed(&[b'a'; 10_000]);
            assert_eq!(reader.next_event(), None);
            assert!(reader.buffered() < 25_000);
        }
        reader.feed(b"\r\nNOOP\r\n");
        assert_eq!(
            reader.next_event(),
            Some(Event::Problem(Problem::LineTooLong))
        );
        assert_eq!(reader.next_event(), Some(Event::Command(Command::Noop)));
    }

    #[test]
    fn lines_that_were_read_are_not_kept() {
        let limits = limits(100);
        let mut reader = Reader::new(Arc::clone(&limits));
        reader.feed(b"N");
        for _ in 0..10_000 {
            reader.feed(b"OOP\r\nN");
            assert_eq!(reader.next_event(), Some(Event::Command(Command::Noop)));
            assert_eq!(reader.next_event(), None);
        }
        assert!(limits.held() <= SMALL_BUFFER, "{}", limits.held());
    }

    #[test]
    fn above_the_budget_messages_keep_little() {
        let limits = Arc::new(Limits::new(
            Rules {
                size_limit: 1_000_000,
                header_limit: 100_000,
                ..Rules::default()
            },
            300_000,
            50_000,
        ));
        let mut readers: Vec<Reader> = (0..10).map(|_| Reader::new(Arc::clone(&limits))).collect();
        for reader in &mut readers {
            reader.feed(b"DATA\r\n");
            reader.next_event();
            reader.begin_data(false);
            reader.feed(b"A: b\r\n\r\n");
        }
        for _ in 0..10 {
            for reader in &mut readers {
                reader.feed(&[b'a'; 10_000]);
                while reader.next_event().is_some() {}
            }
        }
        assert!(limits.held() < 400_000, "{}", limits.held());
        readers.clear();
        assert_eq!(limits.held(), 0);
    }
}
