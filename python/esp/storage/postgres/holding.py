"""A commit that waits for a delivery's files, while PostgreSQL already executes the statement.

In: connections of asyncpg, and deliveries under way (`esp.native.Delivering`). Out: statements that are committed once
the files are durable, or not at all; see docs/adr/0010-rows-beside-files.md.

A statement of the extended protocol is executed when its Execute arrives, and committed by the Sync after it
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY). asyncpg writes both together, so
it is given our own transport. This holds the Sync back, and the thread that makes the files durable sends it. If they
cannot be made durable, the thread first sends something that PostgreSQL refuses, which rolls the statement back.
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
"""An Execute of a portal that does not exist. PostgreSQL skips the rest up to the Sync, and rolls everything back."""


class NotHeldError(Exception):
    """The statement was rolled back, or not begun: its files are not durable, or were not soon enough."""


class CannotHoldError(NotHeldError):
    """No statement can be held back on a connection like this one."""


async def connect(*arguments: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect as `asyncpg.connect` does; statements of the connection can be held back, unless it has TLS."""
    loop = options.pop("loop", None) or asyncio.get_running_loop()
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        *arguments, loop=cast("asyncio.AbstractEventLoop", _Loop(loop)), **options
    )
    # Replaced only for connecting: later, asyncpg asks asyncio about the tasks of its loop.
    connection._loop = loop  # type: ignore[attr-defined]
    return connection


@contextmanager
def committed_with(files: Delivering, connection: "Connection") -> Iterator[None]:
    """Have each statement of the block committed when the files are durable.

    Raises:
        NotHeldError: the files are not durable, or were not before PostgreSQL's time limit for the statement.
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
            # There was no answer, so the statement may still be held: anything else that is sent would commit it.
            transport.shut()
            with contextlib.suppress(asyncpg.InterfaceError):  # the pool no longer has it
                connection.terminate()
        raise
    finally:
        transport.files = None


class _Transport:
    """What asyncpg writes to. Everything but this is passed on."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.plain = transport
        self.files: Delivering | None = None
        """The files that commits wait for; `None`: they do not wait."""
        self._line: Line | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def write(self, data: memoryview) -> None:
        """Write, but hold back the Sync after a Bind."""
        if self.files is None or data[0] not in (_BIND, _TERMINATE):
            self.plain.write(data)
        elif data[0] == _BIND:
            self._hold(self.files, data)
        # A Terminate might follow a part of the statement. The close after it ends the connection as well.

    def _hold(self, files: Delivering, data: memoryview) -> None:
        if data[-len(_SYNC) :] != _SYNC or self.plain.get_write_buffer_size():
            # Rows without files would be a lost message.
            raise RuntimeError("The commit cannot be held back")
        if self._line is None:
            self._line = Line(self.plain.get_extra_info("socket").fileno())
        statement = bytes(data[: -len(_SYNC)])
        # Not through the loop, which may write later than the thread.
        rest = statement[self._line.send(statement) :]
        known = files.finish(self._line, rest + _SYNC, rest + _ABORT)
        if known is not None:
            self.plain.write(known)

    def abort(self) -> None:
        """End the connection now; the thread may still have it."""
        self.shut()
        self.plain.abort()

    def shut(self) -> None:
        """Let the thread send nothing more."""
        if self._line is not None:
            self._line.shut()
            self._line = None


class _Made(asyncio.Protocol):
    """Gives asyncpg's protocol our transport, and is replaced by that protocol."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast("asyncio.Transport", transport)
        plain.set_protocol(self.protocol)
        # TLS encrypts in the loop, so everything has to go through the loop.
        ours = plain if plain.get_extra_info("ssl_object") else _Transport(plain)
        self.transport = cast("asyncio.Transport", ours)
        self.protocol.connection_made(self.transport)


_Connected = tuple[asyncio.Transport, asyncio.Protocol]


class _Loop:
    """The event loop that asyncpg sees while it connects."""

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
