"""Writing the cards of very many mailboxes while others deliver into them and change them.

In: mailboxes whose rows have changed, as after a RENAME with thousands below it. Out: cards in their folders
(`storage.maildir.Card`) that say the same, durably. The slow part, files and syncs, is done without any lock. A
mailbox is locked only while its card gets its name, and the card gets it only if it still matches the row: so no card
replaces a newer one. A transaction that changes the rows also leaves a row in the outbox (`Topic.DESCRIBE`), so that
a worker writes the cards if a crash or a full disk got in the way.
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
    """Make the cards of those of the mailboxes that still exist say what their rows say.

    Raises:
        StorageFullError: the disk is full; some cards may be written.
        UnavailableError: PostgreSQL or the mail storage does not answer; some cards may be written.
    """
    left = list(mailboxes)
    while left:
        left = await _describe_once(database, maildirs, left)


async def _describe_once(
    database: Database, maildirs: Maildirs, mailboxes: Sequence[MailboxId]
) -> list[MailboxId]:
    """Write cards, and return the mailboxes that were changed meanwhile."""
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
