"""What a login costs, and what a session costs that does nothing."""

import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench
from benchmarks.figures import Metric
from benchmarks.imap import ImapConnection, tls_context
from benchmarks.messages import users
from benchmarks.server import Server

_WARMING = 6
"""Logins of each user before the measurement: a process remembers a password by itself, and there may be several."""


def logins(bench: Bench) -> None:
    """Connect, LOGIN, LOGOUT; some users in turn, without TLS, with passwords that a server which hashes remembers."""
    everyone = users()[:20]
    for sessions in (1, 10):
        title = f"Logins, {sessions} session{'s' if sessions > 1 else ''}"
        rate = Metric(title, "connect, LOGIN, LOGOUT", "1/s")
        cost = Metric(title, "server CPU for each", "ms", less_is_better=True)
        for server in bench.turns():
            for user in everyone * _WARMING:
                _login(server, user)
            server.tree.settle(10, calm=0.5)
            before = server.tree.cpu()
            began = time.perf_counter()
            until = began + bench.seconds

            def work(session: int, server: Server = server, until: float = until) -> int:
                done = 0
                while time.perf_counter() < until:
                    _login(server, everyone[(session * 2 + done) % len(everyone)])
                    done += 1
                return done

            with ThreadPoolExecutor(sessions) as pool:
                count = sum(pool.map(work, range(sessions)))
            seconds = time.perf_counter() - began
            server.tree.settle(10)
            bench.report.add(rate, server.name, count / seconds)
            bench.report.add(cost, server.name, (server.tree.cpu() - before) / count * 1000)


def _login(server: Server, user: str) -> None:
    with ImapConnection(server.imap_port) as connection:
        connection.login(user)
        connection.command("LOGOUT")


def _idling(port: int, count: int, tls: ssl.SSLContext | None) -> list[ImapConnection]:
    everyone = users()

    def one(number: int) -> ImapConnection:
        connection = ImapConnection(port, tls)
        connection.login(everyone[number % len(everyone)])
        connection.command("SELECT INBOX")
        connection.idle()
        return connection

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def idle(bench: Bench) -> None:
    """A thousand sessions that idle (200 in a quick run), plain and over TLS: what they add to the PSS."""
    count = 200 if bench.quick else 1_000
    title = f"{count:,} idling IMAP sessions"
    share = count / 1_000
    for server in bench.servers:
        for kind, tls, bound in (("plain", None, 20 * share), ("TLS", tls_context(), 50 * share)):
            # Neither what the other kind left behind counts, nor what a server remembers of users anyway.
            server.stop()
            server.start()
            port = server.imap_port if tls is None else server.imaps_port
            # As many at once as will come, for connections to databases and processes kept ready are not theirs.
            for connection in _idling(port, 2 * len(users()), tls):
                connection.close()
            server.tree.settle(20)
            before = server.tree.memory()
            connections = _idling(port, count, tls)
            server.tree.settle(20)
            added = server.tree.memory() - before
            metric = Metric(title, f"they add to the PSS, {kind}", "MiB", less_is_better=True, bound=bound)
            bench.report.add(metric, server.name, added / 2**20)
            for connection in connections:
                connection.close()
            server.tree.settle(20)


def at_rest(bench: Bench) -> None:
    """The whole server, just started, with nothing to do."""
    title = "At rest after the start"
    for server in bench.servers:
        server.stop()
        began = time.perf_counter()
        server.start()
        started = time.perf_counter() - began
        server.tree.settle(30, calm=3)
        bench.report.add(Metric(title, "start until ready", "s", less_is_better=True), server.name, started)
        bench.report.add(
            Metric(title, "PSS", "MiB", less_is_better=True, bound=350),
            server.name,
            server.tree.memory() / 2**20,
        )
        before = server.tree.cpu()
        time.sleep(5)
        used = (server.tree.cpu() - before) / 5 * 100
        bench.report.add(Metric(title, "CPU", "% of a core", less_is_better=True), server.name, used)
