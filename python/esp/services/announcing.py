"""Telling other processes of changes, for services that only tell.

`storage.redis.Notifier` does it; where most that is done tells nobody anything (`esp-cli`), it is made when needed.
"""

from collections.abc import Sequence
from typing import Protocol

from esp.core.change import AccountChange
from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId


class Announcer(Protocol):
    """Never raises: what is not told is found by looking."""

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        """Tell of changed mailboxes."""

    async def publish_directory(self, account: AccountId | None = None) -> None:
        """Tell that one account, or (`None`) domains, accounts or aliases changed."""

    async def publish_account(self, change: AccountChange) -> None:
        """Tell of names, subscriptions or annotations."""
