"""An IMAP client that reads mailboxes: what an import from another server needs (RFC 3501, RFC 9051).

In: where the server is, who logs in. Out: folders, UIDs, and messages as they stream in. A literal that is large goes
to a file piece by piece, so the largest message costs no memory; that, and many messages to one command, is why this is
no library: imaplib, IMAPClient and aioimaplib hold the whole answer to a command.

What the server says may be wrong in any way: it is then an error of `core.errors`, never another.
"""

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum
from typing import Self

import msgspec

from esp.core.errors import AuthenticationError, DeniedError, UnavailableError
from esp.native import Spool, encode_set
from esp.remote.imap_values import Text, Value, parse

READ_SIZE = 64 * 1024
IN_MEMORY = 1024 * 1024
"""Octets of a literal; a larger one goes to a spool."""
WRITE_SIZE = 512 * 1024
LONGEST_LINE = 64 * 1024 * 1024
"""A SEARCH response of a million messages is one line of seven megabytes."""
LARGEST_LITERAL = 1024 * 1024 * 1024

_LARGEST_UID = 2**32 - 1
_MOST_MESSAGES = 10_000_000
"""Of one mailbox: what a few octets can claim, and our memory would hold."""

_LITERAL = re.compile(rb"~?\{(\d+)\+?\}$")
_DATE = re.compile(rb" ?\d{1,2}-[A-Za-z]{3}-\d{4} \d\d:\d\d:\d\d [+-]\d{4}")


class Tls(Enum):
    """How a connection is protected."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class Server(msgspec.Struct, frozen=True):
    """Where to connect."""

    host: str
    port: int
    tls: Tls
    context: ssl.SSLContext | None
    """What certificates are good."""


class Listed(msgspec.Struct, frozen=True):
    """A mailbox as LIST has it."""

    name: bytes
    """As the server wants to have it back."""
    delimiter: bytes
    attributes: frozenset[str]
    """In lower case."""


class Namespaces(msgspec.Struct, frozen=True):
    """Prefixes of names (RFC 2342)."""

    personal: tuple[bytes, ...]
    others: tuple[bytes, ...]


class Status(msgspec.Struct, frozen=True):
    """What a mailbox holds."""

    uidvalidity: int
    messages: int


class Fetched(msgspec.Struct, frozen=True):
    """A message as it came."""

    uid: int
    octets: bytes | Spool | None
    """`None`: the server has none (NIL)."""
    flags: tuple[str, ...]
    internal_date: datetime | None


class ImapClient:
    """One connection. An error but `DeniedError` leaves it unusable: close it and make another."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: str,
        timeout: float,
        spool: Callable[[], Spool],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._timeout = timeout
        self._spool = spool
        self._number = 0
        self._capabilities: frozenset[str] = frozenset()

    @classmethod
    async def connect(cls, server: Server, *, timeout: float, spool: Callable[[], Spool]) -> Self:
        """Return a connection under the protection that is wanted.

        Raises:
            UnavailableError: it cannot be had.
            DeniedError: the server does not want us, has no STARTTLS, or a certificate that is not good.
        """
        context = server.context if server.tls is Tls.IMPLICIT else None
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(
                    server.host, server.port, ssl=context, limit=READ_SIZE
                )
        except ssl.SSLCertVerificationError as error:
            raise DeniedError(
                f"{server.host}: its certificate is not good: {error.verify_message}"
            ) from error
        except (OSError, TimeoutError) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise UnavailableError(f"{server.host}: {reason}") from error
        client = cls(reader, writer, server.host, timeout, spool)
        try:
            greeting = await client._response()
            if greeting[:2] != [b"*", b"OK"]:
                raise DeniedError(f"{server.host} says: {_said(greeting[1:])}")
            if server.tls is Tls.STARTTLS:
                assert server.context is not None
                await client._start_tls(server.context)
            await client._ask_capabilities()
        except BaseException:
            await client.close()
            raise
        return client

    async def log_in(self, user: str, password: str) -> None:
        """Log in by the first way that both know.

        Raises:
            AuthenticationError: the server does not want us.
        """
        plain = base64.b64encode(f"\0{user}\0{password}".encode())
        try:
            if "AUTH=PLAIN" in self._capabilities and "SASL-IR" in self._capabilities:
                await self._command(b"AUTHENTICATE PLAIN " + plain)
            elif "AUTH=PLAIN" in self._capabilities:
                await self._command(b"AUTHENTICATE PLAIN", plain)
            elif "LOGINDISABLED" in self._capabilities:
                raise DeniedError("it takes no password without TLS")
            else:
                # Each in a literal: a password may have any octet.
                name, secret = user.encode(), password.encode()
                await self._command(b"LOGIN {%d}" % len(name), name + b" {%d}" % len(secret), secret)
        except DeniedError as error:
            raise AuthenticationError(f"{self._host} refused the login: {error.detail}") from error
        await self._ask_capabilities()

    async def namespaces(self) -> Namespaces:
        """Return what names begin with; nothing where the server does not say."""
        if "NAMESPACE" not in self._capabilities:
            return Namespaces((), ())
        for response in await self._command(b"NAMESPACE"):
            if response[1:2] == [b"NAMESPACE"] and len(response) >= 5:
                personal, others, shared = (_prefixes(value) for value in response[2:5])
                return Namespaces(personal, others + shared)
        return Namespaces((), ())

    async def listed(self) -> list[Listed]:
        """Return all mailboxes, with their uses where the server knows of such (RFC 6154)."""
        returned = b""
        if {"LIST-EXTENDED", "SPECIAL-USE"} <= self._capabilities:
            returned = b" RETURN (SPECIAL-USE)"
        found: list[Listed] = []
        for response in await self._command(b'LIST "" "*"' + returned):
            match response:
                case [b"*", b"LIST", list() as attributes, delimiter, bytes() as name, *_]:
                    flags = frozenset(_word(one).lower() for one in attributes)
                    parted = bytes(delimiter) if isinstance(delimiter, Text) else b""
                    found.append(Listed(bytes(name), parted, flags))
        return found

    async def status(self, name: bytes) -> Status:
        """Return what a mailbox holds.

        Raises:
            DeniedError: the server does not tell.
        """
        for response in await self._command(b"STATUS " + _quoted(name) + b" (MESSAGES UIDVALIDITY)"):
            match response:
                case [b"*", b"STATUS", _, list() as items, *_]:
                    found = _pairs(items)
                    match found.get("UIDVALIDITY"), found.get("MESSAGES"):
                        case bytes() as uidvalidity, bytes() as messages:
                            return Status(_number(uidvalidity), _number(messages))
        raise DeniedError("the server does not tell the mailbox's UIDVALIDITY")

    async def examine(self, name: bytes) -> int:
        """Select a mailbox, to read only, and return its UIDVALIDITY.

        Raises:
            DeniedError: it cannot be selected.
        """
        uidvalidity = 0
        for response in await self._command(b"EXAMINE " + _quoted(name)):
            match response:
                case [b"*", b"OK", bytes() as code, *_] if code.upper().startswith(b"[UIDVALIDITY "):
                    uidvalidity = _number(code[len(b"[UIDVALIDITY ") : -1])
        return uidvalidity

    async def uids(self) -> list[int]:
        """Return the UIDs of all messages of the mailbox, rising."""
        if "ESEARCH" in self._capabilities:
            for response in await self._command(b"UID SEARCH RETURN (ALL) ALL"):
                if response[1:2] == [b"ESEARCH"]:
                    at = next((n for n, value in enumerate(response) if value == b"ALL"), None)
                    return [] if at is None else _numbers(response[at + 1 : at + 2])
            return []
        found: list[int] = []
        for response in await self._command(b"UID SEARCH ALL"):
            if response[1:2] == [b"SEARCH"]:
                found += _numbers(response[2:])
        return sorted(found)

    async def sizes(self, uids: Sequence[int]) -> dict[int, int]:
        """Return how large messages are, as the server counts; those that are gone are left out."""
        sizes: dict[int, int] = {}
        for response in await self._command(b"UID FETCH %s (UID RFC822.SIZE)" % encode_set(uids).encode()):
            items = _items(response)
            match items.get("UID"), items.get("RFC822.SIZE"):
                case bytes() as uid, bytes() as size:
                    sizes[_number(uid)] = _number(size)
        return sizes

    async def fetch(self, uids: Sequence[int]) -> AsyncIterator[Fetched]:
        """Yield messages as they come, in any order; those that are gone do not.

        Raises:
            DeniedError: the server refuses them, some after others have come perhaps.
        """
        items = b"UID FETCH %s (UID FLAGS INTERNALDATE BODY.PEEK[])" % encode_set(uids).encode()
        async for response in self._exchange((items,)):
            found = _items(response)
            uid, octets, flags = found.get("UID"), found.get("BODY[]"), found.get("FLAGS")
            # A FETCH response without octets is news of another message's flags.
            if not isinstance(uid, bytes) or "BODY[]" not in found:
                continue
            yield Fetched(
                _number(uid),
                octets if isinstance(octets, Spool) else bytes(octets) if isinstance(octets, Text) else None,
                tuple(_word(flag) for flag in flags) if isinstance(flags, list) else (),
                _date(found.get("INTERNALDATE")),
            )

    async def close(self) -> None:
        """End the connection without ceremony."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._timeout):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            return

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        if not self._capabilities:
            await self._ask_capabilities()
        if "STARTTLS" not in self._capabilities:
            raise DeniedError(f"{self._host} has no STARTTLS")
        await self._command(b"STARTTLS")
        loop = asyncio.get_running_loop()
        # A reader of its own: what somebody put behind the OK in the clear must not be taken for the server's.
        reader = asyncio.StreamReader(limit=READ_SIZE, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        async with self._errors():
            transport = await loop.start_tls(
                self._writer.transport, protocol, context, server_hostname=self._host
            )
        assert transport is not None
        protocol.connection_made(transport)
        # The old writer is kept: its end would close the connection under the new one.
        self._plain = self._writer
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _ask_capabilities(self) -> None:
        for response in await self._command(b"CAPABILITY"):
            if response[1:2] == [b"CAPABILITY"]:
                self._capabilities = frozenset(_word(one).upper() for one in response[2:])

    async def _command(self, *lines: bytes) -> list[list[Value]]:
        return [response async for response in self._exchange(lines)]

    async def _exchange(self, lines: Sequence[bytes]) -> AsyncIterator[list[Value]]:
        """Send a command, further lines as the server asks for them; yield what it says until it is done.

        Raises:
            DeniedError: NO or BAD.
            UnavailableError: the connection broke.
        """
        self._number += 1
        tag = b"a%d" % self._number
        await self._write(tag + b" " + lines[0])
        further = list(lines[1:])
        while True:
            response = await self._response()
            first = response[0] if response else b""
            if first == b"+":
                # RFC 3501 §6.2.1: an empty line is an answer to a challenge that we have none for.
                await self._write(further.pop(0) if further else b"")
            elif first == tag:
                if response[1:2] != [b"OK"]:
                    raise DeniedError(_said(response[1:]))
                return
            elif response[:2] == [b"*", b"BYE"]:
                raise UnavailableError(f"{self._host} ended the session: {_said(response[2:])}")
            else:
                yield response

    async def _write(self, line: bytes) -> None:
        async with self._errors():
            self._writer.write(line + b"\r\n")
            await self._writer.drain()

    async def _response(self) -> list[Value]:
        """Read one response, literals and all."""
        parts: list[bytes | Text | Spool] = []
        while True:
            line = await self._line()
            found = _LITERAL.search(line)
            if found is None:
                parts.append(line)
                break
            parts += [line[: found.start()], await self._literal(int(found[1]))]
        try:
            return parse(parts)
        except ValueError as error:
            raise UnavailableError(f"{self._host}: its response cannot be read: {error}") from error

    async def _line(self) -> bytes:
        gathered = bytearray()
        while True:
            async with self._errors():
                try:
                    gathered += await self._reader.readuntil(b"\n")
                except asyncio.LimitOverrunError as error:
                    gathered += await self._reader.readexactly(error.consumed)
                    if len(gathered) > LONGEST_LINE:
                        raise UnavailableError(f"{self._host}: a line without end") from None
                    continue
            return bytes(gathered).rstrip(b"\r\n")

    async def _literal(self, size: int) -> Text | Spool:
        if size > LARGEST_LITERAL:
            raise UnavailableError(f"{self._host}: a literal of {size} octets")
        if size <= IN_MEMORY:
            async with self._errors():
                return Text(await self._reader.readexactly(size))
        spool = self._spool()
        try:
            while size:
                gathered = bytearray()
                while size and len(gathered) < WRITE_SIZE:
                    async with self._errors():
                        octets = await self._reader.read(min(size, READ_SIZE))
                        if not octets:
                            raise asyncio.IncompleteReadError(b"", size)
                    gathered += octets
                    size -= len(octets)
                await asyncio.to_thread(spool.write, bytes(gathered))
        except BaseException:
            spool.close()
            raise
        return spool

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError as error:
            raise UnavailableError(f"{self._host} says nothing any more") from error
        except (OSError, EOFError) as error:
            raise UnavailableError(f"{self._host}: the connection broke") from error


def _items(response: list[Value]) -> dict[str, Value]:
    """Return the items of a FETCH response by name; nothing for another response."""
    match response:
        case [b"*", bytes(), bytes() as name, list() as items] if name.upper() == b"FETCH":
            return _pairs(items)
    return {}


def _pairs(items: Sequence[Value]) -> dict[str, Value]:
    return {_word(key).upper(): value for key, value in zip(items[::2], items[1::2], strict=False)}


def _word(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _said(values: Iterable[Value]) -> str:
    """Return what a server said for people, without what could steer a terminal."""
    text = " ".join(filter(None, map(_word, values)))
    return "".join(c if c.isprintable() else "?" for c in text)[:500]


def _quoted(name: bytes) -> bytes:
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 19:
        raise UnavailableError("The server sent something else than a number")
    return int(digits)


def _numbers(values: Sequence[Value]) -> list[int]:
    found: list[int] = []
    for value in values:
        for piece in _word(value).split(","):
            first, _, last = piece[:21].partition(":")
            if not first.isdecimal() or (last and not last.isdecimal()):
                continue
            low, high = sorted((int(first), int(last or first)))
            if high > _LARGEST_UID or high - low > _MOST_MESSAGES:
                raise UnavailableError("The server's UIDs cannot be right")
            found += range(low, high + 1)
    return sorted(found)


def _prefixes(value: Value) -> tuple[bytes, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        bytes(one[0]) for one in value if isinstance(one, list) and one and isinstance(one[0], bytes)
    )


def _date(value: Value | None) -> datetime | None:
    if not isinstance(value, bytes) or not _DATE.fullmatch(value):
        return None
    try:
        return datetime.strptime(value.decode().strip(), "%d-%b-%Y %H:%M:%S %z")
    except ValueError:
        return None
