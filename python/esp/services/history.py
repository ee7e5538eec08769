"""How long changes of messages are remembered.

In: the clock of the scheduler. Out: old rows of `expunged` and `changed` are deleted. A client that was away for
longer (RFC 7162 §3.2) is told of everything that is missing instead, and an older index reads the messages again:
both read more, and the result is as correct.
"""

from esp.storage.postgres import history, kept_indexes
from esp.storage.postgres.history import Table
from esp.storage.postgres.pool import Database
from esp.telemetry.log import get_logger

CHANGES_RETENTION = 3600.0
"""Indexes are minutes behind at most: a process looks every minute while one is used, and lets others go soon."""
KEPT_RETENTION = 14 * 86400.0
"""For stored indexes of large mailboxes: they are read after a restart."""
TOGETHER = 5_000
"""Rows in one transaction, which keeps their mailboxes locked."""

log = get_logger(__name__)


class History:
    """Deletes old rows; several processes may do so at once."""

    def __init__(
        self, database: Database, retention: float, changes_retention: float = CHANGES_RETENTION
    ) -> None:
        """Make it; expunges are remembered for `retention` seconds, other changes for `changes_retention`."""
        self._database = database
        self._retention = retention
        self._changes_retention = changes_retention

    async def forget(self) -> int:
        """Delete what is older than the retention, and return how many expunges.

        Raises:
            UnavailableError: PostgreSQL does not answer; the rest is deleted the next time.
        """
        await self._forget("changed", self._changes_retention, KEPT_RETENTION)
        forgotten = await self._forget("expunged", self._retention)
        async with self._database.connection() as connection:
            await kept_indexes.forget_useless(connection)
        if forgotten:
            log.info("expunges_forgotten", rows=forgotten)
        return forgotten

    async def _forget(self, table: Table, retention: float, kept_retention: float = 0.0) -> int:
        forgotten = 0
        while True:
            async with self._database.transaction() as tx:
                count = await history.forget(tx, table, retention, TOGETHER, kept_retention)
            forgotten += count
            if count < TOGETHER:
                return forgotten
