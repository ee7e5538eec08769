"""IMAP responses as values, read strictly: what is not well-formed (RFC 9051 §9) raises `MalformedError`.

wire = await Wire.connect(port, tls=context)
responses = await wire.command(b"SELECT INBOX")     # the last one is the tagged one
"""

import asyncio
import contextlib
import re
import ssl
import zlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.support.deflated import Inflated

PATIENCE = 30.0

Value = bytes | str | None | list["Value"]
"""A string as `bytes`, an atom or number as `str`, NIL, a list."""

_LITERAL_AT_END = re.compile(rb"\{(\d+)\}\r\n\Z")
_LITERAL = re.compile(rb"~?\{(\d+)\}\r\n")
# Only a section holds blanks; elsewhere brackets, and a brace that closes, are in an astring like others (RFC 9051 §9).
_ATOM = re.compile(rb'(?:BODY|BINARY(?:\.SIZE)?)\[[^\]]*\](?:<\d+>)?|[^\s(){"]+')
_CODE = re.compile(rb"\[([A-Za-z0-9.-]+)(?: ([^\]]*))?\] ?")
_CONDITIONS = frozenset({"OK", "NO", "BAD", "BYE", "PREAUTH"})


class MalformedError(AssertionError):
    """The server sent what no grammar allows."""


class ClosedError(ConnectionError):
    """The server ended the connection."""


@dataclass(frozen=True)
class Response:
    """One response."""

    tag: str
    """`*`, `+`, or a command's."""
    name: str
    """EXISTS, FETCH, OK, SEARCH …, in capitals."""
    number: int | None = None
    values: Sequence[Value] = ()
    code: str = ""
    """Of OK, NO, BAD, BYE: the response code's name, in capitals."""
    argument: str = ""
    """Of the code."""
    raw: bytes = field(default=b"", repr=False)

    @property
    def items(self) -> dict[str, Value]:
        """The data items of a FETCH, by name in capitals."""
        (inner,) = self.values
        assert isinstance(inner, list)
        names = inner[::2]
        if len(inner) % 2 or not all(isinstance(name, str) for name in names):
            raise MalformedError(self.raw)
        return {str(name).upper(): value for name, value in zip(names, inner[1::2], strict=True)}


def parse(raw: bytes) -> Response:
    """Return a response, given with its literals and its last CRLF.

    Raises:
        MalformedError: it is none.
    """
    if not raw.endswith(b"\r\n"):
        raise MalformedError(raw)
    tag, _, rest = raw[:-2].partition(b" ")
    if tag == b"+":
        return Response("+", "+", raw=raw)
    if not re.fullmatch(rb"[^\s(){%*\"\\+]+|\*", tag) or not rest:
        raise MalformedError(raw)
    name, _, rest = rest.partition(b" ")
    number = None
    if tag == b"*" and name.isdigit():
        number = int(name)
        name, _, rest = rest.partition(b" ")
    word = name.decode("ascii", "replace").upper()
    if not re.fullmatch(r"[A-Z0-9-]+", word):
        raise MalformedError(raw)
    if word in _CONDITIONS:
        code = _CODE.match(rest)
        if rest.startswith(b"[") and code is None:
            raise MalformedError(raw)
        if not rest or (code is not None and code.end() == len(rest)):
            raise MalformedError(raw)  # resp-text = ["[" resp-text-code "]" SP] text, and text is not empty
        name_, argument = (code[1], code[2] or b"") if code else (b"", b"")
        return Response(
            tag.decode(), word, None, (), name_.decode().upper(), argument.decode(errors="replace"), raw
        )
    values, end = _values(raw[:-2], len(raw) - 2 - len(rest), raw)
    if end != len(raw) - 2:
        raise MalformedError(raw)
    return Response(tag.decode(), word, number, values, raw=raw)


def _values(octets: bytes, at: int, raw: bytes, depth: int = 0) -> tuple[list[Value], int]:
    found: list[Value] = []
    while at < len(octets) and octets[at : at + 1] != b")":
        if found and octets[at : at + 1] == b" ":
            at += 1
        # Two addresses, two parts of a body and two threads follow one another without a space.
        elif found and octets[at : at + 1] != b"(":
            raise MalformedError(raw)
        value, at = _value(octets, at, raw, depth)
        found.append(value)
    return found, at


def _value(octets: bytes, at: int, raw: bytes, depth: int) -> tuple[Value, int]:
    first = octets[at : at + 1]
    if first == b"(":
        inner, at = _values(octets, at + 1, raw, depth + 1)
        if octets[at : at + 1] != b")" or depth > 500:
            raise MalformedError(raw)
        return inner, at + 1
    if first == b'"':
        match = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"').match(octets, at)
        if match is None:
            raise MalformedError(raw)
        return re.sub(rb"\\(.)", rb"\1", match[1]), match.end()
    if (literal := _LITERAL.match(octets, at)) is not None:
        end = literal.end() + int(literal[1])
        if end > len(octets):
            raise MalformedError(raw)
        return octets[literal.end() : end], end
    atom = _ATOM.match(octets, at)
    if atom is None:
        raise MalformedError(raw)
    return (None if atom[0].upper() == b"NIL" else atom[0].decode("utf-8", "replace")), atom.end()


class Wire:
    """A connection that remembers what was last said on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = "") -> None:
        self.reader: asyncio.StreamReader | Inflated = reader
        self.writer = writer
        self.name = name
        self.transcript: deque[str] = deque(maxlen=400)
        self._tags = 0
        self._deflater: zlib._Compress | None = None

    @classmethod
    async def connect(cls, port: int, *, tls: ssl.SSLContext | None = None, name: str = "") -> Self:
        """Connect and read the greeting."""
        host = "localhost" if tls is not None else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname=host, limit=2**26
        )
        wire = cls(reader, writer, name)
        await wire.read()
        return wire

    async def read(self) -> Response:
        """Return the next response.

        Raises:
            ClosedError: there is none.
            MalformedError: it is none.
        """
        whole = b""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await self.reader.readline()
                if not line:
                    raise ClosedError(f"{self.name}: closed; before: {list(self.transcript)[-6:]}")
                whole += line
                literal = _LITERAL_AT_END.search(line)
                if literal is None:
                    break
                whole += await self.reader.readexactly(int(literal[1]))
        self.transcript.append(f"S: {whole[:300]!r}")
        return parse(whole)

    def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self.transcript.append(f"C: {octets[:300]!r}")
        if self._deflater is not None:
            octets = self._deflater.compress(octets) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        self.writer.write(octets)

    async def compress(self) -> None:
        """Have all compressed from now on, both ways (RFC 4978)."""
        await self.ok(b"COMPRESS DEFLATE")
        assert isinstance(self.reader, asyncio.StreamReader)
        self.reader = Inflated(self.reader)
        self._deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)

    def begin(self, command: bytes) -> str:
        """Send a command (with `{n+}` literals in it), and return its tag."""
        self._tags += 1
        tag = f"{self.name or 't'}{self._tags}"
        self.send(tag.encode() + b" " + command + b"\r\n")
        return tag

    async def responses(self, tag: str) -> AsyncIterator[Response]:
        """Return responses up to the tagged one, each as soon as it is there."""
        while True:
            response = await self.read()
            yield response
            if response.tag == tag:
                return

    async def command(self, command: bytes) -> list[Response]:
        """Send a command, and return all responses; the last is the tagged one."""
        return [response async for response in self.responses(self.begin(command))]

    async def ok(self, command: bytes) -> list[Response]:
        """As `command`, which must be answered OK."""
        responses = await self.command(command)
        assert responses[-1].name == "OK", (command[:200], responses[-1].raw)
        return responses

    async def close(self) -> None:
        """End the connection without a word."""
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), 5)


def literal(octets: bytes) -> bytes:
    """Return octets as a non-synchronising literal (RFC 7888)."""
    return b"{%d+}\r\n%b" % (len(octets), octets)


def numbers(text: str) -> list[int]:
    """Return the numbers of a sequence set without `*`, in its order."""
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        first, last = int(low), int(high or low)
        found += range(first, last + 1) if first <= last else range(first, last - 1, -1)
    return found
