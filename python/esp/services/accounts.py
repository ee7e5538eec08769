"""Accounts: created with their mailboxes, changed, removed.

In: addresses and passwords as an administrator writes them. Out: rows, Maildirs, and a notification to every process
on `esp:directory`, so that a change takes effect at once wherever something was remembered.
"""

import asyncio

from esp.core.address import Address
from esp.core.errors import InvalidError
from esp.core.mailbox import DEFAULT_MAILBOXES, GONE
from esp.core.principal import AccountId, DomainId, Principal
from esp.services.announcing import Announcer
from esp.services.passwords import Passwords
from esp.storage.maildir import Maildirs, account_folder
from esp.storage.postgres import directory as rows
from esp.storage.postgres.directory import AccountRow, NewPassword
from esp.storage.postgres.pool import Connection, Database

_MOST_LOOKALIKES = 100


class Accounts:
    """Creates, lists, changes and removes accounts."""

    def __init__(
        self, database: Database, maildirs: Maildirs, passwords: Passwords, notifier: Announcer
    ) -> None:
        self._database = database
        self._maildirs = maildirs
        self._passwords = passwords
        self._notifier = notifier

    async def create(
        self,
        address: Address,
        password: str | None,
        *,
        quota: int | None = None,
        admin: bool = False,
        shared: bool = False,
        announce: bool = True,
    ) -> AccountRow:
        """Create an account with its default mailboxes; it can receive mail when this returns.

        Args:
            address: in a domain that exists; its local part is folded.
            password: `None` for an account that nobody can log in to.
            quota: octets; `None` is no limit.
            admin: whether it may administer the installation.
            shared: whether its mailboxes are in the shared namespace, for those whom their lists name.
            announce: notify other processes; off when many are created and `announce` follows.

        Raises:
            InvalidError: the password is not allowed.
            NotFoundError: there is no such domain.
            AlreadyExistsError: the address is taken.
        """
        kept = await self._passwords.new(password) if password is not None else None
        address = address.folded()
        async with self._database.transaction() as tx:
            domain = await rows.domain(tx, address.domain)
            if domain.alias_of is not None:
                raise InvalidError(
                    f"{domain.name} is another name of {domain.alias_of}: make the account there"
                )
            await self._create(tx, domain.id, address, kept, quota, admin=admin, shared=shared)
        if announce:
            await self.announce()
        return await self.find(address)

    async def announce(self, account: AccountId | None = None) -> None:
        """Tell every process that one account, or (`None`) many, changed."""
        await self._notifier.publish_directory(account)

    async def find(self, address: Address) -> AccountRow:
        """Return one account.

        Raises:
            NotFoundError: there is none.
        """
        address = address.folded()
        async with self._database.connection() as connection:
            return await rows.account(connection, address.local_part, address.domain)

    async def principal(self, address: Address) -> Principal:
        """Return the account as a principal, for an administrator who acts in its place.

        Raises:
            NotFoundError: there is none.
        """
        found = await self.find(address)
        return Principal(found.id, found.address, found.maildir, found.admin)

    async def listed(self, domain: str | None = None) -> list[AccountRow]:
        """Return the accounts of a domain, or all, by address.

        Raises:
            NotFoundError: there is no such domain.
        """
        async with self._database.connection() as connection:
            if domain is not None:
                await rows.domain(connection, domain)
            return await rows.accounts(connection, domain)

    async def set_password(self, address: Address, password: str) -> None:
        """Replace the password; the old one no longer works, but open sessions go on.

        Raises:
            NotFoundError: there is no such account.
            InvalidError: the password is not allowed.
        """
        found = await self.find(address)
        kept = await self._passwords.new(password)
        async with self._database.connection() as connection:
            await rows.set_password(connection, found.id, kept)
        await self.announce(found.id)

    async def set_quota(self, address: Address, octets: int | None, messages: int | None = None) -> None:
        """Set both limits; `None` is no limit. A limit below the current usage is allowed: then nothing more comes in.

        Raises:
            NotFoundError: there is no such account.
        """
        found = await self.find(address)
        async with self._database.connection() as connection:
            await rows.set_quota(connection, found.id, octets, messages)
        await self.announce(found.id)

    async def set_enabled(self, address: Address, enabled: bool) -> None:
        """Enable or disable an account; a disabled one neither receives nor logs in, and its mail stays.

        Raises:
            NotFoundError: there is no such account.
        """
        found = await self.find(address)
        async with self._database.connection() as connection:
            await rows.set_account_enabled(connection, found.id, enabled)
        await self.announce(found.id)

    async def remove(self, address: Address) -> None:
        """Delete an account with all its mail.

        Raises:
            NotFoundError: there is no such account.
        """
        found = await self.find(address)
        async with self._database.transaction() as tx:
            mailboxes = await rows.remove_account(tx, found.id)
        # Rows first: mail without its row is found by nobody, but a row without its mail would be wrong.
        await self._maildirs.remove_account(found.maildir)
        await self.announce(found.id)
        await self._notifier.publish([(mailbox, GONE) for mailbox in mailboxes])

    async def _create(
        self,
        tx: Connection,
        domain_id: DomainId,
        address: Address,
        kept: NewPassword | None,
        quota: int | None,
        *,
        admin: bool,
        shared: bool,
    ) -> None:
        maildir = await self._free_folder(tx, address)
        account = await rows.add_account(
            tx, domain_id, address.local_part, maildir, quota_octets=quota, admin=admin, shared=shared
        )
        if kept is not None:
            await rows.set_password(tx, account, kept)
        directories: dict[str, str] = {}
        for name, _ in DEFAULT_MAILBOXES:
            directories[name] = self._maildirs.directory_for(name, set(directories.values()))
        mailboxes = await rows.add_default_mailboxes(tx, account, directories)
        # Within the transaction: nobody else sees the row before its Maildir can take mail.
        first, *others = mailboxes
        await self._maildirs.describe(maildir, first, subscribed=True)
        await asyncio.gather(*(self._maildirs.describe(maildir, m, subscribed=True) for m in others))

    async def _free_folder(self, tx: Connection, address: Address) -> str:
        """Return a folder that no account has; two long local parts may have the same short form."""
        wanted = account_folder(address.domain, address.local_part)
        candidates = [wanted, *(f"{wanted}~{n}" for n in range(2, _MOST_LOOKALIKES))]
        taken = await rows.taken_folders(tx, candidates)
        return next(candidate for candidate in candidates if candidate not in taken)
