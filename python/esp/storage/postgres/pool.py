"""Connections to PostgreSQL: how many, how long, and what their failures mean.

In: the `database` section. Out: connections, plain or in a transaction. Their temporary failures are raised as
`UnavailableError` (or `StorageFullError`) with the driver's error as the cause. Broken connections are replaced when
the next one is needed, so a restarted server needs no action here.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

import asyncpg

from esp.config import sections
from esp.core.errors import EspError, StorageFullError, UnavailableError
from esp.storage.postgres import holding
from esp.storage.postgres.lending import CLIENT_ERRORS, Lending
from esp.telemetry.log import get_logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

if TYPE_CHECKING:
    Connection: TypeAlias = PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
else:
    # asyncpg's classes are generic only in its stubs.
    Connection = asyncpg.Connection

CONNECT_TIMEOUT = 10.0
HEALTH_TIMEOUT = 2.0
IDLE_LIFETIME = 60.0
REMOVAL_TIMEOUT = 3600.0
"""Seconds for a statement that removes a whole mailbox or account."""
CLIENT_GRACE = 2.0
"""Seconds. The server ends a long statement itself; this much later we stop waiting for a server that does not."""

log = get_logger(__name__)

_UNAVAILABLE: tuple[type[asyncpg.PostgresError], ...] = (
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.TransactionRollbackError,  # class 40: serialization failure, deadlock
    asyncpg.InsufficientResourcesError,  # class 53: memory, connections
    asyncpg.OperatorInterventionError,  # class 57: statement timeout, shutdown, starting up
    asyncpg.PostgresSystemError,  # class 58: I/O
    asyncpg.ReadOnlySQLTransactionError,  # a primary that has just become a standby
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28: our own login, not the client's
    asyncpg.InvalidCatalogNameError,  # the database was not created yet
)

DRIVER_ERRORS = (asyncpg.PostgresError, *CLIENT_ERRORS, ConnectionError, TimeoutError)


def mapped(error: BaseException) -> EspError | None:
    """Return what a failure of the driver or a socket means, or `None` if it is not a temporary one."""
    if isinstance(error, asyncpg.DiskFullError):
        return StorageFullError("The database has no room left")
    # CLIENT_ERRORS: the connection or the pool was closed under us; the statement was not answered.
    if isinstance(error, (*_UNAVAILABLE, *CLIENT_ERRORS, ConnectionError, TimeoutError)):
        return UnavailableError("The database does not answer")
    return None


@contextmanager
def errors_mapped() -> Iterator[None]:
    """Raise what `mapped` returns in place of the driver's errors, with these as the cause."""
    try:
        yield
    except DRIVER_ERRORS as error:
        meaning = mapped(error)
        if meaning is None:
            raise
        raise meaning from error


def not_connected(error: Exception) -> UnavailableError:
    """Return the error for a caller that wanted a connection."""
    # A time-out has no text of its own.
    return UnavailableError(f"No connection to the database: {str(error) or 'no answer in time'}")


class Database:
    """A pool of connections. Made with `open`, ended with `close`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", settings: sections.Database) -> None:
        self._pool = pool
        self._lending = Lending(pool, settings.pool_size, timeout=settings.timeout, idle=IDLE_LIFETIME)

    @classmethod
    async def open(cls, settings: sections.Database, *, wait: float = 0.0, durable: bool = True) -> Self:
        """Return a pool with one connection made, retrying for `wait` seconds while the server starts.

        Without `durable`, a crash of the server may undo the last transactions (in order, and completely): for work
        that will then be done again.

        Raises:
            UnavailableError: no connection could be made.
        """
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            try:
                return cls(await _pool(settings, durable=durable), settings)
            except (OSError, asyncpg.PostgresError, *CLIENT_ERRORS) as error:
                if asyncio.get_running_loop().time() >= deadline:
                    raise not_connected(error) from error
            await asyncio.sleep(0.1)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection without a transaction: each statement is its own.

        Raises:
            UnavailableError: no connection can be had, or the server failed while it was lent.
        """
        return _Loan(self._lending)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction, committed at the end of the block, rolled back on any error.

        Raises:
            UnavailableError: nothing was changed; or, if the commit itself was cut off, the outcome is unknown.
        """
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def healthy(self) -> bool:
        """Return whether the server answers a statement within two seconds."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT), self.connection() as connection:
                return bool(await connection.fetchval("SELECT true"))
        except (EspError, TimeoutError, asyncpg.PostgresError):
            return False

    async def close(self) -> None:
        """Wait a few seconds for lent connections, then end all connections."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._lending.close()
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, *CLIENT_ERRORS):
            self._pool.terminate()


class _Loan:
    """One use of a connection."""

    __slots__ = ("_connection", "_lending")

    def __init__(self, lending: Lending) -> None:
        self._lending = lending

    async def __aenter__(self) -> Connection:
        try:
            self._connection = await self._lending.take()
        except (OSError, asyncpg.PostgresError, *CLIENT_ERRORS) as error:
            raise mapped(error) or UnavailableError("The database does not answer") from error
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None or not self._lending.give_back(self._connection):
            try:
                await self._lending.put_away(self._connection)
            except (OSError, asyncpg.PostgresError, *CLIENT_ERRORS) as failure:
                # The pool has ended the connection. The work on it is done: if this were raised, a delivery would
                # remove the files of committed rows.
                log.warning("database_release_failed", error=repr(failure))
        if isinstance(error, DRIVER_ERRORS) and (meaning := mapped(error)) is not None:
            raise meaning from error


async def _pool(settings: sections.Database, *, durable: bool) -> "asyncpg.Pool[asyncpg.Record]":
    milliseconds = str(int(settings.timeout * 1000))
    return await asyncpg.create_pool(
        settings.dsn,
        connect=holding.connect,
        # One is made at first, so that an unreachable server is reported at once. None is kept by the pool itself
        # (asyncpg 0.32): it would make a new one for each that we end, and while the server is away log a traceback at
        # each attempt.
        min_size=0,
        init_size=1,
        max_size=settings.pool_size,
        timeout=CONNECT_TIMEOUT,
        command_timeout=settings.timeout + CLIENT_GRACE,
        # The last used one is used first, so after a burst the others become idle; each takes 4 MiB of the server.
        max_inactive_connection_lifetime=IDLE_LIFETIME,
        # None of our statements leaves anything behind in a session, so the usual RESET ALL, a round trip for each use
        # of a connection, is left out. An open transaction is rolled back all the same.
        reset=_leave_as_is,
        init=_know_arrays,
        server_settings={
            "application_name": "esp",
            "statement_timeout": milliseconds,
            # A process that stopped in the middle must not hold its rows for ever.
            "idle_in_transaction_session_timeout": milliseconds,
            # Nor must a machine without power or network, whose transaction waits for a message (`holding`).
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            # Compiling takes longer than any of our statements.
            "jit": "off",
            "timezone": "UTC",
            **({} if durable else {"synchronous_commit": "off"}),
        },
    )


async def _leave_as_is(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    return None


async def _know_arrays(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Tell asyncpg the array types that our statements use; their numbers are fixed in PostgreSQL.

    Otherwise it would ask the catalogue for each, on each connection, at the first statement that uses one: 4 to 10 ms
    that some client waits for. There is no public way (asyncpg 0.32); `tests/storage/test_pool.py` notices when this
    one stops working.
    """
    connection._protocol.get_settings().register_data_types(  # type: ignore[attr-defined]
        [{**_ARRAY, "oid": oid, "name": f"_{name}", "elemtype": element, "elemtype_name": name}
         for name, oid, element in ARRAY_TYPES]
    )  # fmt: skip


ARRAY_TYPES = (
    ("int8", 1016, 20),
    ("int4", 1007, 23),
    ("bytea", 1001, 17),
    ("timestamptz", 1185, 1184),
)
"""Name of the element type, and the `oid` of both in `pg_type.dat`. asyncpg itself knows `text[]`."""
_ARRAY = {
    "ns": "pg_catalog",
    "kind": b"b",
    "basetype": None,
    "elemdelim": ",",
    "range_subtype": None,
    "attrtypoids": None,
    "attrnames": None,
    "depth": 0,
    "basetype_name": None,
    "range_subtype_name": None,
}
"""What `asyncpg.introspection` would return for an array type."""
