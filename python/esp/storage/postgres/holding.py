"""A commit that waits for a delivery's files, while PostgreSQL carries the statement out.

In: connections of asyncpg, and deliveries under way (`esp.native.Delivering`). Out: statements whose rows are there
once the files are durable, or not at all; see docs/adr/0010-rows-beside-files.md.

A statement of the extended protocol is carried out when its Execute has come, and committed by the Sync behind it
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY). asyncpg writes both together, so
its transports are ours: this one holds the Sync back, and the thread that makes the files durable sends it. When
they cannot be, it sends something that PostgreSQL refuses before it, which undoes the statement.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from esp.native import Delivering, Line

if TYPE_CHECKING:
    from esp.storage.postgres.pool import Connection

_BIND, _TERMINATE = b"BX"
_SYNC = b"S\0\0\0\4"
_PORTAL = b"files that are not durable\0"
_ABORT = b"E" + (4 + len(_PORTAL) + 4).to_bytes(4) + _PORTAL + bytes(4) + _SYNC
"""An Execute of a portal that never was. The rest until the Sync is passed over, and all of it rolled back."""


class NotHeldError(Exception):
    """The statement was undone, or not begun: its files are not durable, or were not soon enough."""


class CannotHoldError(NotHeldError):
    """Nor would any other be on a connection like this one."""


async def connect(*arguments: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """Do as `asyncpg.connect`; statements of the connection can be held back, unless it has TLS."""
    loop = options.pop("loop", None) or asyncio.get_running_loop()
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        *arguments, loop=cast("asyncio.AbstractEventLoop", _Loop(loop)), **options
    )
    # Only for connecting: asyncpg asks asyncio about the tasks of its loop.
    connection._loop = loop  # type: ignore[attr-defined]
    return connection


@contextmanager
def committed_with(files: Delivering, connection: "Connection") -> Iterator[None]:
    """Have the statements of the block committed when the files are durable, each by itself.

    Raises:
        NotHeldError: they are not, or were not before PostgreSQL's time for the statement was over.
        CannotHoldError: the connection has TLS.
    """
    transport = connection._transport  # type: ignore[union-attr]
    if not isinstance(transport, _Transport):
        raise CannotHoldError
    transport.files = files
    try:
        yield
    except (asyncpg.InvalidCursorNameError, asyncpg.QueryCanceledError) as error:
        raise NotHeldError from error
    except BaseException as error:
        if not isinstance(error, asyncpg.PostgresError) or isinstance(error, asyncpg.PostgresConnectionError):
            # No answer, so it may be held still: whatever else is sent would commit it.
            transport.shut()
            with contextlib.suppress(asyncpg.InterfaceError):  # the pool has it no more
                connection.terminate()
        raise
    finally:
        transport.files = None


class _Transport:
    """What asyncpg writes to. All but this is as it was."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.plain = transport
        self.files: Delivering | None = None
        """What commits wait for, from now on."""
        self._line: Line | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def write(self, data: memoryview) -> None:
        """Write, but for the Sync behind a Bind."""
        if self.files is None or data[0] not in (_BIND, _TERMINATE):
            self.plain.write(data)
        elif data[0] == _BIND:
            self._hold(self.files, data)
        # A Terminate would stand behind a part of the statement, perhaps. What follows it ends the connection as well.

    def _hold(self, files: Delivering, data: memoryview) -> None:
        if data[-len(_SYNC) :] != _SYNC or self.plain.get_write_buffer_size():
            # Rows before files would be a lost message.
            raise RuntimeError("The commit cannot be held back")
        if self._line is None:
            self._line = Line(self.plain.get_extra_info("socket").fileno())
        statement = bytes(data[: -len(_SYNC)])
        # Not by way of the loop, which may write later than the thread.
        rest = statement[self._line.send(statement) :]
        known = files.finish(self._line, rest + _SYNC, rest + _ABORT)
        if known is not None:
            self.plain.write(known)

    def abort(self) -> None:
        """End the connection now, which the thread may have still."""
        self.shut()
        self.plain.abort()

    def shut(self) -> None:
        """Let nothing more be sent by the thread."""
        if self._line is not None:
            self._line.shut()
            self._line = None


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
        return await self._loop.start_tls(transport.plain, *how, **options)


async def _made(connecting: Awaitable[tuple[asyncio.Transport, _Made]]) -> _Connected:
    _, made = await connecting
    return made.transport, made.protocol
