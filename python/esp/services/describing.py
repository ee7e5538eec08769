"""The cards of very many mailboxes, written while others go on to deliver into them and to change them.

In: mailboxes whose rows say something new, as behind a RENAME with thousands below it. Out: the same in their folders
(`storage.maildir.Card`), durably. The slow part, files and syncs, is done aside of everything. A mailbox is locked only
while its card gets its name, and gets it only if the row is still as the card has it: none takes a newer one's place.

Whoever changes the rows leaves word in the outbox (`Topic.DESCRIBE`) in the same transaction, so that a worker does it
where a crash or a full disk was in the way.
"""

from collections.abc import Sequence

from esp.core.mailbox import Mailbox, MailboxId
from esp.services.file_failures import file_errors
from esp.storage import maildir
from esp.storage.maildir import Maildirs, PreparedCard
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres.pool import Database

PIECE = 500
"""Mailboxes that are locked together, for some milliseconds."""


async def describe(database: Database, maildirs: Maildirs, mailboxes: Sequence[MailboxId]) -> None:
    """Have the cards of those of the mailboxes that still exist say what their rows say.

    Raises:
        StorageFullError: the disk is full; some may be written.
        UnavailableError: PostgreSQL or the mail storage does not answer; some may be written.
    """
    left = list(mailboxes)
    while left:
        left = await _describe_once(database, maildirs, left)


async def _describe_once(
    database: Database, maildirs: Maildirs, mailboxes: Sequence[MailboxId]
) -> list[MailboxId]:
    """Write cards, and return the mailboxes that somebody changed meanwhile."""
    async with database.connection() as connection:
        there = await sql.described(connection, mailboxes)
    with file_errors():
        prepared = await maildirs.prepare_cards([_card(*one) for one in there])
    aside = {mailbox.id: card for (mailbox, _), card in zip(there, prepared, strict=True)}
    changed: list[MailboxId] = []
    try:
        for first in range(0, len(there), PIECE):
            async with database.transaction() as tx:
                some = [mailbox.id for mailbox, _ in there[first : first + PIECE]]
                ready: list[PreparedCard] = []
                for mailbox, subscribed in await sql.described(tx, some, lock=True):
                    card = aside[mailbox.id]
                    if _card(mailbox, subscribed) == (card.folder, card.card):
                        ready.append(aside.pop(mailbox.id))
                    else:
                        changed.append(mailbox.id)
                with file_errors():
                    await maildirs.place_cards(ready)
        with file_errors():
            await maildirs.sync()
    finally:
        await maildirs.discard_cards(list(aside.values()))
    return changed


def _card(mailbox: Mailbox, subscribed: bool) -> tuple[str, maildir.Card]:
    return maildir.folder(mailbox.home, mailbox.directory), maildir.card_of(mailbox, subscribed=subscribed)
