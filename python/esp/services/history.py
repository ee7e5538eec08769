"""How long it is remembered what happened to messages.

In: the clock of the scheduler. Out: rows of `expunged` and `changed` that are old enough are gone. A client that was
away for longer (RFC 7162 §3.2) is told of everything that is not there instead, and an index that is older reads the
messages anew: both is more to read and no less true.
"""

from esp.storage.postgres import history, kept_indexes
from esp.storage.postgres.history import Table
from esp.storage.postgres.pool import Database
from esp.telemetry.log import get_logger

CHANGES_RETENTION = 3600.0
"""Indexes are minutes behind at most: who has one that is used looks every minute, and others are soon let go."""
KEPT_RETENTION = 14 * 86400.0
"""But those that are kept of large mailboxes: they are read after a restart."""
TOGETHER = 5_000
"""Rows of one transaction, which keeps their mailboxes locked."""

log = get_logger(__name__)


class History:
    """Forgets; several processes may do so at once."""

    def __init__(
        self, database: Database, retention: float, changes_retention: float = CHANGES_RETENTION
    ) -> None:
        """Make it; expunges are remembered for `retention` seconds, other changes for `changes_retention`."""
        self._database = database
        self._retention = retention
        self._changes_retention = changes_retention

    async def forget(self) -> int:
        """Forget what is older than the retention, and return how many expunges.

        Raises:
            UnavailableError: PostgreSQL does not answer; the rest is forgotten the next time.
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
