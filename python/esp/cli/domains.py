"""`esp-cli domain` and `esp-cli alias`."""

from typing import Annotated

from cyclopts import App, Parameter

from esp.cli.console import Config, Json, as_json, fields, removed, run, table, written
from esp.core.address import Address, parse, parse_domain
from esp.core.errors import InvalidError, NotFoundError
from esp.server.administration import Administration
from esp.services.domains import alias_address
from esp.storage.postgres.directory import AliasRow, DomainRow

domain = App("domain", help="The domains that ESP takes mail for.")
alias = App("alias", help="Addresses that lead to others.")

InDomain = Annotated[str | None, Parameter("--domain", help="Only of this domain.")]


@domain.command(name="add")
def add_domain(
    name: str,
    /,
    *,
    alias_of: Annotated[str | None, Parameter(help="Make it another name of this domain.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Take mail for the domain NAME from now on."""
    added = run(config, lambda esp: esp.domains.add(name, alias_of))
    as_json(added) if json else print(f"added {added.name}")


@domain.command(name="list")
def list_domains(*, config: Config = None, json: Json = False) -> None:
    """List all domains."""
    found = run(config, lambda esp: esp.domains.listed())
    if json:
        return as_json(found)
    return table(
        "domain", "other name of", "accounts", "aliases", "enabled",
        rows=((d.name, d.alias_of, d.accounts, d.aliases, d.enabled) for d in found),
        empty="no domains; esp-cli domain add NAME",
    )  # fmt: skip


@domain.command(name="show")
def show_domain(name: str, /, *, config: Config = None, json: Json = False) -> None:
    """Show one domain."""
    found = run(config, lambda esp: esp.domains.find(name))
    if json:
        return as_json(found)
    return fields(
        [
            ("domain", found.name),
            ("other name of", found.alias_of),
            ("accounts", found.accounts),
            ("aliases", found.aliases),
            ("enabled", found.enabled),
            ("since", found.created_at),
        ]
    )


@domain.command(name="enable")
def enable_domain(name: str, /, *, config: Config = None, json: Json = False) -> None:
    """Take mail for the domain again, and let its accounts log in."""
    _switch(name, True, config, json)


@domain.command(name="disable")
def disable_domain(name: str, /, *, config: Config = None, json: Json = False) -> None:
    """Refuse the domain's mail and its accounts' logins; nothing is deleted."""
    _switch(name, False, config, json)


@domain.command(name="remove")
def remove_domain(name: str, /, *, config: Config = None, json: Json = False) -> None:
    """Remove a domain that has no accounts, with its aliases and other names."""
    run(config, lambda esp: esp.domains.remove(name))
    as_json({"removed": parse_domain(name)}) if json else print(f"removed {parse_domain(name)}")


def _switch(name: str, enabled: bool, config: Config, json: bool) -> None:
    async def work(esp: Administration) -> DomainRow:
        await esp.domains.set_enabled(name, enabled)
        return await esp.domains.find(name)

    changed = run(config, work)
    as_json(changed) if json else print(f"{'enabled' if enabled else 'disabled'} {changed.name}")


@alias.command(name="add")
def add_alias(
    address: str, targets: tuple[str, ...], /, *, config: Config = None, json: Json = False
) -> None:
    """Have mail for ADDRESS go to TARGETS.

    `@domain` is the catch-all of a domain: it takes what nobody else of the domain does. With `@other-domain` as
    the only target, the first becomes another name of the second. To keep a copy in an account of the same name,
    give it as one of its own targets.
    """
    if address.startswith("@") and len(targets) == 1 and targets[0].startswith("@"):
        return add_domain(address[1:], alias_of=targets[0][1:], config=config, json=json)
    if not targets:
        raise InvalidError("give at least one address that the alias leads to")
    where, to = alias_address(address), [parse(target) for target in targets]
    run(config, lambda esp: esp.aliases.add(where, to))
    if json:
        return as_json({"alias": written(where), "targets": [str(t) for t in to]})
    return print(f"added {written(where)}")


@alias.command(name="list")
def list_aliases(*, domain: InDomain = None, config: Config = None, json: Json = False) -> None:
    """List aliases, catch-alls and other names of domains."""

    async def work(esp: Administration) -> tuple[list[AliasRow], list[list[str]], list[DomainRow]]:
        aliases = await esp.aliases.listed(domain)
        return aliases, await esp.aliases.dangling(aliases), await esp.domains.listed()

    aliases, dangling, domains = run(config, work)
    names = [
        d for d in domains if d.alias_of is not None and (domain is None or domain in {d.name, d.alias_of})
    ]
    rows: list[tuple[str, list[str], bool, list[str]]] = [
        (written(Address(a.local_part, a.domain)), list(a.targets), a.enabled, left)
        for a, left in zip(aliases, dangling, strict=True)
    ]
    rows += [(f"@{d.name}", [f"@{d.alias_of}"], d.enabled, []) for d in names]
    if json:
        return as_json([{"alias": a, "targets": t, "enabled": e, "nobodys": n} for a, t, e, n in rows])
    return table(
        "alias", "leads to", "enabled", "of these nobody's",
        rows=((a, ", ".join(t), e, ", ".join(n)) for a, t, e, n in rows),
        empty="no aliases",
    )  # fmt: skip


@alias.command(name="remove")
def remove_alias(address: str, /, *, config: Config = None, json: Json = False) -> None:
    """Remove an alias, a catch-all (`@domain`) or another name of a domain (`@other-name`).

    Aliases that still lead to it are named.
    """
    where = alias_address(address)

    async def work(esp: Administration) -> list[Address]:
        if not where.local_part:
            try:
                named = await esp.domains.find(where.domain)
            except NotFoundError:
                named = None
            if named is not None and named.alias_of is not None:
                await esp.domains.remove(named.name)
                return []
        await esp.aliases.remove(where)
        return await esp.aliases.left_by(where)

    removed(written(where), run(config, work), json=json)
