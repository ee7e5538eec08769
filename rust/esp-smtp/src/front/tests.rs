//! The front over real sockets.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;

use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::content::Rules;
use crate::reader::Limits;

type Client = BufReader<TcpStream>;

fn front(idle: Duration) -> (Front<u32>, std::net::SocketAddr, Arc<Census>) {
    front_of("mx.test", idle)
}

fn front_of(hostname: &str, idle: Duration) -> (Front<u32>, std::net::SocketAddr, Arc<Census>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let rules = Rules {
        size_limit: 1_000_000,
        header_limit: 10_000,
        authserv_id: "mx.test".into(),
        strip_bcc: false,
    };
    let terms = Terms {
        greeting: b"220 mx.test\r\n".to_vec(),
        hostname: hostname.into(),
        features: b"250-mx.test\r\n250 HELP".to_vec(),
        lmtp: false,
        max_message_size: 1_000_000,
        max_recipients: 10,
        limits: Arc::new(Limits::new(rules, 1_000_000, 1_000_000)),
    };
    let bounds = Bounds {
        most: 10,
        most_each: 2,
        idle,
        data: Duration::from_secs(60),
    };
    let census = Arc::new(Census::default());
    let numbers = Arc::new(AtomicU64::new(1));
    let front = Front::start(listener, terms, bounds, Arc::clone(&census), numbers).unwrap();
    (front, address, census)
}

fn connect(address: std::net::SocketAddr) -> Client {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    BufReader::new(stream)
}

fn say(client: &Client, octets: &[u8]) {
    client.get_ref().write_all(octets).unwrap();
}

fn line(client: &mut Client) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn notice(front: &Front<u32>) -> Notice<u32> {
    let timeout = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(front.descriptor(), PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1, "no notice came");
    let mut notices = front.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    notices.pop().unwrap()
}

fn path(local_part: &str) -> Path {
    Path {
        local_part: local_part.into(),
        domain: "example.test".into(),
    }
}

/// A client whose message waits for its reply, and the number of its connection.
fn sent(front: &Front<u32>, address: std::net::SocketAddr) -> (Client, u64) {
    let client = connect(address);
    front.remember(path("bob"), Arc::new(2), 100, Duration::from_secs(60));
    say(
        &client,
        b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n.\r\n",
    );
    let Notice::Message { connection, .. } = notice(front) else {
        panic!("no message");
    };
    (client, connection)
}

#[test]
fn a_message_needs_nobody_but_for_its_recipient_and_its_end() {
    let (front, address, census) = front(Duration::from_secs(60));
    let mut client = connect(address);
    assert_eq!(line(&mut client), "220 mx.test");
    say(
        &client,
        b"EHLO client.test\r\nMAIL FROM:<a@b.test> SIZE=7\r\n",
    );
    say(
        &client,
        b"RCPT TO:<alice@EXAMPLE.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n",
    );
    let replies: Vec<_> = (0..3).map(|_| line(&mut client)).collect();
    assert_eq!(replies, ["250-mx.test", "250 HELP", "250 2.1.0 Sender OK"]);
    let until = Duration::from_secs(60);
    front.remember(path("bob"), Arc::new(2), 7, until);
    let Notice::Recipient {
        connection,
        path: asked,
        size,
    } = notice(&front)
    else {
        panic!("not asked for alice");
    };
    assert_eq!((asked, size), (path("alice"), 7));
    front.accept(connection, Arc::new(1));
    for _ in 0..2 {
        assert_eq!(line(&mut client), "250 2.1.5 Recipient OK");
    }
    assert!(line(&mut client).starts_with("354 "));
    say(&client, b"Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n");
    let Notice::Message {
        connection,
        hello,
        extended,
        transaction,
        message,
        ..
    } = notice(&front)
    else {
        panic!("no message");
    };
    assert_eq!((hello.as_str(), extended), ("client.test", true));
    assert_eq!(transaction.recipients, [Arc::new(1), Arc::new(2)]);
    assert_eq!(message.rest, b"Subject: x\r\n\r\nhello\r\n");
    assert_eq!(census.total(), 1);
    assert!(front.reply(connection, b"250 2.0.0 OK\r\n".to_vec(), 0));
    assert_eq!(line(&mut client), "250 2.0.0 OK");
    assert_eq!(line(&mut client), "221 2.0.0 mx.test Bye");
    assert_eq!(line(&mut client), "");
    let mut counts = front.counts();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [
            ("DATA", "354", 1),
            ("EHLO", "250", 1),
            ("MAIL", "250", 1),
            ("QUIT", "221", 1),
            ("RCPT", "250", 2)
        ]
    );
    assert_eq!((front.entered(), front.entered()), (1, 0));
}

#[test]
fn what_is_given_away_is_complete() {
    let (front, address, _) = front(Duration::from_secs(60));
    let mut client = connect(address);
    front.remember(path("bob"), Arc::new(2), 100, Duration::from_secs(60));
    say(
        &client,
        b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nVRFY bob\r\nNOOP\r\n",
    );
    let Notice::Departure(mut departure) = notice(&front) else {
        panic!("not given away");
    };
    assert!(departure.entered && !departure.late && !departure.ended);
    let conversation = &mut departure.conversation;
    assert_eq!(conversation.hello.as_deref(), Some("x"));
    assert!(!conversation.extended);
    let transaction = conversation.transaction.as_ref().unwrap();
    assert!(transaction.mail.reverse_path.is_null());
    assert_eq!(transaction.recipients, [Arc::new(2)]);
    departure.stream.write_all(&conversation.unsent).unwrap();
    let replies: Vec<_> = (0..4)
        .map(|_| line(&mut client).chars().take(3).collect::<String>())
        .collect();
    assert_eq!(replies, ["220", "250", "250", "250"]);
    let events: Vec<_> = std::iter::from_fn(|| conversation.reader.next_event()).collect();
    let other = crate::Command::Other(b"VRFY bob".to_vec());
    let wanted = [other, crate::Command::Noop].map(crate::Event::Command);
    assert_eq!(events, wanted);
}

#[test]
fn too_many_are_given_away_before_they_are_greeted() {
    let (front, address, census) = front(Duration::from_secs(60));
    let mut clients: Vec<_> = (0..2).map(|_| connect(address)).collect();
    for client in &mut clients {
        assert_eq!(line(client), "220 mx.test");
    }
    let _third = connect(address);
    let Notice::Departure(departure) = notice(&front) else {
        panic!("not given away");
    };
    assert!(!departure.entered);
    assert!(departure.conversation.unsent.is_empty());
    assert_eq!(census.total(), 2);
}

#[test]
fn a_client_that_reads_nothing_is_not_listened_to() {
    let (front, address, census) = front(Duration::from_millis(200));
    let mut client = connect(address);
    assert_eq!(line(&mut client), "220 mx.test");
    client.get_ref().set_nonblocking(true).unwrap();
    let flood = b"NOOP\r\n".repeat(10_000);
    let mut sent = 0;
    // The front stops reading, so the kernel's buffers fill up; then its patience ends.
    while census.total() > 0 {
        match client.get_ref().write(&flood) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(_) => break,
        }
        assert!(sent < 200_000_000, "everything is read");
    }
    assert!(front.notices().is_empty());
}

#[test]
fn who_left_gets_no_reply() {
    let (front, address, census) = front(Duration::from_secs(60));
    let (client, connection) = sent(&front, address);
    // Unread replies make this a reset.
    drop(client);
    while census.total() > 0 {
        thread::yield_now();
    }
    assert!(!front.reply(connection, b"250 2.0.0 OK\r\n".to_vec(), 0));
}

#[test]
fn a_front_that_stops_lets_messages_end() {
    let (front, address, census) = front(Duration::from_secs(60));
    let (mut client, connection) = sent(&front, address);
    front.stop();
    while TcpStream::connect(address).is_ok() {
        thread::yield_now();
    }
    assert!(front.reply(connection, b"250 2.0.0 OK\r\n".to_vec(), 0));
    let mut notices = Vec::new();
    while !matches!(notices.last(), Some(Notice::Closed)) {
        notices.append(&mut front.notices());
    }
    let given_away =
        |notice: &Notice<u32>| matches!(notice, Notice::Departure(d) if d.number == connection);
    assert!(notices.iter().any(given_away), "{notices:?}");
    assert_eq!(line(&mut client), "220 mx.test");
    drop(notices);
    assert!(census.total() >= 1);
}

#[test]
fn nothing_is_answered_before_what_is_waited_for() {
    // More than is read at once, so that more has come whenever a turn ends.
    for noops in [11_000, 11_200] {
        let (front, address, _) = front(Duration::from_secs(60));
        front.remember(path("bob"), Arc::new(2), 100, Duration::from_secs(60));
        let mut client = connect(address);
        assert_eq!(line(&mut client), "220 mx.test");
        let mut said = b"EHLO x\r\nMAIL FROM:<>\r\n".to_vec();
        said.extend(b"NOOP\r\n".repeat(noops));
        said.extend(b"RCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n.\r\n");
        say(&client, &said);
        for _ in 0..noops + 3 {
            assert!(line(&mut client).starts_with("250"));
        }
        let Notice::Recipient { connection, .. } = notice(&front) else {
            panic!("not asked for alice");
        };
        let mut early = [0; 100];
        client.get_ref().set_nonblocking(true).unwrap();
        assert!(client.get_ref().read(&mut early).is_err(), "{early:?}");
        client.get_ref().set_nonblocking(false).unwrap();
        front.accept(connection, Arc::new(1));
        for code in ["250 2.1.5", "250 2.1.5", "354"] {
            assert!(line(&mut client).starts_with(code));
        }
        let Notice::Message { transaction, .. } = notice(&front) else {
            panic!("no message");
        };
        assert_eq!(transaction.recipients, [Arc::new(1), Arc::new(2)]);
    }
}

#[test]
fn replies_that_could_not_be_sent_wait_for_a_client_that_says_goodbye() {
    // More than a socket takes at once.
    let hostname = "x".repeat(20_000_000);
    let (front, address, census) = front_of(&hostname, Duration::from_secs(60));
    let mut client = connect(address);
    assert_eq!(line(&mut client), "220 mx.test");
    say(&client, b"QUIT\r\nNOOP\r\n");
    while front.counts().is_empty() {
        thread::yield_now();
    }
    front.stop();
    assert_eq!(line(&mut client), format!("221 2.0.0 {hostname} Bye"));
    assert!(matches!(notice(&front), Notice::Closed));
    assert_eq!(census.total(), 0);
}

#[test]
fn no_more_is_read_than_is_answered() {
    let (front, address, _) = front(Duration::from_secs(60));
    let client = connect(address);
    let flood = client.get_ref().try_clone().unwrap();
    let speaker = thread::spawn(move || {
        for _ in 0..200 {
            (&flood).write_all(&b"NOOP\r\n".repeat(10_000)).unwrap();
        }
        (&flood).write_all(b"QUIT\r\n").unwrap();
    });
    let mut most = 0;
    for reply in client.lines() {
        reply.unwrap();
        most = most.max(front.0.terms.limits.held());
    }
    speaker.join().unwrap();
    assert!(most <= 4 * READ_AHEAD, "{most}");
}

#[test]
fn nothing_is_kept_of_clients_that_leave_while_they_are_answered() {
    let (front, address, census) = front(Duration::from_secs(60));
    for _ in 0..200 {
        let (client, connection) = sent(&front, address);
        // Unread replies make this a reset; it is seen before the answer, after it, or together with it.
        drop(client);
        let _ = front.reply(connection, b"250 2.0.0 OK\r\n".to_vec(), 0);
        while census.total() > 0 {
            thread::yield_now();
        }
    }
    front.stop();
    assert!(matches!(notice(&front), Notice::Closed));
    assert!(locked(&front.0.lost).is_empty());
}
