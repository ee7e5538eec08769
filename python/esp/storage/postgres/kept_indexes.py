"""Indexes of large mailboxes, stored for later processes."""

import msgspec

from esp.core.mailbox import MailboxId, ModSeq, Uid
from esp.core.principal import AccountId
from esp.storage.postgres.pool import Connection


class Kept(msgspec.Struct, frozen=True):
    """An index at the time when it was stored."""

    octets: bytes
    """The octets that `MailboxIndex.keep` returned."""
    modseq: ModSeq
    uidnext: Uid


async def find(connection: Connection, account: AccountId, mailbox: MailboxId) -> Kept | None:
    """Return the stored index of a mailbox, if there is one."""
    row = await connection.fetchrow(
        "SELECT octets, modseq, uidnext FROM mailbox_index WHERE account_id = $1 AND mailbox_id = $2",
        account,
        mailbox,
    )
    return None if row is None else Kept(*row)


async def keep(connection: Connection, mailbox: MailboxId, kept: Kept) -> None:
    """Store an index in place of an older one, unless the mailbox was deleted."""
    await connection.execute(
        """
        INSERT INTO mailbox_index AS k (account_id, mailbox_id, modseq, uidnext, octets)
        SELECT account_id, id, $2, $3, $4 FROM mailbox WHERE id = $1 FOR KEY SHARE
        ON CONFLICT (account_id, mailbox_id) DO UPDATE
        SET modseq = excluded.modseq, uidnext = excluded.uidnext, octets = excluded.octets
        WHERE k.modseq <= excluded.modseq
        """,
        mailbox,
        kept.modseq,
        kept.uidnext,
        kept.octets,
    )


async def forget_useless(connection: Connection) -> None:
    """Remove indexes that cannot be brought up to date, since later changes are no longer remembered."""
    await connection.execute(
        """
        DELETE FROM mailbox_index AS k USING mailbox AS m
        WHERE m.id = k.mailbox_id AND k.modseq < greatest(m.expunged_horizon, m.changed_horizon)
        """
    )
