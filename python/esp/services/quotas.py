"""What accounts keep and may keep: asked, set, and watched (RFC 9208).

In: a principal and a quota root: the empty name for its own account, or an account's address. Out: a `Quota`. Nothing
is admitted or refused here: that is decided in the transaction that adds messages, under the account's lock.
"""

from collections.abc import Collection, Mapping

import msgspec

from esp.core.errors import InvalidError, NoPermissionError, NotFoundError
from esp.core.principal import AccountId, Principal
from esp.core.quota import WARNINGS, Quota
from esp.core.rights import Rights, effective
from esp.services.access import Reached
from esp.services.announcing import Announcer
from esp.storage.postgres import acl
from esp.storage.postgres import directory as rows
from esp.storage.postgres import quota as sql
from esp.storage.postgres.pool import Connection, Database
from esp.telemetry.log import get_logger

STORAGE, MESSAGE = "STORAGE", "MESSAGE"
STORAGE_UNIT = 1024
"""Octets (RFC 9208 §5.1)."""

log = get_logger(__name__)


class Root(msgspec.Struct, frozen=True):
    """A quota root: an account, with the name under which the client asked for it."""

    name: str
    quota: Quota


class Quotas:
    """Reads and sets the limits of accounts."""

    def __init__(self, database: Database, notifier: Announcer) -> None:
        self._database = database
        self._notifier = notifier

    async def of(self, account: AccountId) -> Quota:
        """Return what an account keeps and may keep.

        Raises:
            NotFoundError: the account was deleted.
        """
        async with self._database.connection() as connection:
            return await rows.quota(connection, account)

    async def root_of(self, reached: Reached) -> Root:
        """Return the root that a mailbox is charged to."""
        name = "" if reached.own else reached.owner
        return Root(name, await self.of(reached.mailbox.account))

    async def find(self, principal: Principal, name: str) -> Root:
        """Return a root that the principal may see: its own, one of a mailbox it can read, or any for an administrator.

        Raises:
            NotFoundError: there is none that the principal may know of.
        """
        async with self._database.connection() as connection:
            account = await self._account(connection, principal, name)
            return Root(name, await rows.quota(connection, account))

    async def limit(self, principal: Principal, name: str, limits: Mapping[str, int]) -> Root:
        """Set the limits of a root; a resource that is not named is then unlimited (RFC 9208 §4.1.3).

        Raises:
            NoPermissionError: the principal is no administrator.
            NotFoundError: there is no such root.
            InvalidError: a resource is unknown.
        """
        if not principal.admin:
            raise NoPermissionError("Only an administrator sets limits")
        if unknown := limits.keys() - {STORAGE, MESSAGE}:
            raise InvalidError(f"There is no resource {min(unknown)}")
        octets = limits.get(STORAGE)
        # The column has 63 bits; a larger limit is none that anybody could reach.
        octets = None if octets is None else min(octets * STORAGE_UNIT, 2**63 - 1)
        async with self._database.connection() as connection:
            account = await self._account(connection, principal, name)
            await rows.set_quota(connection, account, octets, limits.get(MESSAGE))
            found = Root(name, await rows.quota(connection, account))
        await self._notifier.publish_directory(account)
        return found

    async def _account(self, connection: Connection, principal: Principal, name: str) -> AccountId:
        if name in {"", principal.address}:
            return principal.account
        owner = await acl.owner(connection, name)
        if owner is not None:
            if principal.admin:
                return owner.account
            for one in await acl.visible(connection, principal.account):
                granted = effective(one.grants, principal.account, owner=False)
                if one.owner.account == owner.account and Rights.READ in granted:
                    return owner.account
        raise NotFoundError("No such quota root")


class QuotaWatch:
    """Warns when an account fills up; deliveries are looked at soon after, everything else by the clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, accounts: Collection[AccountId] | None = None) -> None:
        """Warn once for each of the accounts (`None`: all) whose usage has passed a level of `WARNINGS`."""
        async with self._database.connection() as connection:
            crossed = await sql.crossings(connection, accounts, WARNINGS)
        for one in crossed:
            log.warning(
                "quota_warning",
                address=one.address,
                percent=one.level,
                octets=one.quota.used,
                octets_limit=one.quota.limit,
                messages=one.quota.messages,
                messages_limit=one.quota.message_limit,
            )
