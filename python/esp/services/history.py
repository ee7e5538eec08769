"""How long it is remembered what was expunged (RFC 7162 §3.2).

In: the clock of the scheduler. Out: rows of `expunged` that are old enough are gone. A client that was away for longer
is told of everything that is not there instead, which is more to read and no less true.
"""

from esp.storage.postgres import expunged
from esp.storage.postgres.pool import Database
from esp.telemetry.log import get_logger

TOGETHER = 5_000
"""Rows of one transaction, which keeps their mailboxes locked."""

log = get_logger(__name__)


class History:
    """Forgets; several processes may do so at once."""

    def __init__(self, database: Database, retention: float) -> None:
        self._database = database
        self._retention = retention

    async def forget(self) -> int:
        """Forget what is older than the retention, and return how many rows.

        Raises:
            UnavailableError: PostgreSQL does not answer; the rest is forgotten the next time.
        """
        forgotten = 0
        while True:
            async with self._database.transaction() as tx:
                count = await expunged.forget(tx, self._retention, TOGETHER)
            forgotten += count
            if count < TOGETHER:
                break
        if forgotten:
            log.info("expunges_forgotten", rows=forgotten)
        return forgotten
