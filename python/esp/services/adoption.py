"""Files become messages: what a rebuild does with all of them, and `check --fix` with some.

In: files of a Maildir that have no row. Out: rows, as if the files had just been delivered there in the order in which
they originally came, with the flags and the dates that they show.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from esp.core import mbox
from esp.core.errors import NotFoundError, OverQuotaError
from esp.core.mailbox import Mailbox, MailboxId
from esp.core.principal import AccountId
from esp.native import Entry, Store, describe
from esp.services.upkeep import wanted_letters
from esp.storage import maildir, other_maildir
from esp.storage.postgres import delivery
from esp.storage.postgres.delivery import Delivery, Place, Refused
from esp.storage.postgres.pool import Database

BATCH_FILES = 200
BATCH_OCTETS = 16 * 1024 * 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def adopt(
    database: Database,
    store: Store,
    *,
    account: AccountId,
    mailbox: MailboxId,
    folder: str,
    entries: Sequence[Entry],
    keywords: int = 0,
) -> int:
    """Give rows to files of one Maildir, oldest first, and return how many files got one.

    Letters of keywords stand for the first `keywords` keywords of the mailbox.

    Raises:
        OverQuotaError: the account has no room for more; the files before have their rows.
        NotFoundError: the mailbox was deleted.
    """
    count = 0
    for batch in _batches(sorted(entries, key=_order)):
        described = await asyncio.to_thread(_described, store, (account, mailbox), folder, batch, keywords)
        if not described:
            continue
        async with database.connection() as connection:
            outcome = await delivery.place(connection, described)
        if isinstance(outcome, Refused):
            if outcome.gone:
                raise NotFoundError("Mailbox does not exist")
            raise OverQuotaError("The account has no room left")
        count += len(outcome)
    return count


def keywords_of(path: Path) -> tuple[str, ...]:
    """Return the keywords for a mailbox made from a Maildir; letters that nothing explains get made-up ones."""
    return tuple(
        word if mbox.is_keyword(word) else f"Keyword{number}"
        for number, word in enumerate(other_maildir.keywords_of(path))
    )


def known_keywords(mailbox: Mailbox, words: tuple[str, ...]) -> int:
    """Return how many keyword letters can be read in a folder which says that they stand for `words`."""
    return len(words) if mailbox.keywords[: len(words)] == words else 0


def _order(entry: Entry) -> tuple[int, int, int]:
    """Return when a message came: by its name, or by its date if another program named the file."""
    return maildir.received_at(entry.base) or (entry.mtime_ns // 1_000_000_000, 0, 0)


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    octets = 0
    for entry in entries:
        if batch and (len(batch) >= BATCH_FILES or octets + entry.size > BATCH_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(entry)
        octets += entry.size
    if batch:
        yield batch


def _described(
    store: Store, place: tuple[AccountId, MailboxId], folder: str, entries: Sequence[Entry], keywords: int
) -> list[Delivery]:
    found: list[Delivery] = []
    for entry in entries:
        flags = maildir.flags_of(entry.letters, keywords)
        # Files of other programs often have no letters in `cur`; a row can only say "in new" or which letters.
        letters = wanted_letters(flags, (entry.letters or "") if entry.part == "cur" else None)
        if letters != entry.letters:
            store.rename(folder, [(entry.base, entry.letters, letters)])
        try:
            octets = store.read(folder, entry.base, letters)
        except FileNotFoundError:
            continue
        path = maildir.file_path(folder, entry.base, letters)
        found.append(
            Delivery(
                entry.base,
                len(octets),
                describe(octets),
                _date(entry.mtime_ns),
                (Place(*place, flags, letters),),
                (path,),
            )
        )
    return found


def _date(nanoseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return _EPOCH
