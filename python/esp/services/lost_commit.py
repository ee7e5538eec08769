"""A commit whose answer never came: whether it took place is found out before anybody is answered.

In: the deliveries of a transaction whose connection to PostgreSQL was lost, and the session that had it. Out: what
became of them. While nobody can tell, the files stay: an orphan is found by the janitor, a lost file by nobody.
"""

import asyncio
from collections.abc import Sequence

import asyncpg

from esp.core.errors import EspError, UnavailableError
from esp.storage.postgres import delivery
from esp.storage.postgres.delivery import Delivery, Outcome
from esp.storage.postgres.pool import Database

FIND_TIMEOUT = 20.0
"""How long a lost commit is looked for; a client waits ten minutes for our reply (RFC 5321 §4.5.3.2.6)."""
FIND_PAUSE = 0.25


class UnknownOutcome(UnavailableError):  # noqa: N818 - an outcome
    """The rows may or may not be there."""


async def find(database: Database, session: int, deliveries: Sequence[Delivery]) -> Outcome | None:
    """Return where the messages are, or `None` when they were not kept and will not be.

    Raises:
        UnknownOutcome: for `FIND_TIMEOUT` there was no connection to ask.
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
