"""What FETCH tells of messages beside their rows, and the messages of threads.

In: content ids that a FETCH or a search asks for. Out: a cache from which all sessions of the process render, filled
from the database, and with what no worker has made yet.
"""

from collections.abc import Callable

from esp.core.mailbox import MailboxId
from esp.core.principal import AccountId
from esp.native import ContentCache, FetchItems, MailboxIndex
from esp.services.indexing import Indexing
from esp.storage.postgres import messages as messages_sql
from esp.storage.postgres.pool import Database


class Contents:
    """Contents, shared by the sessions of a process.

    `told` of its methods is called with how many messages were indexed so far, and how many there are to index.
    """

    def __init__(self, database: Database, indexing: Indexing) -> None:
        self._database = database
        self._indexing = indexing
        self.cache = ContentCache()

    async def load(
        self, account: AccountId, contents: list[int], items: FetchItems, told: Callable[[int, int], None]
    ) -> None:
        """Bring what a FETCH needs into the cache.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        async with self._database.connection() as connection:
            if items.needs_contents:
                self.cache.load(account, await messages_sql.copy_contents(connection, account, contents))
            new = await messages_sql.unindexed(connection, account, contents) if items.makes_indexed else []
        if new:
            # RFC 8474 §5.2: the THREADID of a message never changes, so that there is no answer until it is known.
            await self._indexing.index(account, new, told)
        if items.needs_indexed:
            async with self._database.connection() as connection:
                indexed = await messages_sql.copy_indexed(connection, account, contents)
            self.cache.load_indexed(account, indexed)

    async def of_threads(
        self, index: MailboxIndex, threads: list[int], told: Callable[[int, int], None]
    ) -> dict[int, list[int]]:
        """Return the contents of the threads that a search in a mailbox names.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        if not threads:
            return {}
        account, mailbox = AccountId(index.account), MailboxId(index.mailbox)
        async with self._database.connection() as connection:
            new = await messages_sql.unindexed_in(connection, account, mailbox)
        await self._indexing.index(account, new, told)
        async with self._database.connection() as connection:
            return await messages_sql.thread_contents(connection, account, threads)
