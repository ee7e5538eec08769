"""A commit whose answer never came: whether it took place is found out before any caller is answered.

In: deliveries, and how their rows are written. Out: what the writing returned, or what was found of a commit whose
connection to PostgreSQL was lost. While that is unknown, the files stay: an orphan is found by the janitor, a lost
file by nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from esp.core.errors import EspError, UnavailableError
from esp.storage.postgres import delivery
from esp.storage.postgres.delivery import Delivery, Outcome
from esp.storage.postgres.pool import Connection, Database
from esp.telemetry.log import get_logger

FIND_TIMEOUT = 20.0
"""Seconds for which a lost commit is looked for; a client waits ten minutes for our reply (RFC 5321 §4.5.3.2.6)."""
FIND_PAUSE = 0.25

log = get_logger(__name__)

_T = TypeVar("_T")


class UnknownOutcome(UnavailableError):  # noqa: N818 - an outcome
    """The rows may or may not be there."""


async def written(
    database: Database,
    deliveries: Sequence[Delivery],
    write: Callable[[Connection], Awaitable[_T]],
    found: Callable[[Outcome], _T],
) -> _T:
    """Return what `write`, which is one transaction, returns; it is tried again if it was rolled back.

    If the connection was lost after the commit, `found` makes the answer from where the messages are.

    Raises:
        UnknownOutcome: the connection was lost, and no other could be had to find out.
        EspError: nothing was changed.
    """
    for _ in range(2):
        async with database.connection() as connection:
            session = connection.get_server_pid()
            try:
                return await write(connection)
            except asyncpg.TransactionRollbackError:
                continue  # a deadlock or the like: it was rolled back, and is worth one more try
            except Exception as error:
                if not delivery.is_unknown(error):
                    raise
                log.warning("commit_connection_lost", error=repr(error), messages=len(deliveries))
        outcome = await _find(database, session, deliveries)
        if outcome is not None:
            log.warning("commit_found", messages=len(deliveries))
            return found(outcome)
    raise UnavailableError("The database does not answer")


async def _find(database: Database, session: int, deliveries: Sequence[Delivery]) -> Outcome | None:
    """Return where the messages are, or `None` if they were not stored and will not be.

    Raises:
        UnknownOutcome: for `FIND_TIMEOUT` there was no connection to find out.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + FIND_TIMEOUT
    while True:
        try:
            async with database.connection() as connection:
                return await delivery.find(connection, session, deliveries)
        except (EspError, asyncpg.PostgresError) as error:
            if loop.time() >= deadline:
                raise UnknownOutcome("The database does not answer") from error
        await asyncio.sleep(FIND_PAUSE)
