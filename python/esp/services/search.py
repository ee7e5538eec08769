"""Searching a mailbox: Rust decides, this brings it what it asks for (RFC 3501 §6.4.4).

Cheap keys (flags, dates, sizes, UIDs) are answered from the index alone. Text is looked for in `content_index`, where a
signature rules most messages out; a message that no worker has indexed yet is read from its file, so that the answer is
right from the moment of delivery on. The program is whole: a key that the parser does not know never gets here.
"""

import asyncio
import time
from collections.abc import Callable

from esp.core.principal import AccountId
from esp.native import MailboxIndex, Search, SearchProgram, TextCache, View
from esp.storage.postgres import messages as sql
from esp.storage.postgres.pool import Database


class Searching:
    """Runs searches; one for each process, with the decoded text that they share."""

    def __init__(self, database: Database, text_cache: int) -> None:
        self._database = database
        self._texts = TextCache(text_cache)

    async def search(
        self, view: View, index: MailboxIndex, program: SearchProgram, *, wanted: Callable[[], bool]
    ) -> Search:
        """Return the finished search over what the session knows of its mailbox.

        Args:
            view: the session's.
            index: of the view.
            program: what is looked for.
            wanted: whether anybody still waits for the answer.

        Raises:
            ValueError: a sequence number in the program does not exist.
            UnavailableError: PostgreSQL does not answer.
        """
        account = AccountId(index.account)
        search = view.search(program, self._texts, now=time.time_ns() // 1000)
        while wanted():
            # Looking through text takes milliseconds for a thousand messages: not on the event loop.
            need = await asyncio.to_thread(search.step) if program.needs_text else search.step()
            if need is None:
                break
            async with self._database.connection() as connection:
                if need.sent:
                    index.load_sent(await sql.copy_sent(connection, account, need.sent))
                if need.text:
                    copied = await sql.copy_texts(connection, account, need.text)
                    self._texts.load(account, copied)
        return search
