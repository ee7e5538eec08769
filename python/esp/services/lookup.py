"""Finding mailboxes by name for many sessions at once.

Each SELECT, APPEND, COPY and STATUS begins with a lookup. While two queries are under way, the lookups that come
meanwhile are gathered into the next query; one or two sessions at a time do not wait. An answer was true at some moment
after the call began.
"""

import asyncio

from esp.core.errors import NotFoundError
from esp.core.mailbox import Mailbox
from esp.core.principal import AccountId
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres.pool import Database

_Name = tuple[AccountId, str]


AT_ONCE = 2
"""Queries. With one, the second caller would wait for the first answer and then for its own, twice as long. A third
query is rare until there are so many callers that asking together is cheaper."""


class Lookup:
    """Finds mailboxes; one object for each process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asking = 0
        self._waiting: list[tuple[_Name, asyncio.Future[Mailbox | None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, account: AccountId, name: str) -> Mailbox:
        """Return the mailbox of that exact name.

        Raises:
            NotFoundError: there is none.
            UnavailableError: PostgreSQL does not answer.
        """
        if self._asking >= AT_ONCE:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(((account, name), waiter))
            found: Mailbox | None = await waiter
            if found is None:
                raise NotFoundError("Mailbox does not exist")
            return found
        self._asking += 1
        try:
            async with self._database.connection() as connection:
                return await sql.by_name(connection, account, name)
        finally:
            if self._waiting:  # the query for these takes the place of this one
                task = asyncio.create_task(self._ask_together(), name="mailbox-lookup")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._asking -= 1

    async def _ask_together(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await self._answer(asked)
        finally:
            self._asking -= 1

    async def _answer(self, asked: "list[tuple[_Name, asyncio.Future[Mailbox | None]]]") -> None:
        try:
            async with self._database.connection() as connection:
                found = await sql.by_accounts(connection, [name for name, _ in asked])
        except BaseException as error:
            for _, waiter in asked:
                if not waiter.done():
                    waiter.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for name, waiter in asked:
            if not waiter.done():
                waiter.set_result(found.get(name))
