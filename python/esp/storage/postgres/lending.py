"""Connections of a pool, kept at hand between two uses.

asyncpg's pool does much for each use: timers, a shielded task, a reset. Most uses are one short statement, so a
connection that was used without an error is passed on to the next use here. It goes back to the pool only when there
is any doubt about it, or when it was unused for a while.
"""

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

import asyncpg

from esp.telemetry.log import get_logger
from esp.telemetry.outage import Outage

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Lent = PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

CLIENT_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors of the driver itself; the second when it no longer knows the state of a connection, as after a wait that was
given up."""

log = get_logger(__name__)


class Lending:
    """Lends the connections of a pool of `size`."""

    def __init__(self, pool: "Pool", size: int, *, timeout: float, idle: float) -> None:
        """Begin.

        Args:
            pool: the pool of the connections.
            size: how many connections it has at most.
            timeout: seconds to wait for a connection.
            idle: seconds after which an unused connection is ended.
        """
        self._pool = pool
        self._size = size
        self._timeout = timeout
        self._idle = idle
        self._free: list[tuple[Lent, float]] = []
        """Unused connections, the last used one at the end, each with the time of its last use."""
        self._held = 0
        """Connections that the pool has lent us, including the unused ones."""
        self._waiting: deque[asyncio.Future[Lent | None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()
        self._outage = Outage()

    async def take(self) -> "Lent":
        """Return a connection that nobody else has.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, and those of CLIENT_ERRORS: no connection can be had.
        """
        while True:
            while self._free:
                connection, _ = self._free.pop()
                if _is_alive(connection):
                    return connection
                await self.put_away(connection)
            if self._held < self._size:
                self._held += 1
                try:
                    return await self._acquire()
                except BaseException:
                    self._held -= 1
                    self._call_next(None)
                    raise
            waited = await self._wait()
            if waited is not None:
                return waited

    async def _acquire(self) -> "Lent":
        """Take one from the pool, which may have to connect; log when the server is lost, and when it is back."""
        try:
            connection = await self._pool.acquire(timeout=self._timeout)
        except (OSError, asyncpg.PostgresError) as error:
            if self._outage.begins():
                log.error("database_lost", error=repr(error))
            raise
        if self._outage.ends():
            log.warning("database_back")
        return connection

    def give_back(self, connection: "Lent") -> bool:
        """Take back a connection after use without error; `False` if it must be put away instead."""
        if not _is_alive(connection) or connection.is_in_transaction():
            return False
        if not self._call_next(connection):
            loop = asyncio.get_running_loop()
            self._free.append((connection, loop.time()))
            if self._sweep is None:
                self._sweep = loop.call_later(self._idle, self._end_idle)
        return True

    async def put_away(self, connection: "Lent") -> None:
        """Give a connection back to the pool, which checks it.

        Raises:
            OSError, asyncpg.PostgresError, and those of CLIENT_ERRORS: the connection was ended.
        """
        try:
            await self._pool.release(connection)
        finally:
            self._held -= 1
            self._call_next(None)

    async def close(self) -> None:
        """Give back all unused connections."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._free:
            await self._quietly_away(self._free.pop()[0])
        await asyncio.gather(*self._returning)

    async def _wait(self) -> "Lent | None":
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._timeout):
                connection: Lent | None = await waiter
                return connection
        except BaseException:
            if waiter.done() and not waiter.cancelled() and not self._passed_on(waiter.result()):
                self._call_next(None)
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _passed_on(self, connection: "Lent | None") -> bool:
        if connection is not None and not self.give_back(connection):
            self._put_away_later(connection)
        return connection is not None

    def _call_next(self, connection: "Lent | None") -> bool:
        """Give the caller that waits longest a connection, or (`None`) the chance to make one."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _end_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        self._sweep = None
        while self._free and self._free[0][1] + self._idle <= now:
            connection, _ = self._free.pop(0)
            connection.terminate()
            self._put_away_later(connection)
        if self._free:
            self._sweep = asyncio.get_running_loop().call_at(self._free[0][1] + self._idle, self._end_idle)

    def _put_away_later(self, connection: "Lent") -> None:
        task = asyncio.create_task(self._quietly_away(connection))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _quietly_away(self, connection: "Lent") -> None:
        # The connection was ended; the pool makes another when it is needed.
        with contextlib.suppress(OSError, asyncpg.PostgresError, *CLIENT_ERRORS):
            await self.put_away(connection)


def _is_alive(connection: "Lent") -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False  # the pool took it away when the pool was closed
