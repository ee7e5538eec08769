"""A client that does nothing by itself: what is sent and what comes is the test's."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Sequence
from typing import Self

PATIENCE = 20.0


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._tags = 0

    @classmethod
    async def connect(cls, port: int, *, tls: ssl.SSLContext | None = None, limit: int = 2**26) -> Self:
        """Connect and leave the greeting to be read."""
        name = "localhost" if tls is not None else None
        return cls(
            *await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name, limit=limit)
        )

    @classmethod
    async def login(cls, port: int, username: str, password: str = "secret") -> Self:
        """Connect and log in."""
        client = await cls.connect(port)
        await client.line()
        await client.ok(f"LOGIN {username} {password}")
        return client

    def send(self, octets: bytes | str) -> None:
        """Send octets as they are."""
        self.writer.write(octets.encode() if isinstance(octets, str) else octets)

    async def line(self) -> str:
        """Return the next line with the literals in it, without its last CRLF; empty at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            whole = b""
            while True:
                line = await self.reader.readline()
                whole += line
                literal = re.search(rb"\{(\d+)\}\r\n$", line)
                if literal is None:
                    return whole.removesuffix(b"\r\n").decode("utf-8", "surrogateescape")
                whole += await self.reader.readexactly(int(literal[1]))

    async def until(self, prefix: str) -> list[str]:
        """Return all lines up to the one that begins with `prefix`."""
        lines: list[str] = []
        while True:
            line = await self.line()
            if not line:
                raise AssertionError(f"closed before {prefix!r}, after {lines}")
            lines.append(line)
            if line.startswith(prefix):
                return lines

    async def command(self, text: str | bytes, *, literals: Sequence[bytes] = ()) -> list[str]:
        """Send a command (with non-synchronising literals where it ends in `{n+}`), return all up to its response."""
        self._tags += 1
        tag = f"t{self._tags}"
        self.send(f"{tag} ".encode() + (text.encode() if isinstance(text, str) else text) + b"\r\n")
        for literal in literals:
            self.send(literal)
        lines = await self.until(f"{tag} ")
        lines[-1] = lines[-1].removeprefix(f"{tag} ")
        return lines

    async def ok(self, text: str | bytes, *, literals: Sequence[bytes] = ()) -> list[str]:
        """As `command`, which must be answered OK; the last line is what follows the tag."""
        lines = await self.command(text, literals=literals)
        assert lines[-1].startswith("OK"), (text, lines)
        return lines

    async def append(self, mailbox: str, message: bytes, flags: str = "", date: str = "") -> str:
        """Append a message and return what follows the tag."""
        between = "".join(f" {part}" for part in (flags, date) if part)
        size = f"{{{len(message)}+}}"
        lines = await self.command(f"APPEND {mailbox}{between} {size}", literals=[message + b"\r\n"])
        return lines[-1]

    async def close(self) -> None:
        """End the connection."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
