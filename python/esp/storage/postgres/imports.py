"""What imports have brought, so that nothing is brought twice.

`note` is called in the transaction that makes the messages visible (`delivery.place`): after a crash, both the message
and its note are there, or neither.
"""

from collections.abc import Sequence
from typing import NewType

import msgspec

from esp.core.mailbox import MailboxId
from esp.core.principal import AccountId
from esp.storage.postgres.pool import Connection

ImportFolderId = NewType("ImportFolderId", int)

_LOCK_CLASS = 0x45535049
"""Class of the advisory locks for accounts being imported into: "ESPI"."""


class Imported(msgspec.Struct, frozen=True):
    """Where a message was imported from."""

    folder: ImportFolderId
    item: str
    """The same at every run, and different from all others of the folder."""


async def ensure_folder(
    connection: Connection, account: AccountId, mailbox: MailboxId, *, source: str, folder: str, validity: str
) -> ImportFolderId:
    """Return the id under which a folder's messages are recorded."""
    value: int = await connection.fetchval(
        """
        INSERT INTO import_folder (account_id, mailbox_id, source, folder, validity) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (account_id, mailbox_id, source, folder, validity) DO UPDATE SET folder = excluded.folder
        RETURNING id
        """,
        account,
        mailbox,
        source,
        folder,
        validity,
    )
    return ImportFolderId(value)


async def missing(
    connection: Connection, account: AccountId, folder: ImportFolderId, items: Sequence[str]
) -> frozenset[str]:
    """Return which of `items` were not imported yet."""
    rows = await connection.fetch(
        "SELECT item FROM import_item WHERE account_id = $1 AND folder_id = $2 AND item = ANY($3::text[])",
        account,
        folder,
        items,
    )
    return frozenset(items) - {row["item"] for row in rows}


async def note(tx: Connection, items: Sequence[tuple[AccountId, Imported]]) -> None:
    """Record items as imported; if one is recorded already, this fails, and with it the delivery."""
    await tx.execute(
        """
        INSERT INTO import_item (account_id, folder_id, item)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[])
        """,
        [account for account, _ in items],
        [imported.folder for _, imported in items],
        [imported.item for _, imported in items],
    )


async def forget(connection: Connection, account: AccountId, source: str) -> None:
    """Have the next import from `source` import everything again."""
    await connection.execute(
        """
        WITH gone AS (DELETE FROM import_folder WHERE account_id = $1 AND source = $2 RETURNING id)
        DELETE FROM import_item WHERE account_id = $1 AND folder_id IN (SELECT id FROM gone)
        """,
        account,
        source,
    )


async def lock(connection: Connection, account: AccountId) -> bool:
    """Keep other imports into the account out while the connection is held; return whether the lock was free."""
    return bool(await connection.fetchval(f"SELECT pg_try_advisory_lock({_KEY})", *_key(account)))


async def unlock(connection: Connection, account: AccountId) -> None:
    """Let other imports in."""
    await connection.execute(f"SELECT pg_advisory_unlock({_KEY})", *_key(account))


_KEY = "$1::int, $2::int"


def _key(account: AccountId) -> tuple[int, int]:
    return _LOCK_CLASS, account % 2_147_483_647
