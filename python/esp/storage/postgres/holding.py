"""A commit that waits for a delivery's files, while PostgreSQL carries the statement out.

In: connections of asyncpg, and deliveries under way (`esp.native.Delivering`). Out: statements whose rows are there
once the files are durable, or not at all; see docs/adr/0010-rows-beside-files.md.

A statement of the extended protocol is carried out when its Execute has come, and committed by the Sync behind it
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY). asyncpg writes both together, so
its transports are ours: this one holds the Sync back, and the thread that makes the files durable sends it. When
they cannot be, it sends something that PostgreSQL refuses before it, which undoes the statement.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from esp.native import Delivering, Line

if TYPE_CHECKING:
    from esp.storage.postgres.pool import Connection

_BIND = ord("B")
_SYNC = b"S\0\0\0\4"
_PORTAL = b"files that are not durable\0"
_ABORT = b"E" + (4 + len(_PORTAL) + 4).to_bytes(4) + _PORTAL + bytes(4) + _SYNC
"""An Execute of a portal that never was. The rest until the Sync is passed over, and all of it rolled back."""


class FilesFailed(Exception):  # noqa: N818 - an outcome
    """The statement was undone, since the files that it was about are not durable."""


async def connect(*arguments: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """Do as `asyncpg.connect`; statements of the connection can be held back, unless it has TLS."""
    loop = options.pop("loop", None) or asyncio.get_running_loop()
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        *arguments, loop=cast("asyncio.AbstractEventLoop", _Loop(loop)), **options
    )
    # Only for connecting: asyncpg asks asyncio about the tasks of its loop.
    connection._loop = loop  # type: ignore[attr-defined]
    return connection


def can_hold(connection: "Connection") -> bool:
    """Tell whether a commit can wait on this connection."""
    return isinstance(_transport(connection), _Transport)


@contextmanager
def committed_with(files: Delivering, connection: "Connection") -> Iterator[None]:
    """Have the one statement of the block committed when the files are durable.

    Raises:
        FilesFailed: they are not, and it was undone.
    """
    transport = _transport(connection)
    transport.hold(files)
    try:
        yield
    except asyncpg.InvalidCursorNameError as error:
        raise FilesFailed from error
    except asyncpg.PostgresError:
        raise  # an answer
    except BaseException:
        # Whatever else is sent now would commit the statement.
        connection.terminate()
        raise
    finally:
        transport.hold(None)


def _transport(connection: "Connection") -> Any:
    return connection._transport  # type: ignore[union-attr]


class _Transport:
    """What asyncpg writes to. All but `write` is as it was."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._files: Delivering | None = None
        self._line: Line | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def hold(self, files: Delivering | None) -> None:
        """Hold the next statement's commit back until these are durable."""
        self._files = files

    def write(self, data: memoryview) -> None:
        """Write, or hold the end back."""
        if self._files is None or data[0] != _BIND:
            self._transport.write(data)
            return
        files, self._files = self._files, None
        if data[-len(_SYNC) :] != _SYNC or self._transport.get_write_buffer_size():
            # Rows before files would be a lost message; asyncpg ends the connection.
            raise RuntimeError("The commit cannot be held back")
        if self._line is None:
            self._line = Line(os.dup(self._transport.get_extra_info("socket").fileno()))
        statement = bytes(data[: -len(_SYNC)])
        # Not by way of the loop, which would write later than the thread may.
        rest = statement[self._line.send(statement) :]
        files.finish(self._line, rest + _SYNC, rest + _ABORT)

    def abort(self) -> None:
        """End the connection now; the thread may have it still."""
        if self._line is not None:
            self._line.shut()
        self._transport.abort()


class _Made(asyncio.Protocol):
    """Gives asyncpg's protocol our transport, and its place."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast("asyncio.Transport", transport)
        plain.set_protocol(self.protocol)
        # What goes through TLS has to go by way of the loop.
        ours = plain if plain.get_extra_info("ssl_object") else _Transport(plain)
        self.transport = cast("asyncio.Transport", ours)
        self.protocol.connection_made(self.transport)


_Connected = tuple[asyncio.Transport, asyncio.Protocol]


class _Loop:
    """The loop as asyncpg has it while it connects."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], *where: Any, **how: Any
    ) -> _Connected:
        return await _made(self._loop.create_connection(lambda: _Made(factory()), *where, **how))

    async def create_unix_connection(
        self, factory: Callable[[], asyncio.Protocol], *where: Any, **how: Any
    ) -> _Connected:
        return await _made(self._loop.create_unix_connection(lambda: _Made(factory()), *where, **how))

    async def start_tls(self, transport: _Transport, *how: Any, **options: Any) -> asyncio.Transport | None:
        return await self._loop.start_tls(transport._transport, *how, **options)


async def _made(connecting: Awaitable[tuple[asyncio.Transport, _Made]]) -> _Connected:
    _, made = await connecting
    return made.transport, made.protocol
