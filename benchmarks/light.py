"""A thousand light clients: each says something now and then, and how long it waits for the answer is what is measured.

One loop plays all of them. What a session does, and when, comes from a seed, so both servers get the same commands at
the same times as long as they keep up; an answer's time is taken where its last octets come in.
"""

import asyncio
import random
import re
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self, cast

import msgspec
import uvloop

from benchmarks.bench import Bench
from benchmarks.figures import Metric
from benchmarks.imap import RefusedError, check, fill, status, tags
from benchmarks.messages import Writer, users
from benchmarks.server import HOST, PASSWORD, Server

_MESSAGES = 30
"""In each INBOX."""
_NEWEST = 10
_PAUSE = 3.0
"""Seconds between an answer and the next command, in the mean: some 330 commands a second of a thousand sessions."""
_AT_ONCE = 16
"""Sessions that log in at the same time, before the measurement."""
_PATIENCE = 60.0
_LATEST = "FETCH flags of the newest"


class Answer(msgspec.Struct, frozen=True):
    """How a command was answered."""

    text: bytes
    seconds: float


class LightClient(asyncio.Protocol):
    """One connection, one command at a time."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._complete: Callable[[bytes], bool] = lambda text: text.endswith(b"\r\n")
        self._began = time.perf_counter()
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._tags = tags()
        self._transport: asyncio.Transport

    @classmethod
    async def connect(cls, port: int) -> Self:
        """Connect, and read the greeting."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(cls, HOST, port)
        async with asyncio.timeout(_PATIENCE):
            await client._answer
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        # uvloop's is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take octets; the last ones of an answer say how long it took."""
        self._text += data
        # What comes while nothing was asked is read with the next answer.
        if not self._answer.done() and self._complete(self._text):
            seconds = time.perf_counter() - self._began
            text, self._text = bytes(self._text), bytearray()
            self._answer.set_result(Answer(text, seconds))

    def connection_lost(self, error: Exception | None) -> None:
        """Have nobody wait for what will not come."""
        if not self._answer.done():
            self._answer.set_exception(error or RefusedError(f"closed after {bytes(self._text[-200:])!r}"))

    async def _ask(self, octets: bytes, complete: Callable[[bytes], bool]) -> Answer:
        self._complete = complete
        self._answer = asyncio.get_running_loop().create_future()
        self._began = time.perf_counter()
        self._transport.write(octets)
        async with asyncio.timeout(_PATIENCE):
            return await self._answer

    async def _tagged(self, tag: bytes, octets: bytes) -> Answer:
        answer = await self._ask(octets, lambda text: status(text, tag) is not None)
        check(octets, answer.text, tag)
        return answer

    async def command(self, line: str) -> Answer:
        """Send a command and time it until its tagged response.

        Raises:
            RefusedError: it was not OK.
        """
        tag = next(self._tags)
        return await self._tagged(tag, b"%b %b\r\n" % (tag, line.encode()))

    async def idle(self) -> Answer:
        """Begin IDLE (RFC 2177)."""
        self._idling = next(self._tags)
        return await self._ask(self._idling + b" IDLE\r\n", lambda text: b"+ " in text)

    async def done(self) -> Answer:
        """End IDLE."""
        return await self._tagged(self._idling, b"DONE\r\n")

    def close(self) -> None:
        """Close without LOGOUT."""
        self._answer.cancel()
        self._transport.abort()


Taken = dict[str, list[float]]
"""Seconds, by kind of command."""


async def cycle(
    client: LightClient, chance: random.Random, until: float, taken: Taken, pause: float = _PAUSE
) -> None:
    """Open the INBOX, look at the newest, read one, wait for more; `until` the loop's clock is there."""
    loop = asyncio.get_running_loop()

    async def rest() -> bool:
        await asyncio.sleep(chance.uniform(0, 2 * pause))
        return loop.time() < until

    def note(kind: str, answer: Answer) -> bytes:
        taken.setdefault(kind, []).append(answer.seconds)
        return answer.text

    while await rest():
        found = re.search(rb"\* (\d+) EXISTS", note("SELECT", await client.command("SELECT INBOX")))
        count = int(found[1]) if found else 0
        if not count:
            raise RefusedError("an INBOX without messages")
        if not await rest():
            return
        note(_LATEST, await client.command(f"FETCH {max(count - _NEWEST + 1, 1)}:* (UID FLAGS)"))
        if not await rest():
            return
        note("FETCH of a body", await client.command(f"FETCH {chance.randint(1, count)} (BODY.PEEK[])"))
        if chance.random() < 0.5:
            for _ in range(2):
                if not await rest():
                    return
                note("NOOP", await client.command("NOOP"))
            continue
        if not await rest():
            return
        note("IDLE", await client.idle())
        await rest()
        note("DONE", await client.done())


@asynccontextmanager
async def _logged_in(port: int, count: int) -> AsyncIterator[list[LightClient]]:
    everyone = users()
    room = asyncio.Semaphore(_AT_ONCE)
    clients: list[LightClient] = []

    async def one(number: int) -> None:
        async with room:
            client = await LightClient.connect(port)
            clients.append(client)
            await client.command(f'LOGIN "{everyone[number % len(everyone)]}" "{PASSWORD}"')
            await client.command("SELECT INBOX")

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(number))
        yield clients
    finally:
        for client in clients:
            client.close()


def _turn(server: Server, count: int, seconds: float) -> Taken:
    """Return what was taken."""

    async def play() -> Taken:
        taken: Taken = {}
        async with _logged_in(server.imap_port, count) as clients:
            await asyncio.to_thread(server.tree.settle, 20.0)
            until = asyncio.get_running_loop().time() + seconds
            async with asyncio.TaskGroup() as group:
                for number, client in enumerate(clients):
                    group.create_task(cycle(client, random.Random(number), until, taken))
        return taken

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(play())


def run(bench: Bench) -> None:
    """A thousand sessions of a hundred users (200 in a quick run), plain; each server three turns."""
    count = 200 if bench.quick else 1_000
    seconds = bench.seconds * 2.5
    title = f"{count:,} light clients"

    def metric(name: str, wanted: float | None = None) -> Metric:
        return Metric(title, name, "ms", less_is_better=True, wanted=wanted)

    for server in bench.servers:
        # One session a mailbox: more of one mailbox wait for each other in Dovecot.
        everyone = users()
        for first in range(0, len(everyone), 10):
            owners = everyone[first : first + 10]
            messages = Writer(first).mailbox(_MESSAGES * len(owners))
            fill(server.imap_port, owners, "INBOX", messages)
        server.tree.settle()
    for server in bench.turns():
        taken = _turn(server, count, seconds)
        everything = [each for values in taken.values() for each in values]
        name = server.name
        bench.report.add(metric("p50 of all commands"), name, statistics.median(everything) * 1000)
        bench.report.add(metric("p99 of all commands", wanted=1), name, _high(everything))
        for kind, values in sorted(taken.items()):
            bench.report.add(metric(f"p99 of {kind}"), name, _high(values))
        bench.report.add(Metric(title, "commands", "1/s"), name, len(everything) / seconds)


def _high(seconds: list[float]) -> float:
    """Return the 99th of a hundred, in milliseconds."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[98] * 1000
