"""IMAP commands on one large mailbox."""

from benchmarks.bench import Bench
from benchmarks.figures import Metric
from benchmarks.imap import ImapConnection, fill
from benchmarks.messages import BODY_NEEDLE, SUBJECT_NEEDLE, Writer, users
from benchmarks.server import Server

_USER = users()[-1]
_ENVELOPES = "FETCH 1:* (UID ENVELOPE BODYSTRUCTURE RFC822.SIZE INTERNALDATE)"
_LARGE = "Large"
_HUGE = "Huge"


def _restart(server: Server) -> None:
    server.stop()
    server.start()


def _create(connection: ImapConnection, mailbox: str) -> None:
    connection.command(f"CREATE {mailbox}")


def _filled(server: Server, bench: Bench, count: int) -> float | None:
    """Make the large mailbox unless an earlier scenario did; return how long each message took."""
    with ImapConnection(server.imap_port) as connection:
        connection.login(_USER)
        if b" Large\r\n" in connection.command('LIST "" *').text.replace(b'"', b""):
            return None
        _create(connection, _LARGE)
    seconds = fill(server.imap_port, [_USER] * server.fill_sessions, _LARGE, Writer(3).mailbox(count))
    server.tree.settle()
    return seconds


def large(bench: Bench) -> None:
    """10,000 messages of about 10 KiB (2,000 in a quick run)."""
    count = 2_000 if bench.quick else 10_000
    title = f"Mailbox of {count:,} messages"

    def timing(name: str, wanted: float | None = 1.0) -> Metric:
        return Metric(title, name, "ms", less_is_better=True, wanted=wanted)

    add = bench.report.add

    def timed(
        name: str, server: Server, connection: ImapConnection, line: str, wanted: float | None = None
    ) -> None:
        add(timing(name, wanted), server.name, connection.command(line).seconds * 1000)

    for server in bench.servers:
        seconds = _filled(server, bench, count)
        if seconds is not None:
            add(
                Metric(title, "APPEND of these, all to this mailbox", "messages/s"),
                server.name,
                count / seconds,
            )

    subject = f"SEARCH SUBJECT {SUBJECT_NEEDLE}"
    for moment in ("first", "cold"):
        for server in bench.servers:
            if moment == "cold":
                _restart(server)
            with ImapConnection(server.imap_port) as connection:
                connection.login(_USER)
                timed(f"SELECT, {moment}", server, connection, f"SELECT {_LARGE}")
                timed(f"FETCH flags, {moment}", server, connection, "FETCH 1:* (UID FLAGS)")
                timed(f"FETCH envelope and structure, {moment}", server, connection, _ENVELOPES)
                timed(f"SEARCH SUBJECT, {moment}", server, connection, subject)

    for server in bench.turns(3):
        with ImapConnection(server.imap_port) as connection:
            connection.login(_USER)
            timed("SELECT, warm", server, connection, f"SELECT {_LARGE}")
            timed("FETCH flags, warm", server, connection, "FETCH 1:* (UID FLAGS)", wanted=2)
            timed("FETCH envelope and structure, warm", server, connection, _ENVELOPES, wanted=4)
            answer = connection.command("FETCH 1:* (BODY.PEEK[])")
            add(
                Metric(title, "FETCH BODY.PEEK[]", "MiB/s"),
                server.name,
                answer.octets / 2**20 / answer.seconds,
            )
            connection.command(subject)  # a process brings what it looks at with its first
            timed("SEARCH SUBJECT", server, connection, subject, wanted=1)
            # SORT and THREAD answer alike on both: Dovecot has them built in.
            timed("SORT (ARRIVAL)", server, connection, "SORT (ARRIVAL) UTF-8 ALL", wanted=2)
            timed("SORT (SUBJECT DATE)", server, connection, "SORT (SUBJECT DATE) UTF-8 ALL", wanted=2)
            timed("SORT (REVERSE FROM)", server, connection, "SORT (REVERSE FROM) UTF-8 ALL", wanted=2)
            timed("THREAD=REFERENCES", server, connection, "THREAD REFERENCES UTF-8 ALL", wanted=2)
            body = f"SEARCH BODY {BODY_NEEDLE}"
            timed("SEARCH BODY, the connection's first", server, connection, body)
            timed("SEARCH BODY", server, connection, body, wanted=30)
            timed("SEARCH TEXT", server, connection, f"SEARCH TEXT {BODY_NEEDLE}", wanted=30)
            timed("STORE 1:* +FLAGS", server, connection, "STORE 1:* +FLAGS (\\Flagged)")
            timed("STORE 1:* -FLAGS", server, connection, "STORE 1:* -FLAGS (\\Flagged)")

    for number, server in enumerate(bench.turns(3)):
        with ImapConnection(server.imap_port) as connection:
            connection.login(_USER)
            _create(connection, f"Copy{number}")
            _create(connection, f"Moved{number}")
            connection.command(f"SELECT {_LARGE}")
            timed("COPY 1:*", server, connection, f"COPY 1:* Copy{number}")
            connection.command(f"SELECT Copy{number}")
            timed("MOVE 1:*", server, connection, f"MOVE 1:* Moved{number}")
            connection.command(f"SELECT Moved{number}")
            connection.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")
            timed("EXPUNGE of all", server, connection, "EXPUNGE")
        server.tree.settle(20)


def grown(bench: Bench) -> None:
    """APPEND of 4 KiB messages to a copy of the large mailbox, by one session and by ten."""
    count = 2_000 if bench.quick else 10_000
    title = f"Mailbox of {count:,} messages"
    for server in bench.servers:
        _filled(server, bench, count)
    writer = Writer(5)
    messages = [writer.message(each, 4096) for each in range(count // 10)]
    for number, server in enumerate(bench.turns(3)):
        mailbox = f"Grown{number}"
        with ImapConnection(server.imap_port) as connection:
            connection.login(_USER)
            _create(connection, mailbox)
            connection.command(f"SELECT {_LARGE}")
            connection.command(f"COPY 1:* {mailbox}")
        for sessions in (1, 10):
            server.tree.settle(10, calm=0.75)
            name = f"APPEND of 4 KiB to it, {sessions} session{'s' if sessions > 1 else ''}"
            rate = Metric(title, name, "messages/s", wanted=3)
            seconds = fill(server.imap_port, [_USER] * sessions, mailbox, messages)
            bench.report.add(rate, server.name, len(messages) / seconds)
        server.tree.settle(20)


def huge(bench: Bench) -> None:
    """100,000 messages (20,000 in a quick run), copied from the large mailbox."""
    count = 2_000 if bench.quick else 10_000
    title = f"Mailbox of {count * 10:,} messages"
    add = bench.report.add
    cold = Metric(title, "SELECT, cold", "ms", less_is_better=True, bound=400)
    warm = Metric(title, "SELECT, warm", "ms", less_is_better=True, bound=20)
    flags = Metric(title, "FETCH flags, warm", "ms", less_is_better=True)
    # What a client does that shows the end of a large mailbox; the middle, so that nothing is cached from elsewhere.
    window = f"FETCH {count * 5}:{count * 5 + 49} (UID FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE INTERNALDATE)"
    lines = {
        Metric(
            title, "SORT (ARRIVAL), warm", "ms", less_is_better=True, bound=100
        ): "SORT (ARRIVAL) UTF-8 ALL",
        Metric(title, "SORT (SUBJECT), warm", "ms", less_is_better=True): "SORT (SUBJECT) UTF-8 ALL",
        Metric(title, "THREAD=REFERENCES, warm", "ms", less_is_better=True): "THREAD REFERENCES UTF-8 ALL",
        Metric(title, "SEARCH SUBJECT, warm", "ms", less_is_better=True): f"SEARCH SUBJECT {SUBJECT_NEEDLE}",
        Metric(
            title, "SEARCH TEXT, warm", "ms", less_is_better=True, bound=100
        ): f"SEARCH TEXT {BODY_NEEDLE}",
        Metric(title, "FETCH of 50 messages, warm", "ms", less_is_better=True, bound=5): window,
    }
    for server in bench.servers:
        _filled(server, bench, count)
        with ImapConnection(server.imap_port) as connection:
            connection.login(_USER)
            _create(connection, _HUGE)
            connection.command(f"SELECT {_LARGE}")
            for _ in range(10):
                connection.command(f"COPY 1:* {_HUGE}")
        server.tree.settle()
    for server in bench.turns():
        _restart(server)
        with ImapConnection(server.imap_port) as connection:
            connection.login(_USER)
            add(cold, server.name, connection.command(f"SELECT {_HUGE}").seconds * 1000)
        for _ in range(3):
            with ImapConnection(server.imap_port) as connection:
                connection.login(_USER)
                add(warm, server.name, connection.command(f"SELECT {_HUGE}").seconds * 1000)
                add(flags, server.name, connection.command("FETCH 1:* (UID FLAGS)").seconds * 1000)
        with ImapConnection(server.imap_port) as connection:
            connection.login(_USER)
            connection.command(f"SELECT {_HUGE}")
            for metric, line in lines.items():
                connection.command(line)  # the first time brings what the next ones find there
                add(metric, server.name, connection.command(line).seconds * 1000)


def append(bench: Bench) -> None:
    """APPEND of 4 KiB messages by one session and by ten, each to the INBOX of a user of its own."""
    for sessions in (1, 10):
        title = f"APPEND of 4 KiB, {sessions} session{'s' if sessions > 1 else ''}"
        rate = Metric(title, "appended", "messages/s")
        cost = Metric(title, "server CPU for each", "ms", less_is_better=True)
        count = (200 if bench.quick else 1_000) * (2 if sessions > 1 else 1)
        writer = Writer(5)
        messages = [writer.message(each, 4096) for each in range(count)]
        for number, server in enumerate(bench.turns()):
            first = 50 + number // len(bench.servers) * 10
            owners = users()[first : first + sessions]
            for owner in owners:
                with ImapConnection(server.imap_port) as connection:
                    connection.login(owner)
                    connection.messages("INBOX")
            server.tree.settle(10, calm=0.75)
            before = server.tree.cpu()
            seconds = fill(server.imap_port, owners, "INBOX", messages)
            server.tree.settle()
            bench.report.add(rate, server.name, count / seconds)
            bench.report.add(cost, server.name, (server.tree.cpu() - before) / count * 1000)
