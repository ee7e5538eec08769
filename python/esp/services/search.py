"""Searching a mailbox: Rust decides, and this module brings it what it needs (RFC 3501 §6.4.4, RFC 5256).

Cheap keys (flags, dates, sizes, UIDs) are answered from the index alone; sorting, threading and the usual header fields
from heads of a few hundred octets. Text is looked for in `content_index`, where a signature rules most messages out.
A message that no worker has indexed yet is read from its file, so that the answer is right from the moment of delivery
on. Every key of the program is supported: the parser refuses unknown ones.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from esp.core.principal import AccountId
from esp.native import MailboxIndex, Search, SearchNeed, SearchOrder, SearchProgram, TextCache, View
from esp.storage.postgres import messages as sql
from esp.storage.postgres.pool import Connection, Database

AT_ONCE = 5_000
"""Messages that are searched in less time than a thread takes to start."""


class Searching:
    """Runs searches; one object for each process, with the decoded text that they share."""

    def __init__(self, database: Database, text_cache: int) -> None:
        self._database = database
        self._texts = TextCache(text_cache)

    async def search(
        self,
        view: View,
        index: MailboxIndex,
        program: SearchProgram,
        *,
        order: SearchOrder | None = None,
        threads: Mapping[int, Sequence[int]] = MappingProxyType({}),
        wanted: Callable[[], bool],
    ) -> Search:
        """Return the finished search over what the session knows of its mailbox.

        Args:
            view: the session's.
            index: of the view.
            program: the search criteria.
            order: for SORT and THREAD.
            threads: the contents of `program.threads`.
            wanted: tells whether anybody still waits for the answer.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        search = view.search(program, self._texts, now=time.time_ns() // 1000, order=order, threads=threads)
        in_thread = program.needs_text or view.messages > AT_ONCE
        while wanted():
            need = await asyncio.to_thread(search.step) if in_thread else search.step()
            if need is None:
                break
            async with self._database.connection() as connection:
                await self._bring(connection, index, need)
            in_thread = True  # contents that the database does not have are read from files
        return search

    async def _bring(self, connection: Connection, index: MailboxIndex, need: SearchNeed) -> None:
        account = AccountId(index.account)
        if need.heads:
            heads = await sql.copy_heads(connection, account, need.heads)
            await asyncio.to_thread(index.load_heads, heads)
        if need.signatures:
            signatures = await sql.copy_signatures(connection, account, need.signatures)
            await asyncio.to_thread(self._texts.load_signatures, account, signatures)
        if need.texts:
            texts = await sql.copy_texts(connection, account, need.texts)
            await asyncio.to_thread(self._texts.load_texts, account, texts)
