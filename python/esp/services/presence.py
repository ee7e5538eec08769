"""Who is logged in, and how: a session ends when its account is disabled, removed, or gets another password.

In: principals that came and went, notifications that the directory changed. Out: a call for each login that may not
stay. Notifications may be lost, so the directory is also looked at from time to time.
"""

import asyncio
from collections.abc import Callable

from esp.core.errors import EspError
from esp.core.principal import AccountId, Principal
from esp.services.authentication import fingerprint
from esp.services.lost_word import until_look
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database
from esp.storage.redis import Notifier
from esp.telemetry import lasting
from esp.telemetry.log import get_logger
from esp.telemetry.outage import Outage

GATHERING = 0.5
"""Seconds between two looks: an import of accounts changes the directory thousands of times."""

Leave = Callable[[], None]

log = get_logger(__name__)


class Presence:
    """The logins of one process."""

    def __init__(self, database: Database, notifier: Notifier, poll_interval: float) -> None:
        self._database = database
        self._notifier = notifier
        self._poll_interval = poll_interval
        self._present: dict[AccountId, dict[Leave, bytes]] = {}
        self._changed = asyncio.Event()
        self._concerned: set[AccountId] | None = set()
        """Accounts that notifications were about; `None`: any account may have changed."""
        self._task: asyncio.Task[None] | None = None
        self._outage = Outage()
        notifier.subscribe_directory(self._heard)

    def start(self) -> None:
        """Begin to look."""
        self._task = lasting.start("presence", self._look_always)

    async def close(self) -> None:
        """Stop looking."""
        await lasting.stop(self._task)

    def enter(self, principal: Principal, leave: Leave) -> None:
        """Count a login in; `leave` is called when it is no longer valid, and must not block."""
        self._present.setdefault(principal.account, {})[leave] = principal.credentials

    def exit(self, principal: Principal, leave: Leave) -> None:
        """Count a login out."""
        if (present := self._present.get(principal.account)) is not None:
            present.pop(leave, None)
            if not present:
                del self._present[principal.account]

    def _heard(self, account: AccountId | None) -> None:
        if account is None:
            self._concerned = None
        elif self._concerned is not None:
            self._concerned.add(account)
        self._changed.set()

    async def _look_always(self) -> None:
        while True:
            await until_look(self._changed, self._notifier, self._poll_interval)
            concerned, self._concerned = self._concerned, set()
            try:
                # Without a notification it is time for a regular look: some may have been lost.
                await self._look(concerned or None)
            except EspError as error:
                self._concerned = None
                if self._outage.begins():
                    log.warning("presence_not_looked_at", error=str(error))
            else:
                if self._outage.ends():
                    log.warning("presence_looked_at_again")
            await asyncio.sleep(GATHERING)

    async def _look(self, concerned: set[AccountId] | None = None) -> None:
        accounts = list(self._present if concerned is None else concerned & self._present.keys())
        if not accounts:
            return
        async with self._database.connection() as connection:
            standing = await rows.standing(connection, accounts)
        for account in accounts:
            found = standing.get(account)
            allowed = fingerprint(found) if found is not None and found.enabled else None
            for leave, credentials in tuple(self._present.get(account, {}).items()):
                if credentials != allowed:
                    log.info("login_ended", account=account, reason="gone" if allowed is None else "password")
                    leave()
