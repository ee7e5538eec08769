"""Imports from a server that is not well: it drops connections, refuses messages, has none of their octets."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from esp.core.errors import AuthenticationError
from esp.core.principal import Principal
from esp.native import Store
from esp.remote.imap_client import ImapClient, Server, Tls
from esp.services.dispatch import Dispatch
from esp.services.imap_source import ImapSource
from esp.services.importing import Brought, Importing, Names, Summary
from esp.services.mailboxes import Mailboxes
from esp.services.messages import Messages
from esp.storage.maildir import Maildirs
from esp.storage.postgres.pool import Database
from tests.services.conftest import Publications, add_box


class Unwell:
    """An IMAP server with one folder and faults."""

    def __init__(self, messages: dict[int, bytes]) -> None:
        self.messages = messages
        self.port = 0
        self.logins = self.fetches = 0
        self.fault: Callable[[int], str] = lambda _: ""
        """By UID: `drop`, `no`, `nil`, `gone`, `cut` (within the octets), `garbage`; or nothing."""
        self.refuse_login: Callable[[int], bool] = lambda _: False
        self.validity = 7
        self._refused = False
        """Whether the last message was; the connection lives on then."""
        self.most_at_once = self.at_once = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Unwell"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        writer.write(b"* OK [CAPABILITY IMAP4rev1] not quite well\r\n")
        try:
            while line := await reader.readline():
                tag, _, command = line.rstrip(b"\r\n").partition(b" ")
                if not await self._answer(tag, command.decode(), reader, writer):
                    break
        except ConnectionError:
            pass
        finally:
            self.at_once -= 1
            writer.close()

    async def _answer(
        self, tag: bytes, command: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        match command.split():
            case ["CAPABILITY"]:
                writer.write(b"* CAPABILITY IMAP4rev1\r\n")
            case ["LOGIN", _]:
                for _ in range(2):
                    writer.write(b"+ go on\r\n")
                    assert await reader.readline()
                self.logins += 1
                if self.refuse_login(self.logins):
                    writer.write(tag + b" NO too many connections\r\n")
                    return True
            case ["LIST", *_]:
                writer.write(b'* LIST () "." INBOX\r\n* LIST (\\Noselect) "." Nothing\r\n')
            case ["STATUS", *_]:
                writer.write(
                    b"* STATUS INBOX (MESSAGES %d UIDVALIDITY %d)\r\n" % (len(self.messages), self.validity)
                )
            case ["EXAMINE", *_]:
                writer.write(
                    b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] yes\r\n" % (len(self.messages), self.validity)
                )
            case ["UID", "SEARCH", "ALL"]:
                writer.write(b"* SEARCH " + b" ".join(b"%d" % uid for uid in sorted(self.messages)) + b"\r\n")
            case ["UID", "FETCH", numbers, "(UID", "RFC822.SIZE)"]:
                for uid in self._uids(numbers):
                    size = len(self.messages[uid])
                    writer.write(b"* %d FETCH (UID %d RFC822.SIZE %d)\r\n" % (uid, uid, size))
            case ["UID", "FETCH", numbers, *_]:
                self.fetches += 1
                if not all(self._send(tag, uid, writer) for uid in self._uids(numbers)):
                    return self._refused
        writer.write(tag + b" OK done\r\n")
        await writer.drain()
        return True

    def _send(self, tag: bytes, uid: int, writer: asyncio.StreamWriter) -> bool:
        """Send a message, or what the fault is; tell whether to go on."""
        octets, fault = self.messages[uid], self.fault(uid)
        head = b"* %d FETCH (UID %d FLAGS (\\Seen $Work \\Recent) " % (uid, uid)
        head += b'INTERNALDATE " 1-Mar-2024 10:00:00 +0100" BODY[] '
        # News of another message come in the middle of the answer.
        whole = head + b"{%d}\r\n" % len(octets) + octets + b")\r\n* 1 FETCH (FLAGS (\\Answered))\r\n"
        writer.write(
            {
                "": whole,
                "cut": whole[: -len(octets) // 2],
                "garbage": head + b"(((((\r\n",
                "no": tag + b" NO that one is broken\r\n",
                "nil": head + b"NIL)\r\n",
            }.get(fault, b"")
        )
        self._refused = fault == "no"
        return fault not in {"drop", "cut", "no"}

    def _uids(self, numbers: str) -> list[int]:
        found: list[int] = []
        for part in numbers.split(","):
            first, _, last = part.partition(":")
            found += [uid for uid in range(int(first), int(last or first) + 1) if uid in self.messages]
        return found


class Ignore:
    def begin(self, folder: str, size: int) -> None: ...
    def advance(self, weight: int, messages: int, octets: int) -> None: ...
    def end(self, brought: Brought) -> None: ...


class World(msgspec.Struct):
    """An account, and what imports into it."""

    database: Database
    store: Store
    dispatch: Dispatch
    mailboxes: Mailboxes
    messages: Messages
    principal: Principal
    mailbox: int

    async def run(self, server: Unwell, **how: int) -> Summary:
        where = Server("127.0.0.1", server.port, Tls.NONE, None)

        async def connect() -> ImapClient:
            client = await ImapClient.connect(where, timeout=10, spool=self.store.spool)
            try:
                await client.log_in("carol", "secret")
            except BaseException:
                await client.close()
                raise
            return client

        source = ImapSource("imap://carol@there", connect, pauses=(0, 0, 0), **how)
        importing = Importing(self.database, self.mailboxes, self.messages, self.dispatch, pauses=())
        try:
            return await importing.run(self.principal, source, Names(), Ignore())
        finally:
            await source.close()

    async def kept(self) -> list[tuple[int, bytes, int]]:
        """Return UID, octets and flags of each message."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT uid, file, file_flags, flags FROM message WHERE mailbox_id = $1 ORDER BY uid",
                self.mailbox,
            )
        return [
            (
                row["uid"],
                self.store.read(self.principal.maildir, row["file"], row["file_flags"]),
                row["flags"],
            )
            for row in rows
        ]


@pytest.fixture
async def world(
    database: Database, store: Store, dispatch: Dispatch, root: Path, publications: Publications
) -> World:
    box = await add_box(database)
    files = Maildirs(store, root)
    messages = Messages(database, files, publications, 60.0)  # type: ignore[arg-type]
    mailboxes = Mailboxes(database, files, messages, publications, 60.0)  # type: ignore[arg-type]
    principal = Principal(box.account, f"{box.folder.partition('/')[2]}@example.test", box.folder)
    return World(database, store, dispatch, mailboxes, messages, principal, box.mailbox)


def letters(count: int, size: int = 10) -> dict[int, bytes]:
    return {uid: b"Subject: %d\r\n\r\n%s\r\n" % (uid, b"x" * size) for uid in range(1, count + 1)}


async def test_every_message_comes_in_its_order_whatever_connection_brings_it(world: World) -> None:
    async with Unwell(letters(1500, 20_000)).running() as server:
        done = await world.run(server)

    assert done.complete
    assert [octets for _, octets, _ in await world.kept()] == list(server.messages.values())
    assert {flags for *_, flags in await world.kept()} == {8 | 1 << 8}
    assert server.most_at_once > 1


async def test_a_large_message_goes_by_the_disk(world: World) -> None:
    server = Unwell(
        {1: b"Subject: large\r\n\r\n" + b"0123456789abcd\r\n" * 200_000, 2: b"Subject: small\r\n\r\n"}
    )
    async with server.running():
        assert (await world.run(server)).complete

    assert [octets for _, octets, _ in await world.kept()] == list(server.messages.values())


@pytest.mark.parametrize("fault", ["drop", "cut", "garbage"])
async def test_a_connection_that_breaks_is_made_anew_and_nothing_is_doubled(world: World, fault: str) -> None:
    async with Unwell(letters(300)).running() as server:
        seen: dict[int, int] = {}

        def now_and_then(uid: int) -> str:
            seen[uid] = seen.get(uid, 0) + 1
            return fault if uid % 40 == 0 and seen[uid] == 1 else ""

        server.fault = now_and_then
        done = await world.run(server)

    assert done.complete
    assert [octets for _, octets, _ in await world.kept()] == list(server.messages.values())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("drop", "the connection broke"),
        ("no", "that one is broken"),
        ("nil", "no octets"),
        ("garbage", "cannot be read"),
    ],
)
async def test_a_message_that_cannot_be_had_is_told_and_the_others_come(
    world: World, fault: str, reason: str
) -> None:
    async with Unwell(letters(50)).running() as server:
        server.fault = lambda uid: fault if uid in {7, 20} else ""
        done = await world.run(server)

        assert [(failure.folder, failure.item) for failure in done.failures] == [
            ("INBOX", "7"),
            ("INBOX", "20"),
        ]
        assert all(reason in failure.reason for failure in done.failures)
        assert not done.complete
        assert len(await world.kept()) == 48

        # Another run tries these, and no others.
        server.fault, server.fetches = lambda _: "", 0
        done = await world.run(server)
        assert (done.complete, done.folders[0].imported, done.folders[0].present) == (True, 2, 48)
        assert server.fetches == 1


async def test_what_is_expunged_meanwhile_is_no_failure(world: World) -> None:
    async with Unwell(letters(5)).running() as server:
        server.fault = lambda uid: "gone" if uid == 3 else ""
        done = await world.run(server)

    assert (done.complete, len(await world.kept())) == (True, 4)


async def test_a_mailbox_made_anew_is_another_one(world: World) -> None:
    async with Unwell(letters(3)).running() as server:
        await world.run(server)
        server.validity += 1
        assert (await world.run(server)).folders[0].imported == 3


async def test_a_server_that_is_gone_ends_the_run_and_says_so(world: World) -> None:
    async with Unwell(letters(500, 20_000)).running() as server:
        server.fault = lambda uid: "drop" if uid > 100 else ""
        server.refuse_login = lambda number: number > 4
        done = await world.run(server)

    assert done.stopped is not None
    assert "too many connections" in done.stopped
    assert done.failures == ()


async def test_a_server_that_takes_few_connections_is_asked_with_few(world: World) -> None:
    async with Unwell(letters(300, 20_000)).running() as server:
        refused: list[int] = []

        def at_most_two(_: int) -> bool:
            refused.append(server.at_once)
            return server.at_once > 2

        server.refuse_login = at_most_two
        done = await world.run(server)

    assert done.complete
    assert max(refused) > 2


async def test_a_wrong_password_is_said_at_once(world: World) -> None:
    async with Unwell(letters(3)).running() as server:
        server.refuse_login = lambda _: True
        with pytest.raises(AuthenticationError, match="too many connections"):
            await world.run(server)
        assert server.logins == 1


@pytest.mark.parametrize("uid", [b"x", b"99999999999999999999999", b"NIL", b'"', b"(1)", b""])
async def test_nonsense_is_an_error_and_no_crash(world: World, uid: bytes) -> None:
    async with Unwell({}).running() as server:

        async def answer(tag: bytes, command: str, *streams: object) -> bool:
            writer = streams[1]
            assert isinstance(writer, asyncio.StreamWriter)
            if re.match("UID SEARCH", command):
                writer.write(b"* SEARCH " + uid + b"\r\n" + tag + b" OK\r\n")
                return True
            return await Unwell._answer(server, tag, command, *streams)  # type: ignore[arg-type]

        server._answer = answer  # type: ignore[method-assign, assignment]
        done = await world.run(server)

    assert done.failures or done.stopped or done.folders[0].imported == 0
