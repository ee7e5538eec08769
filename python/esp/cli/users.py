"""`esp-cli user`."""

import asyncio
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from esp.cli.console import (
    Config,
    Json,
    PasswordStdin,
    as_json,
    fields,
    limit,
    password,
    removed,
    run,
    size,
    table,
)
from esp.core.address import Address, parse
from esp.core.errors import AlreadyExistsError, EspError, InvalidError, UnavailableError
from esp.core.quota import Quota
from esp.server.administration import Administration
from esp.storage.postgres.directory import AccountRow

AT_ONCE = 16
"""Accounts that an import makes at the same time: hashing keeps the cores busy, the rest the disk and the rows."""
HEADINGS = frozenset(
    {
        "address",
        "e-mail",
        "e-mail address",
        "email",
        "email address",
        "login",
        "mail",
        "user",
        "user name",
        "username",
    }
)
"""Names that the first cell of an import's header line may have; any other first cell is an account's address."""

user = App("user", help="Accounts: who has mailboxes and may log in.")


class Failure(msgspec.Struct, frozen=True):
    """A line of an import for which no account was made."""

    line: int
    email: str
    reason: str


class Line(msgspec.Struct, frozen=True):
    """A line to import."""

    number: int
    email: str
    password: str
    quota: str


@user.command
def add(
    address: str,
    /,
    *,
    password_stdin: PasswordStdin = False,
    quota: Annotated[str | None, Parameter(help="Room for mail: 500MiB, 1GiB. Default: no limit.")] = None,
    admin: Annotated[bool, Parameter(negative="", show_default=False, help="May administer ESP.")] = False,
    shared: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="A shared account: others use its mailboxes, nobody logs in.",
        ),
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make an account with its mailboxes; it receives at once."""
    who, room = parse(address), limit(quota)
    secret = None if shared else password(password_stdin)
    made = run(config, lambda esp: esp.accounts.create(who, secret, quota=room, admin=admin, shared=shared))
    as_json(made) if json else print(f"added {made.address}")


@user.command(name="list")
def list_users(
    *,
    domain: Annotated[str | None, Parameter(help="Only of this domain.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List accounts."""
    found = run(config, lambda esp: esp.accounts.listed(domain))
    if json:
        return as_json(found)
    return table(
        "address", "messages", "used", "quota", "full", "admin", "shared", "enabled",
        rows=(
            (
                a.address, a.quota.messages, size(a.quota.used), size(a.quota.limit), _full(a.quota), a.admin,
                a.shared, a.enabled,
            )
            for a in found
        ),
        empty="no accounts; esp-cli user add ADDRESS",
    )  # fmt: skip


@user.command
def show(address: str, /, *, config: Config = None, json: Json = False) -> None:
    """Show one account."""
    found = run(config, lambda esp: esp.accounts.find(parse(address)))
    if json:
        return as_json(found)
    return fields(
        [
            ("address", found.address),
            ("folder", found.maildir),
            ("messages", found.quota.messages),
            ("used", size(found.quota.used)),
            ("quota", size(found.quota.limit)),
            ("full", _full(found.quota)),
            ("most messages", found.quota.message_limit if found.quota.message_limit is not None else "none"),
            ("admin", found.admin),
            ("shared", found.shared),
            ("enabled", found.enabled),
            ("can log in", found.has_password and found.enabled),
            ("since", found.created_at),
        ]
    )


@user.command(name="password")
def set_password(
    address: str, /, *, password_stdin: PasswordStdin = False, config: Config = None, json: Json = False
) -> None:
    """Set another password; the old one is refused at once."""
    who, secret = parse(address), password(password_stdin)

    async def work(esp: Administration) -> AccountRow:
        await esp.accounts.set_password(who, secret)
        return await esp.accounts.find(who)

    changed = run(config, work)
    as_json(changed) if json else print(f"{changed.address} has a new password")


@user.command(name="quota")
def set_quota(
    address: str,
    room: Annotated[str, Parameter(help="500MiB, 1GiB, or none.")],
    /,
    *,
    messages: Annotated[int | None, Parameter(help="Most messages; default: no limit.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Limit what the account keeps; when there is no room, mail is put off and not lost."""
    who, octets = parse(address), limit(room)
    if messages is not None and messages < 0:
        raise InvalidError("--messages is not negative")

    async def work(esp: Administration) -> AccountRow:
        await esp.accounts.set_quota(who, octets, messages)
        return await esp.accounts.find(who)

    changed = run(config, work)
    if json:
        return as_json(changed)
    return print(f"{changed.address}: {size(changed.quota.used)} used of {size(changed.quota.limit)}")


@user.command
def enable(address: str, /, *, config: Config = None, json: Json = False) -> None:
    """Let the account receive and log in again."""
    _switch(address, True, config, json)


@user.command
def disable(address: str, /, *, config: Config = None, json: Json = False) -> None:
    """Refuse the account's mail and logins; nothing is deleted."""
    _switch(address, False, config, json)


@user.command
def remove(address: str, /, *, config: Config = None, json: Json = False) -> None:
    """Delete an account with all its mail, for good; aliases stay, and those that still lead to it are named."""
    who = parse(address).folded()

    async def work(esp: Administration) -> list[Address]:
        await esp.accounts.remove(who)
        return await esp.aliases.left_by(who)

    removed(str(who), run(config, work), json=json)


@user.command(name="import")
def import_users(
    file: Annotated[
        Path, Parameter(help="CSV: email,password[,quota]; a line of headings (email …) may come first.")
    ],
    /,
    *,
    add_domains: Annotated[
        bool, Parameter(negative="", show_default=False, help="Make domains that are missing.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make many accounts; those that are there already, and lines that are wrong, are listed at the end."""
    lines = list(_lines(file))
    created, failures = run(config, lambda esp: _imported(esp, lines, add_domains=add_domains))
    if json:
        as_json({"created": created, "failed": failures})
    else:
        print(f"added {created} of {len(lines)}")
    for failure in [] if json else failures:
        what = f"{failure.email}: {failure.reason}" if failure.email else "no address"
        print(f"esp-cli: {file}:{failure.line}: {what}", file=sys.stderr)
    if failures:
        raise SystemExit(1)


def _lines(file: Path) -> Iterator[Line]:
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidError(f"{file} is not UTF-8") from None
    reader = csv.reader(text.splitlines())
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells) and len(cells) <= 1:
            continue  # an empty line; a line of commas alone is an error
        if reader.line_num == 1 and cells[0].lower() in HEADINGS:
            continue
        # The password is taken literally: blanks may be part of it.
        yield Line(
            reader.line_num, cells[0], row[1] if len(row) > 1 else "", cells[2] if len(cells) > 2 else ""
        )


async def _imported(
    esp: Administration, lines: list[Line], *, add_domains: bool
) -> tuple[int, list[Failure]]:
    failures: list[Failure] = []
    created = 0
    domains: dict[str, asyncio.Task[None]] = {}
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(),
    )  # fmt: skip

    async def make(line: Line) -> None:
        nonlocal created
        try:
            address = parse(line.email)
            if add_domains:
                if address.domain not in domains:
                    domains[address.domain] = asyncio.create_task(_have_domain(esp, address.domain))
                await domains[address.domain]
            await esp.accounts.create(address, line.password, quota=limit(line.quota), announce=False)
            created += 1
        except UnavailableError:
            raise
        except EspError as error:
            failures.append(Failure(line.number, line.email, error.detail))

    with progress:
        bar = progress.add_task("Accounts", total=len(lines))
        waiting = iter(lines)

        async def work() -> None:
            for line in waiting:
                await make(line)
                progress.advance(bar)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(work())
        except* UnavailableError as several:
            raise several.exceptions[0] from None
        finally:
            await esp.accounts.announce()
    return created, sorted(failures, key=lambda failure: failure.line)


async def _have_domain(esp: Administration, name: str) -> None:
    try:
        await esp.domains.add(name)
    except AlreadyExistsError:
        return


def _full(quota: Quota) -> str:
    return "" if quota.percent is None else f"{quota.percent} %"


def _switch(address: str, enabled: bool, config: Config, json: bool) -> None:
    who = parse(address)

    async def work(esp: Administration) -> AccountRow:
        await esp.accounts.set_enabled(who, enabled)
        return await esp.accounts.find(who)

    changed = run(config, work)
    as_json(changed) if json else print(f"{'enabled' if enabled else 'disabled'} {changed.address}")
