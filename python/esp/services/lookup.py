"""Finding mailboxes by name for many sessions at once.

Each SELECT, APPEND, COPY and STATUS begins with it. While two questions are under way, those that come meanwhile become
the next one together; one or two sessions at a time wait for nobody. What is answered was so after the call began.
"""

import asyncio

from esp.core.errors import NotFoundError
from esp.core.mailbox import Mailbox
from esp.core.principal import AccountId
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres.pool import Database

_Name = tuple[AccountId, str]


AT_ONCE = 2
"""Questions. With one, who comes second waits for the first answer and for one more, twice as long; a third is rare
until there are so many that asking together is cheaper."""


class Lookup:
    """Finds mailboxes; one for each process."""

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
            if self._waiting:  # who asks for these takes this one's place
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
