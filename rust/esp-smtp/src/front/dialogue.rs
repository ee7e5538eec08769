//! What the front answers by itself on one connection; everything else is left to the session after it.
//!
//! Left to the session are every reply that is not a success, rare parameters and verbs, and messages that are faulty
//! or too large for memory. So refusals and their reasons are written in one place, which is not here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::known::Known;
use crate::command::{Command, Mail, Rcpt};
use crate::path::Path;
use crate::reader::{Event, Limits, Message, Reader};

/// Events answered before other connections get their turn.
const AT_ONCE: usize = 200;
/// Octets of replies that are gathered before they are sent.
const REPLIES_AT_ONCE: usize = 32 * 1024;

/// What a door says and allows.
#[derive(Debug)]
pub struct Terms {
    /// Sent at once, with its line end.
    pub greeting: Vec<u8>,
    /// The name of this host.
    pub hostname: String,
    /// The reply to `EHLO` or `LHLO` without TLS, without the last line end.
    pub features: Vec<u8>,
    /// Whether this is LMTP (RFC 2033).
    pub lmtp: bool,
    /// Octets that `SIZE=` may declare.
    pub max_message_size: u64,
    /// The limit for one transaction.
    pub max_recipients: usize,
    /// The limits of each reader.
    pub limits: Arc<Limits>,
}

/// The successes that are answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Success {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Rset,
    Noop,
    Quit,
}

/// How many replies were given.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; 8]);

/// Verb and code of each success, in the order of [`Success`].
const SUCCESSES: [(&str, &str); 8] = [
    ("EHLO", "250"),
    ("HELO", "250"),
    ("MAIL", "250"),
    ("RCPT", "250"),
    ("DATA", "354"),
    ("RSET", "250"),
    ("NOOP", "250"),
    ("QUIT", "221"),
];

impl Counts {
    fn add(&self, success: Success) {
        if let Some(count) = self.0.get(success as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Verb, code and number of the replies given since the last call.
    pub fn take(&self) -> Vec<(&'static str, &'static str, u64)> {
        SUCCESSES
            .iter()
            .zip(&self.0)
            .map(|(&(verb, code), count)| (verb, code, count.swap(0, Ordering::Relaxed)))
            .filter(|&(.., number)| number > 0)
            .collect()
    }
}

/// A mail transaction, from MAIL to the end of DATA.
#[derive(Debug)]
pub struct Transaction<R> {
    /// The command that began it.
    pub mail: Mail,
    /// The recipients that were accepted.
    pub recipients: Vec<Arc<R>>,
}

/// How a turn ended.
#[derive(Debug)]
pub enum Turn<R> {
    /// The client is to send more.
    Listen,
    /// More has come already, but other connections come first.
    Again,
    /// The process has to decide about this recipient: with `accept`, or by continuing in a session.
    Recipient {
        /// The recipient; its domain in lower case.
        path: Path,
        /// Octets that the message is declared to have; at least 1.
        size: u64,
    },
    /// The process has to deliver this, then call `reply`.
    Message(Transaction<R>, Message),
    /// The client has said goodbye.
    Bye,
    /// A session has to continue.
    Leave,
}

/// One connection.
#[derive(Debug)]
pub struct Dialogue<R> {
    terms: Arc<Terms>,
    reader: Reader,
    hello: Option<String>,
    extended: bool,
    transaction: Option<Transaction<R>>,
    /// A recipient that the process was asked about.
    asked: Option<Rcpt>,
    /// Whether a message's octets are coming.
    receiving: bool,
    /// Replies that are to be sent.
    pub out: Vec<u8>,
}

/// What a session has to know to continue.
#[derive(Debug)]
pub struct Conversation<R> {
    /// The reader, with everything that was not answered.
    pub reader: Reader,
    /// What the client calls itself.
    pub hello: Option<String>,
    /// Whether the client said `EHLO` or `LHLO`.
    pub extended: bool,
    /// What was accepted so far.
    pub transaction: Option<Transaction<R>>,
    /// Replies that were not sent.
    pub unsent: Vec<u8>,
}

impl<R> Dialogue<R> {
    /// A connection that is about to be greeted.
    #[must_use]
    pub fn new(terms: Arc<Terms>) -> Self {
        Self {
            reader: Reader::new(Arc::clone(&terms.limits)),
            out: terms.greeting.clone(),
            terms,
            hello: None,
            extended: false,
            transaction: None,
            asked: None,
            receiving: false,
        }
    }

    /// Take octets from the network.
    pub fn feed(&mut self, octets: &[u8]) {
        self.reader.feed(octets);
    }

    /// Octets that wait to be read as commands.
    #[must_use]
    pub const fn buffered(&self) -> usize {
        self.reader.buffered()
    }

    /// What the client calls itself, and whether it said `EHLO` or `LHLO`.
    #[must_use]
    pub fn greeting(&self) -> (String, bool) {
        (self.hello.clone().unwrap_or_default(), self.extended)
    }

    /// Whether a message's octets are coming.
    #[must_use]
    pub const fn receiving(&self) -> bool {
        self.receiving
    }

    /// Answer what has come, up to the first thing that the process has to answer; replies are added to `out`.
    pub fn turn(&mut self, known: &Known<R>, counts: &Counts, now: Instant) -> Turn<R> {
        for _ in 0..AT_ONCE {
            if self.out.len() > REPLIES_AT_ONCE {
                return Turn::Again;
            }
            let Some(event) = self.reader.next_event() else {
                return Turn::Listen;
            };
            let command = match event {
                Event::Command(command) => command,
                Event::Message(message) if message.fault.is_none() => {
                    self.receiving = false;
                    if let Some(transaction) = self.transaction.take() {
                        return Turn::Message(transaction, message);
                    }
                    return self.leave(Event::Message(message));
                }
                other => return self.leave(other),
            };
            match command {
                Command::Mail(mail) if self.takes(&mail) => {
                    self.transaction = Some(Transaction {
                        mail,
                        recipients: Vec::new(),
                    });
                    self.say(counts, Success::Mail, b"250 2.1.0 Sender OK");
                }
                Command::Rcpt(mut rcpt) if self.may_take(&rcpt) => {
                    rcpt.forward_path.domain.make_ascii_lowercase();
                    let size = self.size();
                    if let Some(value) = known.get(&rcpt.forward_path, size, now) {
                        self.add(value, counts);
                    } else {
                        let path = rcpt.forward_path.clone();
                        self.asked = Some(rcpt);
                        return Turn::Recipient { path, size };
                    }
                }
                Command::Data if self.recipients() > 0 => {
                    self.reader.begin_data(false);
                    self.receiving = true;
                    let reply = b"354 End data with <CR><LF>.<CR><LF>";
                    self.say(counts, Success::Data, reply);
                }
                Command::Rset => {
                    self.forget();
                    self.say(counts, Success::Rset, b"250 2.0.0 OK");
                }
                Command::Noop => self.say(counts, Success::Noop, b"250 2.0.0 OK"),
                Command::Quit => {
                    let reply = format!("221 2.0.0 {} Bye", self.terms.hostname);
                    self.say(counts, Success::Quit, reply.as_bytes());
                    return Turn::Bye;
                }
                Command::Other(line) => {
                    if !self.greeted(&line, counts) {
                        return self.leave(Event::Command(Command::Other(line)));
                    }
                }
                other => return self.leave(Event::Command(other)),
            }
        }
        Turn::Again
    }

    /// Accept the recipient that was asked about.
    pub fn accept(&mut self, value: Arc<R>, counts: &Counts) {
        self.asked = None;
        self.add(value, counts);
    }

    /// Hand over to a session, including a recipient that is being asked about.
    #[must_use]
    pub fn into_conversation(mut self) -> Conversation<R> {
        if let Some(rcpt) = self.asked.take() {
            self.reader.unread(Event::Command(Command::Rcpt(rcpt)));
        }
        Conversation {
            reader: self.reader,
            hello: self.hello,
            extended: self.extended,
            transaction: self.transaction,
            unsent: self.out,
        }
    }

    fn takes(&self, mail: &Mail) -> bool {
        let path = &mail.reverse_path;
        self.hello.is_some()
            && self.transaction.is_none()
            && (self.extended || !mail.extended)
            && mail.ret.is_none()
            && mail.envid.is_none()
            && !mail.smtputf8
            && mail.size.unwrap_or(0) <= self.terms.max_message_size
            && (path.is_null() || is_plain(path))
    }

    fn may_take(&self, rcpt: &Rcpt) -> bool {
        self.transaction.is_some()
            && self.recipients() < self.terms.max_recipients
            && !rcpt.extended
            && is_plain(&rcpt.forward_path)
    }

    fn recipients(&self) -> usize {
        self.transaction
            .as_ref()
            .map_or(0, |transaction| transaction.recipients.len())
    }

    fn size(&self) -> u64 {
        let declared = self.transaction.as_ref().and_then(|t| t.mail.size);
        declared.unwrap_or(0).max(1)
    }

    fn add(&mut self, value: Arc<R>, counts: &Counts) {
        if let Some(transaction) = &mut self.transaction {
            transaction.recipients.push(value);
        }
        self.say(counts, Success::Rcpt, b"250 2.1.5 Recipient OK");
    }

    /// Answer a greeting; returns whether it was one.
    fn greeted(&mut self, line: &[u8], counts: &Counts) -> bool {
        let Some((verb, name)) =
            memchr::memchr(b' ', line).and_then(|at| line.split_at_checked(at))
        else {
            return false;
        };
        let success = match (verb.to_ascii_uppercase().as_slice(), self.terms.lmtp) {
            (b"EHLO", false) | (b"LHLO", true) => Success::Ehlo,
            (b"HELO", false) => Success::Helo,
            _ => return false,
        };
        let name = name.trim_ascii();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return false;
        }
        let Ok(name) = str::from_utf8(name) else {
            return false;
        };
        // RFC 5321 §4.1.4: as if RSET had been sent.
        self.forget();
        self.hello = Some(name.to_owned());
        self.extended = success == Success::Ehlo;
        if self.extended {
            let terms = Arc::clone(&self.terms);
            self.say(counts, success, &terms.features);
        } else {
            let reply = format!("250 {}", self.terms.hostname);
            self.say(counts, success, reply.as_bytes());
        }
        true
    }

    fn forget(&mut self) {
        self.transaction = None;
        self.reader.forget();
    }

    fn say(&mut self, counts: &Counts, success: Success, reply: &[u8]) {
        counts.add(success);
        self.out.extend_from_slice(reply);
        self.out.extend_from_slice(b"\r\n");
    }

    fn leave(&mut self, event: Event) -> Turn<R> {
        self.reader.unread(event);
        Turn::Leave
    }
}

/// Whether a path is an ordinary address: ASCII, in a domain by name.
fn is_plain(path: &Path) -> bool {
    path.is_ascii() && !path.domain.is_empty() && !path.domain.starts_with('[')
}
