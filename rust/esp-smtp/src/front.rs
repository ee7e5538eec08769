//! A thread that has the sockets of a door and answers what all messages have in common.
//!
//! It takes connections, greets them, and carries a message from MAIL to its last dot. It waits only for a decision
//! about a recipient that it does not remember, and for the reply to the message. If a client wants anything else, or
//! does something wrong, its connection is handed over, with all that was said so far, to a session that knows
//! everything.
//!
//! In: a listening socket. Out: [`Notice`]s, after the descriptor of [`Front::descriptor`] has become readable.

mod dialogue;
mod known;

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

pub use self::dialogue::{Conversation, Counts, Dialogue, Terms, Transaction, Turn};
pub use self::known::Known;
use crate::path::Path;
use crate::reader::Message;

/// Octets a client may send ahead while it waits for a reply.
const READ_AHEAD: usize = 64 * 1024;
const READ_AT_ONCE: usize = 64 * 1024;
const ACCEPTED_AT_ONCE: usize = 64;
const EVENTS_AT_ONCE: usize = 256;
/// How often to look for connections that were silent for too long.
const SWEEP: Duration = Duration::from_secs(1);
const WAKE: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// The connections to a door, in the thread of its front and in sessions, counted by address.
#[derive(Debug, Default)]
pub struct Census(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Census {
    /// Count a connection in, unless there are too many in all or from its address.
    ///
    /// # Errors
    /// Which of the two limits forbids it.
    pub fn enter(&self, address: IpAddr, most: usize, most_each: usize) -> Result<(), Crowded> {
        let mut present = locked(&self.0);
        if present.total >= most {
            return Err(Crowded::InAll);
        }
        let number = present.by_address.entry(address).or_default();
        if *number >= most_each {
            return Err(Crowded::FromAddress);
        }
        *number += 1;
        present.total += 1;
        Ok(())
    }

    /// Count a connection out.
    pub fn leave(&self, address: IpAddr) {
        let mut present = locked(&self.0);
        present.total = present.total.saturating_sub(1);
        if let Some(number) = present.by_address.get_mut(&address) {
            *number -= 1;
            if *number == 0 {
                present.by_address.remove(&address);
            }
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn total(&self) -> usize {
        locked(&self.0).total
    }
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// Connections in all.
    InAll,
    /// Connections from this address.
    FromAddress,
}

/// Limits for connections, besides those in the [`Terms`].
#[derive(Debug)]
pub struct Bounds {
    /// The largest number of connections.
    pub most: usize,
    /// The largest number of connections from one address.
    pub most_each: usize,
    /// How long a client may be silent.
    pub idle: Duration,
    /// How long a message may take.
    pub data: Duration,
}

/// What the process has to do.
#[derive(Debug)]
pub enum Notice<R> {
    /// Say with [`Front::accept`] or [`Front::leave`] whether a recipient is accepted.
    Recipient {
        /// The number of the connection.
        connection: u64,
        /// The recipient; its domain in lower case.
        path: Path,
        /// Octets that the message is declared to have; at least 1.
        size: u64,
    },
    /// Deliver a message, and answer with [`Front::reply`].
    Message {
        /// The number of the connection.
        connection: u64,
        /// The client's address.
        address: IpAddr,
        /// What the client calls itself.
        hello: String,
        /// Whether the client said `EHLO` or `LHLO`.
        extended: bool,
        /// Reverse-path and recipients.
        transaction: Transaction<R>,
        /// The complete message.
        message: Message,
    },
    /// Continue a connection in a session.
    Departure(Box<Departure<R>>),
    /// A connection could not be taken, for want of descriptors or memory; it waits. Reported once a second.
    Exhausted(io::Error),
    /// There are no connections any more, and none will be taken.
    Closed,
}

/// A connection that was handed over.
#[derive(Debug)]
pub struct Departure<R> {
    /// The connection.
    pub stream: TcpStream,
    /// Its number.
    pub number: u64,
    /// The client's address.
    pub address: IpAddr,
    /// Whether it was counted in and greeted; if not, there were too many.
    pub entered: bool,
    /// Whether the client was silent for too long.
    pub late: bool,
    /// Whether the client will send nothing more.
    pub ended: bool,
    /// How many of its commands were refused.
    pub errors: u32,
    /// How much longer the message being sent may take.
    pub data_left: Option<Duration>,
    /// What was said.
    pub conversation: Conversation<R>,
}

#[derive(Debug)]
enum Answer<R> {
    Recipient(u64, Option<Arc<R>>),
    Reply(u64, Vec<u8>, u32),
    Stop,
    Abort,
}

#[derive(Debug)]
struct Shared<R> {
    terms: Arc<Terms>,
    bounds: Bounds,
    census: Arc<Census>,
    numbers: Arc<AtomicU64>,
    known: Known<R>,
    counts: Counts,
    entered: AtomicU64,
    answers: Mutex<Vec<Answer<R>>>,
    notices: Mutex<Vec<Notice<R>>>,
    /// Connections that ended while the process was to answer.
    lost: Mutex<HashSet<u64>>,
    /// Wakes the thread.
    wake: OwnedFd,
    woken: AtomicBool,
    /// Wakes the reader of the notices.
    tell: OwnedFd,
}

/// A door's thread, as others see it. The thread ends, with all its connections, when this is dropped.
#[derive(Debug)]
pub struct Front<R: Send + Sync + 'static>(Arc<Shared<R>>);

impl<R: Send + Sync + 'static> Front<R> {
    /// Begin to take connections, in a thread of its own.
    ///
    /// # Errors
    /// The system has no more descriptors or threads.
    pub fn start(
        listener: TcpListener,
        terms: Terms,
        bounds: Bounds,
        census: Arc<Census>,
        numbers: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let shared = Arc::new(Shared {
            terms: Arc::new(terms),
            bounds,
            census,
            numbers,
            known: Known::default(),
            counts: Counts::default(),
            entered: AtomicU64::new(0),
            answers: Mutex::default(),
            notices: Mutex::default(),
            lost: Mutex::default(),
            wake: eventfd(0, flags)?,
            woken: AtomicBool::new(false),
            tell: eventfd(0, flags)?,
        });
        let thread = Thread::new(Arc::clone(&shared), listener)?;
        thread::Builder::new()
            .name("smtp-front".into())
            .spawn(move || {
                let guard = AbortOnPanic;
                thread.run();
                drop(guard);
            })?;
        Ok(Self(shared))
    }

    /// Readable when there are notices.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.tell.as_fd()
    }

    /// What has to be done now.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice<R>> {
        // Cleared before they are taken: what comes later makes it readable again.
        let _ = rustix::io::read(&self.0.tell, &mut [0; 8]);
        mem::take(&mut *locked(&self.0.notices))
    }

    /// Remember a recipient for the time `lasting`.
    ///
    /// # Arguments
    /// * `room`: octets of the largest message that is accepted for it.
    pub fn remember(&self, path: Path, value: Arc<R>, room: u64, lasting: Duration) {
        let now = Instant::now();
        self.0.known.put(path, value, room, now + lasting, now);
    }

    /// Forget all recipients.
    pub fn forget(&self) {
        self.0.known.forget();
    }

    /// Accept the recipient of this connection.
    pub fn accept(&self, connection: u64, value: Arc<R>) {
        self.answer_to(connection, Answer::Recipient(connection, Some(value)));
    }

    /// Do not accept the recipient of this connection (now): the connection comes as a departure.
    pub fn leave(&self, connection: u64) {
        self.answer_to(connection, Answer::Recipient(connection, None));
    }

    /// Reply to a message; returns whether the client is still connected.
    ///
    /// # Arguments
    /// * `errors`: how many refusals `reply` contains; if any, the connection comes as a departure after it.
    #[must_use]
    pub fn reply(&self, connection: u64, reply: Vec<u8>, errors: u32) -> bool {
        self.answer_to(connection, Answer::Reply(connection, reply, errors))
    }

    /// Take no more connections, and hand over the existing ones as soon as nothing is waited for.
    pub fn stop(&self) {
        self.answer(Answer::Stop);
    }

    /// End the thread, and all its remaining connections.
    pub fn close(&self) {
        self.answer(Answer::Abort);
    }

    /// Verb, code and number of replies since the last call.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.0.counts.take()
    }

    /// Connections taken and greeted since the last call.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.0.entered.swap(0, Ordering::Relaxed)
    }

    fn answer_to(&self, connection: u64, answer: Answer<R>) -> bool {
        let lost = locked(&self.0.lost).remove(&connection);
        if !lost {
            self.answer(answer);
        }
        !lost
    }

    fn answer(&self, answer: Answer<R>) {
        locked(&self.0.answers).push(answer);
        if !self.0.woken.swap(true, Ordering::SeqCst) {
            signal(&self.0.wake);
        }
    }
}

impl<R: Send + Sync + 'static> Drop for Front<R> {
    fn drop(&mut self) {
        self.close();
    }
}

/// A door without its thread would hold clients but answer none; so the process ends, and is started again.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

#[derive(Debug)]
struct Visitor<R> {
    stream: TcpStream,
    address: IpAddr,
    dialogue: Dialogue<R>,
    /// How many octets of the dialogue's replies were sent.
    sent: usize,
    /// Whether the process has to answer first.
    waiting: bool,
    /// Whether the client will send nothing more.
    ended: bool,
    /// Whether the client has said goodbye, and only its replies are left to send.
    parting: bool,
    interest: EventFlags,
    deadline: Instant,
    data_deadline: Option<Instant>,
}

struct Thread<R> {
    shared: Arc<Shared<R>>,
    listener: Option<TcpListener>,
    /// Whether there was no descriptor for the last connection.
    exhausted: bool,
    /// Whether that was reported since the last sweep.
    told: bool,
    poll: OwnedFd,
    visitors: HashMap<u64, Visitor<R>>,
    /// Connections whose turn ended before everything was answered.
    again: HashSet<u64>,
    notices: Vec<Notice<R>>,
    buffer: Vec<u8>,
    now: Instant,
    stopping: bool,
}

impl<R: Send + Sync> Thread<R> {
    fn new(shared: Arc<Shared<R>>, listener: TcpListener) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &poll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        // Edge-triggered: it need not be read.
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&poll, &shared.wake, EventData::new_u64(WAKE), flags)?;
        Ok(Self {
            shared,
            listener: Some(listener),
            exhausted: false,
            told: false,
            poll,
            visitors: HashMap::new(),
            again: HashSet::new(),
            notices: Vec::new(),
            buffer: vec![0; READ_AT_ONCE],
            now: Instant::now(),
            stopping: false,
        })
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut sweep = self.now + SWEEP;
        loop {
            let wait = if self.again.is_empty() {
                sweep.saturating_duration_since(self.now)
            } else {
                Duration::ZERO
            };
            let wait = Timespec::try_from(wait).unwrap_or_default();
            if epoll::wait(&self.poll, spare_capacity(&mut events), Some(&wait)).is_err() {
                // Interrupted by a signal, which another thread handles.
                events.clear();
            }
            self.now = Instant::now();
            for event in events.drain(..) {
                match event.data.u64() {
                    WAKE => {}
                    LISTENER => self.meet(),
                    id => self.ready(id, event.flags),
                }
            }
            if !self.answers() {
                return;
            }
            for id in mem::take(&mut self.again) {
                self.turn(id);
            }
            if self.now >= sweep {
                self.sweep();
                sweep = self.now + SWEEP;
            }
            let over = self.stopping && self.visitors.is_empty();
            if over {
                self.notices.push(Notice::Closed);
            }
            if !self.notices.is_empty() {
                locked(&self.shared.notices).append(&mut self.notices);
                signal(&self.shared.tell);
            }
            if over {
                return;
            }
        }
    }

    /// Take the connections that have come.
    fn meet(&mut self) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((stream, peer)) => self.welcome(stream, peer.ip().to_canonical()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors: those in use will be free again. A connection that ends makes room, and the
                    // next sweep tries.
                    if !mem::replace(&mut self.told, true) {
                        self.notices.push(Notice::Exhausted(error));
                    }
                    self.exhausted = true;
                    self.listen_to(EventFlags::empty());
                    return;
                }
            }
        }
    }

    /// Try again to take connections, if there was no room for the last one.
    fn meet_again(&mut self) {
        if mem::take(&mut self.exhausted) {
            self.listen_to(EventFlags::IN);
        }
    }

    fn listen_to(&self, flags: EventFlags) {
        if let Some(listener) = &self.listener {
            let _ = epoll::modify(&self.poll, listener, EventData::new_u64(LISTENER), flags);
        }
    }

    fn welcome(&mut self, stream: TcpStream, address: IpAddr) {
        if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
            return;
        }
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        let bounds = &self.shared.bounds;
        let (most, each) = (bounds.most, bounds.most_each);
        let mut visitor = Visitor {
            stream,
            address,
            dialogue: Dialogue::new(Arc::clone(&self.shared.terms)),
            sent: 0,
            waiting: false,
            ended: false,
            parting: false,
            interest: EventFlags::IN,
            deadline: self.now + bounds.idle,
            data_deadline: None,
        };
        if self.shared.census.enter(address, most, each).is_err() {
            visitor.dialogue.out.clear();
            self.depart(number, visitor, Why::Crowd);
            return;
        }
        let data = EventData::new_u64(number);
        if epoll::add(&self.poll, &visitor.stream, data, EventFlags::IN).is_err() {
            self.shared.census.leave(address);
            return;
        }
        self.shared.entered.fetch_add(1, Ordering::Relaxed);
        self.visitors.insert(number, visitor);
        self.flush(number);
    }

    /// A client has sent something, or can be answered again, or is gone.
    fn ready(&mut self, id: u64, flags: EventFlags) {
        let Some(visitor) = self.visitors.get_mut(&id) else {
            return;
        };
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            return self.lose(id);
        }
        if flags.contains(EventFlags::OUT) {
            if self.flush(id) {
                self.turn(id);
            }
            return;
        }
        match (&visitor.stream).read(&mut self.buffer) {
            Ok(0) => {
                visitor.ended = true;
                self.turn(id);
            }
            Ok(length) => {
                visitor.deadline = self.now + self.shared.bounds.idle;
                visitor
                    .dialogue
                    .feed(self.buffer.get(..length).unwrap_or_default());
                self.turn(id);
            }
            Err(error) if is_temporary(&error) => {}
            Err(_) => self.lose(id),
        }
    }

    /// Act on the answers of the process; returns whether to go on.
    fn answers(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        shared.woken.store(false, Ordering::SeqCst);
        let answers = mem::take(&mut *locked(&shared.answers));
        for answer in answers {
            match answer {
                Answer::Recipient(id, value) => {
                    let Some(visitor) = self.answered(id) else {
                        continue;
                    };
                    match value {
                        Some(value) => {
                            visitor.dialogue.accept(value, &shared.counts);
                            self.turn(id);
                        }
                        None => self.give_away(id, Why::Session),
                    }
                }
                Answer::Reply(id, reply, errors) => {
                    let Some(visitor) = self.answered(id) else {
                        continue;
                    };
                    visitor.dialogue.out.extend_from_slice(&reply);
                    if errors > 0 {
                        self.give_away(id, Why::Errors(errors));
                    } else {
                        self.turn(id);
                    }
                }
                Answer::Stop => {
                    self.stopping = true;
                    self.listener = None;
                    let idle = |(&id, visitor): (&u64, &Visitor<R>)| {
                        (!visitor.waiting && !visitor.parting).then_some(id)
                    };
                    for id in self.visitors.iter().filter_map(idle).collect::<Vec<_>>() {
                        self.give_away(id, Why::Session);
                    }
                }
                Answer::Abort => {
                    for visitor in self.visitors.values() {
                        shared.census.leave(visitor.address);
                    }
                    return false;
                }
            }
        }
        true
    }

    fn answered(&mut self, id: u64) -> Option<&mut Visitor<R>> {
        let Some(visitor) = self.visitors.get_mut(&id) else {
            // The connection was lost while the answer was on its way.
            locked(&self.shared.lost).remove(&id);
            return None;
        };
        visitor.waiting = false;
        // The time that the process took is not the client's delay.
        visitor.deadline = self.now + self.shared.bounds.idle;
        Some(visitor)
    }

    /// Answer what a client has sent, unless something has to be waited for first.
    fn turn(&mut self, id: u64) {
        let Some(visitor) = self.visitors.get_mut(&id) else {
            return;
        };
        if visitor.waiting || self.again.contains(&id) {
            // Replies come in the order of commands (RFC 2920 §3.2): its turn will come.
            return self.listen(id);
        }
        if visitor.sent < visitor.dialogue.out.len() && visitor.interest == EventFlags::OUT {
            // The client does not read its replies: send nothing more, and do not read from it.
            return;
        }
        if visitor.parting {
            return self.close(id);
        }
        let (shared, now) = (&self.shared, self.now);
        let turn = visitor.dialogue.turn(&shared.known, &shared.counts, now);
        visitor.data_deadline = visitor
            .dialogue
            .receiving()
            .then(|| visitor.data_deadline.unwrap_or(now + shared.bounds.data));
        match turn {
            Turn::Listen if self.stopping => self.give_away(id, Why::Session),
            Turn::Listen => {
                let ended = visitor.ended;
                if self.flush(id) && ended {
                    self.close(id);
                }
            }
            Turn::Again => {
                if self.flush(id) {
                    self.again.insert(id);
                }
            }
            Turn::Recipient { path, size } => {
                visitor.waiting = true;
                self.notices.push(Notice::Recipient {
                    connection: id,
                    path,
                    size,
                });
                self.flush(id);
            }
            Turn::Message(transaction, message) => {
                visitor.waiting = true;
                let (hello, extended) = visitor.dialogue.greeting();
                self.notices.push(Notice::Message {
                    connection: id,
                    address: visitor.address,
                    hello,
                    extended,
                    transaction,
                    message,
                });
                self.flush(id);
            }
            Turn::Bye => {
                visitor.parting = true;
                if self.flush(id) {
                    self.close(id);
                }
            }
            Turn::Leave => self.give_away(id, Why::Session),
        }
    }

    /// Send what can be sent; returns whether that was everything.
    fn flush(&mut self, id: u64) -> bool {
        let Some(visitor) = self.visitors.get_mut(&id) else {
            return false;
        };
        let out = &mut visitor.dialogue.out;
        while let Some(rest) = out.get(visitor.sent..).filter(|rest| !rest.is_empty()) {
            match (&visitor.stream).write(rest) {
                Ok(length) => visitor.sent += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.lose(id);
                    return false;
                }
            }
        }
        let all = visitor.sent >= out.len();
        if all {
            out.clear();
            visitor.sent = 0;
        }
        self.listen(id);
        all
    }

    /// Wait for the next event of a connection.
    fn listen(&mut self, id: u64) {
        let Some(visitor) = self.visitors.get_mut(&id) else {
            return;
        };
        let interest = if !visitor.dialogue.out.is_empty() {
            EventFlags::OUT
        } else if visitor.ended || visitor.dialogue.buffered() > READ_AHEAD {
            EventFlags::empty()
        } else {
            EventFlags::IN
        };
        if interest != visitor.interest {
            visitor.interest = interest;
            let data = EventData::new_u64(id);
            let _ = epoll::modify(&self.poll, &visitor.stream, data, interest);
        }
    }

    /// Give up connections that were silent for too long; take new ones again.
    fn sweep(&mut self) {
        self.told = false;
        self.meet_again();
        let now = self.now;
        let late = |(&id, visitor): (&u64, &Visitor<R>)| {
            let late = visitor.deadline < now || visitor.data_deadline.is_some_and(|by| by < now);
            (late && !visitor.waiting).then_some(id)
        };
        for id in self.visitors.iter().filter_map(late).collect::<Vec<_>>() {
            let blocked = self
                .visitors
                .get(&id)
                .is_some_and(|v| v.interest == EventFlags::OUT);
            if blocked {
                self.close(id);
            } else {
                self.give_away(id, Why::Late);
            }
        }
    }

    fn give_away(&mut self, id: u64, why: Why) {
        if let Some(visitor) = self.visitors.remove(&id) {
            let _ = epoll::delete(&self.poll, &visitor.stream);
            self.depart(id, visitor, why);
        }
    }

    fn depart(&mut self, number: u64, visitor: Visitor<R>, why: Why) {
        let mut conversation = visitor.dialogue.into_conversation();
        conversation.unsent.drain(..visitor.sent);
        self.notices.push(Notice::Departure(Box::new(Departure {
            stream: visitor.stream,
            number,
            address: visitor.address,
            entered: !matches!(why, Why::Crowd),
            late: matches!(why, Why::Late),
            ended: visitor.ended,
            errors: if let Why::Errors(errors) = why {
                errors
            } else {
                0
            },
            data_left: visitor
                .data_deadline
                .map(|by| by.saturating_duration_since(self.now)),
            conversation,
        })));
    }

    /// A client is gone.
    fn lose(&mut self, id: u64) {
        if self
            .visitors
            .get(&id)
            .is_some_and(|visitor| visitor.waiting)
        {
            locked(&self.shared.lost).insert(id);
        }
        self.close(id);
    }

    fn close(&mut self, id: u64) {
        if let Some(visitor) = self.visitors.remove(&id) {
            self.shared.census.leave(visitor.address);
            self.meet_again();
        }
    }
}

/// Why a connection is handed over.
#[derive(Debug, Clone, Copy)]
enum Why {
    Session,
    Late,
    Crowd,
    Errors(u32),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signal(descriptor: &OwnedFd) {
    // It can only fail if it would overflow, and then it is readable anyway.
    let _ = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
