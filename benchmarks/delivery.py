"""Mail in over SMTP until it is visible over IMAP."""

import time
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.figures import Metric
from benchmarks.imap import ImapConnection
from benchmarks.load import Load, send, write_messages
from benchmarks.messages import BASE, DOMAIN, users
from benchmarks.processes import peak_memory
from benchmarks.server import Server

_LONGEST_WAIT = 180.0


def _targets(load: Load, turn: int) -> tuple[list[str], list[str]]:
    """Return the address for each session, and all addresses that its messages reach."""
    if load.recipients > 1:
        addresses = [f"u{base}@{DOMAIN}" for base in range(BASE)][: load.sessions]
        reached = [
            f"{number if number > 1 else ''}{address}"
            for address in addresses
            for number in range(1, load.recipients + 1)
        ]
        return addresses, reached
    everyone = users()
    first = turn * load.sessions
    addresses = [everyone[(first + index) % len(everyone)] for index in range(load.sessions)]
    return addresses, addresses


class Watch:
    """Sees mail become visible, cheaply: asks nothing while mail is sent, then one mailbox at a time."""

    def __init__(self, server: Server, addresses: list[str]) -> None:
        self._connections = [ImapConnection(server.imap_port) for _ in addresses]
        for connection, address in zip(self._connections, addresses, strict=True):
            connection.login(address)
        self._before = [connection.messages("INBOX") for connection in self._connections]

    def wait(self, more: int) -> float:
        """Return when (`perf_counter`) each mailbox showed `more` messages than at first.

        Raises:
            TimeoutError: mail is missing.
        """
        deadline = time.monotonic() + _LONGEST_WAIT
        for connection, before in zip(self._connections, self._before, strict=True):
            while (seen := connection.messages("INBOX") - before) < more:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{more - seen} of {more} messages never became visible")
                time.sleep(0.01)
        return time.perf_counter()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def measure(title: str, load: Load, *, visible: float, cpu: float | None = None) -> Callable[[Bench], None]:
    """Return the scenario of a load; `visible` and `cpu` are the ratios wanted."""
    unit = "deliveries/s" if load.recipients > 1 else "messages/s"
    accepted_rate = Metric(title, "accepted", unit)
    visible_rate = Metric(title, "visible", unit, wanted=visible)
    cpu_each = Metric(title, "server CPU for each delivery", "ms", less_is_better=True, wanted=cpu)
    peak = Metric(title, "peak PSS", "MiB", less_is_better=True)
    generator = Metric(title, "the load generator's own CPU for each delivery", "ms", less_is_better=True)

    def run(bench: Bench) -> None:
        messages = write_messages(bench.folder / "messages", load.octets, load.sessions)
        each: dict[str, int] = {}
        for turn, server in enumerate(bench.turns()):
            addresses, reached = _targets(load, turn // len(bench.servers))
            if server.name not in each:
                # Warm-up: as many as show the rate, so that a turn takes about as long on every server.
                count = max(2, 100 // (load.sessions * load.recipients))
                watch = Watch(server, reached)
                sent = send(server.smtp_port, load, count, addresses, messages)
                took = watch.wait(count) - sent.began
                watch.close()
                rate = count / took
                each[server.name] = max(4, min(int(rate * bench.seconds), 3000))
                server.tree.settle(20)
            count = each[server.name]
            deliveries = count * len(reached)
            watch = Watch(server, reached)
            server.tree.settle(10, calm=0.75)
            with peak_memory(server.tree) as samples:
                before = server.tree.cpu()
                sent = send(server.smtp_port, load, count, addresses, messages)
                seen = watch.wait(count)
                # Indexing and whatever else comes after acceptance is part of the price.
                calm = server.tree.settle()
                used = server.tree.cpu() - before
            watch.close()
            add = bench.report.add
            add(accepted_rate, server.name, deliveries / sent.seconds)
            add(visible_rate, server.name, deliveries / (seen - sent.began))
            add(cpu_each, server.name, used / deliveries * 1000)
            add(peak, server.name, max(samples) / 2**20)
            add(generator, server.name, sent.cpu / deliveries * 1000)
            if not calm:
                bench.report.notes.append(
                    f"{title}: {server.name} was still busy a minute after the last message."
                )

    return run
