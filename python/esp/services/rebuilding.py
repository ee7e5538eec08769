"""A lost database, rebuilt from the Maildirs.

In: folders. Out: domains, accounts, mailboxes (from `esp-mailbox.json`), subscriptions and messages with their flags
and dates. UIDs are assigned again in the order in which the messages came, under a UIDVALIDITY greater than the old
one, so that every client starts afresh (RFC 3501 §2.3.1.1). What is in no Maildir stays lost: passwords, aliases,
quotas, mod-sequences. Accounts that an administrator has created again keep what they have and get their mail.

It may be run again, and beside a live server: a file that has a message is passed over.
"""

import asyncio
from pathlib import Path

import msgspec

from esp.native import Store
from esp.services.adoption import adopt, keywords_of, known_keywords
from esp.storage import maildir
from esp.storage.maildir import Maildirs
from esp.storage.postgres import upkeep
from esp.storage.postgres.pool import Database


class Rebuilt(msgspec.Struct, frozen=True):
    """One mailbox that was created or filled."""

    account: str
    mailbox: str
    uidvalidity: int
    messages: int
    """Messages that were given rows by this run."""
    made: bool
    """Whether the mailbox itself was missing."""


async def rebuild(
    database: Database, store: Store, root: Path, *, account: str | None = None
) -> tuple[Rebuilt, ...]:
    """Make rows for everything below the root, or below one account's folder, that has none.

    Raises:
        OverQuotaError: an existing account has a quota that its mail does not fit into.
    """
    rebuilt: list[Rebuilt] = []
    maildirs = Maildirs(store, root)
    folders = await asyncio.to_thread(lambda: list(maildir.accounts(root)))
    for home in folders:
        if account is not None and home != account:
            continue
        domain, local_part = maildir.address_of(home)
        async with database.transaction() as tx:
            identity = await upkeep.ensure_account(tx, domain, local_part, home)
        for directory in await asyncio.to_thread(_directories, root, home):
            folder = maildir.folder(home, directory)
            card = await asyncio.to_thread(maildir.read_card, root, folder)
            entries = [e for e in await asyncio.to_thread(store.scan, folder) if e.part != "tmp"]
            words = await asyncio.to_thread(keywords_of, root / folder)
            if card is None and not entries and directory != maildir.INBOX_DIRECTORY:
                continue  # what is left of a deleted mailbox
            async with database.transaction() as tx:
                mailbox, made = await upkeep.ensure_mailbox(
                    tx,
                    identity,
                    card.name if card else maildir.name_of(directory),
                    directory,
                    special_use=card.special_use if card else None,
                    subscribed=card.subscribed if card else True,
                    above=card.uidvalidity if card else 0,
                    keywords=words,
                )
                unclaimed = await upkeep.unclaimed(tx, home, mailbox, [entry.base for entry in entries])
            if made:
                await maildirs.describe(home, mailbox, subscribed=card.subscribed if card else True)
            missing = [entry for entry in entries if entry.base in unclaimed]
            count = await adopt(
                database,
                store,
                account=identity,
                mailbox=mailbox.id,
                folder=folder,
                entries=missing,
                keywords=known_keywords(mailbox, words),
            )
            if made or count:
                address = f"{local_part}@{domain}"
                rebuilt.append(Rebuilt(address, mailbox.name, mailbox.uidvalidity, count, made))
    return tuple(rebuilt)


def _directories(root: Path, home: str) -> list[str]:
    return list(maildir.directories(root, home))
