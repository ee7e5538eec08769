"""What processes tell each other of accounts and mailboxes."""

from collections.abc import Sequence

import msgspec

from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId

Changes = Sequence[tuple[MailboxId, ModSeq]]
"""Mailboxes, and the mod-sequences they are at now."""

EVERYBODY = AccountId(0)
"""No account has this id."""


class AccountChange(msgspec.Struct, frozen=True, array_like=True):
    """Something about an account's mailboxes that is no change of their messages."""

    account: AccountId
    """Whose mailboxes, or who changed annotations that may be private; `EVERYBODY`: all accounts' may be others."""
    mailbox: MailboxId | None = None
    """Whose annotations changed; `None`: names or subscriptions did, or annotations of the server."""
    annotations: tuple[str, ...] = ()
    """Entries that changed (RFC 5464); none: names or subscriptions did."""
