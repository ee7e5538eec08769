"""Restoring what a crash left in journals, before any client is served.

In: the journals of processes that have ended. Out: the files of all messages in them that have rows. A message without
a row was not answered with 250 or OK, or it was expunged or moved since, and then it has a durable file elsewhere
(docs/adr/0009-a-journal-for-small-messages.md).
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from esp.native import KeptMessage, LeftJournals, Store
from esp.storage.maildir import file_path, folder, place_of
from esp.storage.postgres import mailboxes as mailboxes_sql
from esp.storage.postgres import upkeep
from esp.storage.postgres.pool import Database
from esp.telemetry.log import get_logger

Place = tuple[str, str, str]
"""An account's folder, a mailbox's directory, and a base name (`maildir.place_of`)."""

log = get_logger(__name__)


async def recover(store: Store, database: Database) -> bool:
    """Restore what was left; what cannot be restored now is logged, and left for the next start.

    Return whether nothing is left.
    """
    try:
        left = await asyncio.to_thread(store.left_journals)
        # Every journal, whatever became of the one before.
        done = [await _replay(left, number, database) for number in range(left.count)]
        if not all(done):
            return False
        await asyncio.to_thread(left.forget)
    except OSError as error:
        log.critical("journal_not_replayed", error=str(error))
        return False
    return True


async def _replay(left: LeftJournals, number: int, database: Database) -> bool:
    """Restore what is in one journal, as far as possible; tell whether that was all."""
    try:
        missing = await asyncio.to_thread(left.missing, number)
    except OSError as error:
        log.critical("journal_not_replayed", error=str(error))
        return False
    there = await _places(missing, database)
    restored, failure = await asyncio.to_thread(_restore, left, missing, there)
    log.info("journal_replayed", missing=len(missing), restored=restored)
    if failure:
        log.critical("journal_not_replayed", error=failure)
    return not failure


def _restore(
    left: LeftJournals, missing: Sequence[KeptMessage], there: Mapping[Place, str]
) -> tuple[int, str]:
    """Write those messages again that should exist; return how many were written, and the first failure."""
    restored, failure = 0, ""
    for message in missing:
        paths = [there[place] for path in message.paths if (place := place_of(path)) in there]
        if not paths:
            continue
        try:
            left.restore(message, paths)
        except (OSError, ValueError) as error:
            # A broken folder of one account must not keep other accounts' mail away. Only the text is kept: an
            # exception would hold this frame, and with it the journals, which others may want.
            failure = failure or str(error)
        else:
            restored += 1
    return restored, failure


async def _places(missing: Sequence[KeptMessage], database: Database) -> dict[Place, str]:
    """Return the names that files of messages should have by now, except for messages that have no row."""
    wanted: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for message in missing:
        for path in message.paths:
            home, directory, base = place_of(path)
            wanted[home][directory].append(base)
    there: dict[Place, str] = {}
    async with database.connection() as connection:
        for home, directories in wanted.items():
            for account in await upkeep.accounts(connection, home):
                for mailbox in await mailboxes_sql.listed(connection, account.id):
                    bases = directories.get(mailbox.directory, [])
                    known = await upkeep.known_files(connection, mailbox, bases) if bases else {}
                    for base, letters in known.items():
                        there[home, mailbox.directory, base] = file_path(
                            folder(home, mailbox.directory), base, letters
                        )
    return there
