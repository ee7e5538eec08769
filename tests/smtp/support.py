"""What the SMTP door stands on, without disk and database, and a client that speaks in dialogues."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from esp.config.sections import Security, Smtp
from esp.core import sasl
from esp.core.address import Address
from esp.core.errors import AuthenticationError, EspError, InvalidError, ThrottledError, UnavailableError
from esp.core.mailbox import MailboxId, ModSeq, Uid
from esp.core.principal import AccountId, Principal
from esp.core.quota import Quota
from esp.core.routing import Disabled, Local, LocalTarget, NoSuchUser, Remote, Resolution
from esp.services.dispatch import Incoming, Placed
from esp.services.reception import Reception
from esp.services.submission import Submission
from esp.smtp.door import Door

HOSTNAME = "mx.example.test"


def inbox(account: int, name: str) -> LocalTarget:
    return LocalTarget(AccountId(account), MailboxId(account), f"example.test/{name}", f"{name}@example.test")


ALICE, BOB, ADMIN = inbox(1, "alice"), inbox(2, "bob"), inbox(3, "admin")


class FakeDirectory:
    """Knows `example.test`: alice, bob, team (both), full, off, elsewhere; `down` does not answer."""

    def __init__(self) -> None:
        self.quotas: dict[int, Quota] = {}

    def remembered(self, recipient: Address) -> tuple[tuple[LocalTarget, ...], list[Quota]] | None:
        # As if bob had had mail a moment ago; of all others nothing is known.
        if recipient == Address("bob", "example.test"):
            return (BOB,), [self.quotas.get(BOB.account, Quota(0, None, 0, None))]
        return None

    async def resolve(self, recipient: Address) -> Resolution:
        if recipient.domain != "example.test":
            return Remote()
        match recipient.local_part.partition("+")[0].lower():
            case "alice":
                detail = recipient.local_part.partition("+")[2]
                return Local((msgspec.structs.replace(ALICE, detail=detail),))
            case "bob":
                return Local((BOB,))
            case "team":
                return Local((ALICE, BOB))
            case "full":
                self.quotas[4] = Quota(100, 100, 1, None)
                return Local((inbox(4, "full"),))
            case "small":
                self.quotas[5] = Quota(0, 1000, 1, None)
                return Local((inbox(5, "small"),))
            case "off":
                return Disabled()
            case "elsewhere":
                return Local((), (Address("x", "other.test"),))
            case "down":
                await asyncio.sleep(0)
                raise UnavailableError("The database does not answer")
            case _:
                return NoSuchUser()

    async def postmaster(self) -> Resolution:
        return Local((ADMIN,))

    async def folder(self, target: LocalTarget, poster: AccountId | None) -> LocalTarget:
        # The tag names a mailbox where only alice may post.
        if target.detail and poster == 1:
            return inbox(int(target.account) + 100, target.detail)
        return target

    async def quota(self, account: AccountId) -> Quota:
        return self.quotas.get(account, Quota(0, None, 0, None))

    async def owns(self, account: AccountId, address: Address) -> bool:
        owned = {1: {"alice", "team"}, 2: {"bob"}}
        return address.domain == "example.test" and address.split("+")[0].local_part in owned.get(
            account, set()
        )


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


class FakeAuthentication:
    """Alice's password is `secret`; after three failures everybody has to wait."""

    def __init__(self) -> None:
        self.failures = 0

    def mechanisms(self, *, bound: bool) -> tuple[str, ...]:
        return ("SCRAM-SHA-256-PLUS",) * bound + ("SCRAM-SHA-256", "PLAIN", "LOGIN")

    def exchange(
        self, mechanism: str, *, remote: str, door: str, binding: sasl.ChannelBinding | None = None
    ) -> "FakeExchange":
        machine: sasl.Machine
        match mechanism.upper():
            case "PLAIN":
                machine = sasl.Plain()
            case "LOGIN":
                machine = sasl.Login()
            case "SCRAM-SHA-256":
                machine = sasl.ScramSha256("servernonce", binding)
            case "SCRAM-SHA-256-PLUS":
                machine = sasl.ScramSha256("servernonce", binding, plus=True)
            case _:
                raise InvalidError("This mechanism is not offered")
        return FakeExchange(self, machine)


class FakeExchange:
    def __init__(self, authentication: FakeAuthentication, machine: sasl.Machine) -> None:
        self._authentication = authentication
        self._machine = machine

    async def respond(self, response: bytes | None) -> sasl.Challenge | Principal:
        step = self._machine.respond(response)
        if isinstance(step, sasl.Challenge):
            return step
        if isinstance(step, sasl.CredentialsWanted):
            assert isinstance(self._machine, sasl.ScramSha256)
            return self._machine.given(sasl.scram_credentials("secret", b"salt", 4096))
        if self._authentication.failures >= 3:
            raise ThrottledError("Too many failures")
        if isinstance(step, sasl.PasswordShown) and (step.username, step.password) != (
            "alice@example.test",
            "secret",
        ):
            self._authentication.failures += 1
            raise AuthenticationError("Authentication failed")
        return Principal(AccountId(1), "alice@example.test", "example.test/alice")


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
    submission: Any = None,
    **door: Any,
) -> AsyncIterator[World]:
    """Open a door on a free port."""
    smtp = smtp or Smtp()
    directory, dispatch = FakeDirectory(), FakeDispatch()
    kind = Reception if submission is None else Submission
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
            authentication=submission,
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
