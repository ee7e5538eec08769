"""What the SMTP door stands on, without disk and database, and a client that speaks in dialogues."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from esp.config.sections import Security, Smtp
from esp.core.errors import EspError
from esp.core.mailbox import ModSeq, Uid
from esp.core.principal import Principal
from esp.services.dispatch import Incoming, Placed
from esp.services.reception import Reception
from esp.services.submission import Submission
from esp.smtp.door import Door
from tests.support.authentication import FakeAuthentication
from tests.support.directory import ALICE, FakeDirectory

HOSTNAME = "mx.example.test"


LOGIN = Principal(ALICE.account, ALICE.address, ALICE.folder)
"""Who logs in where submission is open, with the password `secret`."""


class FakeSpool:
    """Keeps in memory what the real one keeps in a file without a name."""

    def __init__(self, error: Exception | None = None) -> None:
        self.octets = bytearray()
        self.closed = False
        self._error = error

    def write(self, octets: bytes) -> None:
        if self._error is not None:
            raise self._error
        self.octets += octets

    def close(self) -> None:
        self.closed = True


class FakeDispatch:
    """Keeps what is delivered; `fail` is raised for the next deliveries to those mailboxes (or to all)."""

    def __init__(self) -> None:
        self.delivered: list[tuple[Incoming, bytes]] = []
        self.fail: dict[int | None, EspError] = {}
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def deliver(self, incoming: Incoming) -> tuple[Placed, ...]:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        for mailbox in (None, *(target.mailbox for target in incoming.targets)):
            if mailbox in self.fail:
                raise self.fail[mailbox]
        body = incoming.body if isinstance(incoming.body, bytes) else bytes(incoming.body.octets)  # type: ignore[attr-defined]
        self.delivered.append((incoming, body))
        return tuple(Placed(t.mailbox, 1, Uid(len(self.delivered)), ModSeq(1)) for t in incoming.targets)

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in self.delivered]


class World(msgspec.Struct):
    """A door and all it stands on."""

    door: Door
    directory: FakeDirectory
    dispatch: FakeDispatch
    spools: list[FakeSpool]
    spool_error: Exception | None = None


@contextlib.asynccontextmanager
async def world(
    *,
    smtp: Smtp | None = None,
    security: Security | None = None,
    submission: bool = False,
    **door: Any,
) -> AsyncIterator[World]:
    """Open a door on a free port."""
    smtp = smtp or Smtp()
    directory, dispatch = FakeDirectory(), FakeDispatch()
    kind = Submission if submission else Reception
    reception = kind(
        directory=directory,
        dispatch=dispatch,
        hostname=HOSTNAME,
        max_message_size=smtp.max_message_size,
        max_recipients=smtp.max_recipients,
    )
    spools: list[FakeSpool] = []

    def spool() -> Any:
        spools.append(FakeSpool(made.spool_error))
        return spools[-1]

    made = World(
        Door(
            "smtp",
            address="127.0.0.1",
            port=0,
            hostname=HOSTNAME,
            reception=reception,
            spool=spool,
            smtp=smtp,
            security=security or Security(),
            authentication=FakeAuthentication(LOGIN) if submission else None,
            **door,
        ),
        directory,
        dispatch,
        spools,
    )
    await made.door.open()
    try:
        yield made
    finally:
        await made.door.drain(0.0)


class Talk:
    """A client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, made: World, *, greet: bool = True, tls: ssl.SSLContext | None = None) -> "Talk":
        name = "localhost" if tls is not None else None
        talk = cls(*await asyncio.open_connection("127.0.0.1", made.door.port, ssl=tls, server_hostname=name))
        if greet:
            assert (await talk.reply()).startswith("220 ")
        return talk

    async def reply(self) -> str:
        """Return the next reply, all its lines; empty at the end of the connection."""
        lines: list[str] = []
        while True:
            async with asyncio.timeout(10):
                line = await self.reader.readline()
            lines.append(line.decode().rstrip("\r\n"))
            if line[3:4] != b"-":
                return "\n".join(lines)

    def send(self, octets: bytes | str) -> None:
        self.writer.write(octets.encode() if isinstance(octets, str) else octets)

    async def ask(self, line: bytes | str) -> str:
        self.send(line if isinstance(line, bytes) else line + "\r\n")
        return await self.reply()

    async def all_of(self, lines: Sequence[str]) -> list[str]:
        """Send lines at once; return the code of each reply."""
        self.send("".join(line + "\r\n" for line in lines))
        return [(await self.reply())[:3] for _ in lines]

    async def begin(self, recipient: str = "alice@example.test") -> None:
        """Come to the point where a message is expected."""
        codes = await self.all_of(
            ["EHLO client.test", "MAIL FROM:<sender@other.test>", f"RCPT TO:<{recipient}>", "DATA"]
        )
        assert codes == ["250", "250", "250", "354"], codes

    async def closed(self) -> bool:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read() == b""
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


GOLDEN = Path(__file__).parent.parent / "golden" / "smtp"
