"""From the 250 of a message to the EXISTS that an idling session is told (RFC 2177)."""

import smtplib
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench
from benchmarks.figures import Metric
from benchmarks.imap import ImapConnection
from benchmarks.messages import Writer, users
from benchmarks.server import HOST, Server

_TITLE = "From 250 to EXISTS on an idling session"
_MIDDLE = Metric(_TITLE, "p50", "ms", less_is_better=True, bound=20)
_HIGH = Metric(_TITLE, "p99", "ms", less_is_better=True, bound=100)


def _one_turn(server: Server, count: int) -> list[float]:
    address = users()[7]
    writer = Writer(7)
    delays = []
    with (
        ImapConnection(server.imap_port) as reader,
        smtplib.SMTP(HOST, server.smtp_port, "load.elsewhere.test") as sender,
        ThreadPoolExecutor(1) as pool,
    ):
        reader.login(address)
        reader.command("SELECT INBOX")
        reader.idle()
        sender.ehlo()
        for number in range(count):
            message = writer.message(number, 4096)
            told = pool.submit(reader.wait_for, b" EXISTS\r\n")
            sender.sendmail("sender@elsewhere.test", [address], message)
            accepted = time.perf_counter()
            # Told before the sender was: no delay.
            delays.append(max(told.result(60) - accepted, 0.0))
            time.sleep(0.02)
        reader.done()
    return delays


def run(bench: Bench) -> None:
    """Send one message after the other and watch."""
    count = 20 if bench.quick else 100
    delays: dict[str, list[float]] = {}
    for server in bench.turns():
        delays.setdefault(server.name, []).extend(_one_turn(server, max(count // bench.pairs, 10)))
    for name, values in delays.items():
        bench.report.add(_MIDDLE, name, statistics.median(values) * 1000)
        bench.report.add(_HIGH, name, statistics.quantiles(values, n=100, method="inclusive")[98] * 1000)
