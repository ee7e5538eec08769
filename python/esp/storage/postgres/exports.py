"""What an export reads: a mailbox's messages, in pieces."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from esp.core.mailbox import Mailbox, Uid
from esp.storage.postgres.pool import Connection


class Row(msgspec.Struct, frozen=True):
    """A message and where its file is."""

    uid: Uid
    flags: int
    size: int
    internal_date: datetime
    file: str
    file_flags: str | None
    """Letters after `:2,` in `cur`; `None` while the file is in `new`."""


async def rows_after(connection: Connection, mailbox: Mailbox, uid: int, limit: int) -> Sequence[Row]:
    """Return the next messages after a UID."""
    rows = await connection.fetch(
        """
        SELECT uid, flags, size, internal_date, file, file_flags FROM message
        WHERE account_id = $1 AND mailbox_id = $2 AND uid > $3 ORDER BY uid LIMIT $4
        """,
        mailbox.account,
        mailbox.id,
        uid,
        limit,
    )
    return [Row(*row) for row in rows]
