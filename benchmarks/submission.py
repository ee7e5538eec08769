"""Submission as mail programs do it: STARTTLS, AUTH and one message for each connection (RFC 6409).

`smtp-source` cannot log in, so the load is our own. It costs more than the server and shares its cores:
the server's CPU for each message says more than the rate.
"""

import multiprocessing
import smtplib
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from benchmarks.bench import Bench
from benchmarks.delivery import Watch
from benchmarks.figures import Metric
from benchmarks.imap import tls_context
from benchmarks.messages import Writer, users
from benchmarks.server import HOST, PASSWORD

_TITLE = "Submission of 4 KiB, TLS and login for each, 10 sessions"
_VISIBLE = Metric(_TITLE, "visible", "messages/s")
_CPU = Metric(_TITLE, "server CPU for each", "ms", less_is_better=True)
_SESSIONS = 10
_PROCESSES = 2


def _session(port: int, address: str, recipient: str, count: int) -> None:
    context = tls_context()
    message = Writer(9).message(1, 4096)
    message = message[message.index(b"\r\n") + 2 :]
    for _ in range(count):
        with smtplib.SMTP(HOST, port, "load.elsewhere.test", timeout=60) as client:
            client.starttls(context=context)
            client.login(address, PASSWORD)
            client.sendmail(address, [recipient], b"From: <%s>\r\n" % address.encode() + message)


def _sessions(port: int, addresses: list[str], recipients: list[str], count: int) -> None:
    with ThreadPoolExecutor(len(addresses)) as pool:
        list(pool.map(_session, [port] * len(addresses), addresses, recipients, [count] * len(addresses)))


def run(bench: Bench) -> None:
    """Each session is a user who writes to another one."""
    count = 10 if bench.quick else 40
    everyone = users()
    with ProcessPoolExecutor(_PROCESSES, multiprocessing.get_context("spawn")) as pool:

        def submit(port: int, senders: list[str], recipients: list[str], each: int) -> None:
            parts = [slice(part, None, _PROCESSES) for part in range(_PROCESSES)]
            running = [pool.submit(_sessions, port, senders[part], recipients[part], each) for part in parts]
            for future in running:
                future.result()

        for turn, server in enumerate(bench.turns()):
            first = turn // len(bench.servers) * 2 * _SESSIONS
            senders = everyone[first : first + _SESSIONS]
            recipients = everyone[first + _SESSIONS : first + 2 * _SESSIONS]
            # Once unmeasured: the processes of the load start, and passwords are checked for the first time.
            submit(server.submission_port, senders, recipients, 1)
            server.tree.settle(20)
            watch = Watch(server, recipients)
            server.tree.settle(10, calm=0.75)
            before = server.tree.cpu()
            began = time.perf_counter()
            submit(server.submission_port, senders, recipients, count)
            seen = watch.wait(count)
            server.tree.settle()
            watch.close()
            bench.report.add(_VISIBLE, server.name, count * _SESSIONS / (seen - began))
            bench.report.add(_CPU, server.name, (server.tree.cpu() - before) / (count * _SESSIONS) * 1000)
