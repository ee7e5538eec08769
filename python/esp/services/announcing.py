"""Notifying other processes of changes, for services that only send notifications.

`storage.redis.Notifier` does it. Where most work changes nothing (`esp-cli`), the notifier is made when needed.
"""

from collections.abc import Sequence
from typing import Protocol

from esp.core.change import AccountChange
from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId


class Announcer(Protocol):
    """Never raises: a process that is not notified finds the change by looking."""

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        """Notify others of changed mailboxes."""

    async def publish_directory(self, account: AccountId | None = None) -> None:
        """Notify others that one account, or (`None`) domains, accounts or aliases changed."""

    async def publish_account(self, change: AccountChange) -> None:
        """Notify others of changed names, subscriptions or annotations."""
