"""Domains and aliases: which names are ours, and where they lead.

In: names as an administrator writes them. Out: rows, and a notification to every process on `esp:directory`.
`services.directory` follows aliases.
"""

from collections.abc import Sequence

from esp.core.address import Address, parse, parse_domain
from esp.core.errors import DeniedError, InvalidError, NotFoundError
from esp.services.announcing import Announcer
from esp.services.directory import MAX_ADDRESSES, means, nobodys
from esp.storage.postgres import directory as rows
from esp.storage.postgres.directory import AliasRow, DomainRow
from esp.storage.postgres.pool import Database


class Domains:
    """Creates, lists, changes and removes domains."""

    def __init__(self, database: Database, notifier: Announcer) -> None:
        self._database = database
        self._notifier = notifier

    async def add(self, name: str, alias_of: str | None = None) -> DomainRow:
        """Create a domain, or another name for one: every address of the one is then an address of the other.

        Raises:
            AddressSyntaxError: the name is not a domain.
            AlreadyExistsError: the name is taken.
            NotFoundError: there is no domain `alias_of`.
            InvalidError: `alias_of` is itself only another name.
        """
        name = _domain(name)
        async with self._database.transaction() as tx:
            if alias_of is None:
                await rows.add_domain(tx, name)
            else:
                target = await rows.domain(tx, _domain(alias_of))
                if target.alias_of is not None:
                    raise InvalidError(f"{target.name} is itself another name of {target.alias_of}")
                await rows.add_domain(tx, name, target.id)
            added = await rows.domain(tx, name)
        await self._notifier.publish_directory()
        return added

    async def find(self, name: str) -> DomainRow:
        """Return one domain.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.connection() as connection:
            return await rows.domain(connection, _domain(name))

    async def listed(self) -> list[DomainRow]:
        """Return all domains by name."""
        async with self._database.connection() as connection:
            return await rows.domains(connection)

    async def set_enabled(self, name: str, enabled: bool) -> None:
        """Enable or disable a domain with all its accounts.

        Raises:
            NotFoundError: there is no such domain.
        """
        async with self._database.connection() as connection:
            await rows.set_domain_enabled(connection, _domain(name), enabled)
        await self._notifier.publish_directory()

    async def remove(self, name: str) -> None:
        """Delete a domain with its aliases and other names.

        Raises:
            NotFoundError: there is no such domain.
            DeniedError: it still has accounts.
        """
        async with self._database.transaction() as tx:
            found = await rows.domain(tx, _domain(name))
            if found.accounts:
                raise DeniedError(
                    f"Domain {found.name} still has {found.accounts} accounts: remove them first"
                )
            await rows.remove_domain(tx, found.id)
        await self._notifier.publish_directory()


class Aliases:
    """Creates, lists and removes aliases."""

    def __init__(self, database: Database, notifier: Announcer, *, recipient_delimiter: str = "+") -> None:
        self._database = database
        self._notifier = notifier
        self._delimiter = recipient_delimiter

    async def add(self, address: Address, targets: Sequence[Address]) -> None:
        """Create an alias; an empty local part is the catch-all of its domain.

        Raises:
            NotFoundError: the domain is not ours, or a target is in one of our domains and nobody takes it.
            InvalidError: the domain is only another name of one, or there are no targets, or too many.
            AlreadyExistsError: there is an alias of this name.
        """
        texts = list(dict.fromkeys(str(target) for target in targets))
        if not 1 <= len(texts) <= MAX_ADDRESSES - 1:
            raise InvalidError(f"An alias leads to 1 to {MAX_ADDRESSES - 1} addresses")
        address = address.folded()
        async with self._database.transaction() as tx:
            domain = await rows.domain(tx, address.domain)
            if domain.alias_of is not None:
                raise InvalidError(
                    f"{domain.name} is another name of {domain.alias_of}: make the alias there"
                )
            # Mail to the alias would be refused, or with other targets silently not reach this one.
            key = (domain.name, address.local_part)
            if missing := (await nobodys(tx, {key: targets}, self._delimiter)).get(key):
                names = ", ".join(map(str, missing))
                raise NotFoundError(f"There is no account or alias {names}: make it first")
            await rows.add_alias(tx, domain.id, address.local_part, texts)
        await self._notifier.publish_directory()

    async def listed(self, domain: str | None = None) -> list[AliasRow]:
        """Return the aliases of a domain, or all, by address.

        Raises:
            NotFoundError: there is no such domain.
        """
        async with self._database.connection() as connection:
            if domain is not None:
                domain = (await rows.domain(connection, _domain(domain))).name
            return await rows.aliases(connection, domain)

    async def dangling(self, aliases: Sequence[AliasRow]) -> list[list[str]]:
        """Return for each alias which of its targets are in our domains but are taken by nobody (any more).

        Mail to an alias without any other target is refused; otherwise it reaches the other targets.
        """
        leads = {(alias.domain, alias.local_part): [*map(parse, alias.targets)] for alias in aliases}
        async with self._database.connection() as connection:
            left = await nobodys(connection, leads, self._delimiter)
        return [[str(t) for t in left.get((alias.domain, alias.local_part), [])] for alias in aliases]

    async def left_by(self, removed: Address) -> list[Address]:
        """Return the aliases that lead to `removed`, a former account or alias whose address nobody else takes."""
        removed = removed.folded()
        async with self._database.connection() as connection:
            names = await rows.names_of_domain(connection, removed.domain)
            leads = {
                (alias.domain, alias.local_part): [
                    target
                    for target in map(parse, alias.targets)
                    if target.domain in names and means(target, removed, self._delimiter)
                ]
                for alias in await rows.aliases_into(connection, names)
            }
            left = await nobodys(connection, leads, self._delimiter)
        return [Address(local_part, domain) for domain, local_part in left]

    async def remove(self, address: Address) -> None:
        """Delete an alias.

        Raises:
            NotFoundError: there is none.
        """
        address = address.folded()
        async with self._database.connection() as connection:
            await rows.remove_alias(connection, address.local_part, address.domain)
        await self._notifier.publish_directory()


def alias_address(text: str) -> Address:
    """Return the address of an alias as it is written: `local-part@domain`, or `@domain` for a catch-all.

    Raises:
        AddressSyntaxError: it is neither.
    """
    if text.startswith("@"):
        return Address("", _domain(text[1:]))
    return parse(text)


def _domain(name: str) -> str:
    domain = parse_domain(name)
    if domain.startswith("["):
        raise InvalidError("An address literal is no domain that can be hosted")
    return domain
