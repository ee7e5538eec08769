"""`esp-cli mailbox`."""

import asyncio
from typing import Annotated

from cyclopts import App, Parameter

from esp.cli.acl import acl
from esp.cli.console import Config, Json, as_json, run, size, table
from esp.config.text import parse_duration
from esp.core.address import parse
from esp.core.errors import InvalidError, UnavailableError
from esp.core.mailbox import Mailbox, SpecialUse
from esp.server.administration import Administration
from esp.services.checking import Report, check
from esp.services.mailboxes import Listed
from esp.services.rebuilding import Rebuilt, rebuild
from esp.storage.maildir import account_folder
from esp.storage.quarantine import Held, empty, held

mailbox = App(
    "mailbox", help="The mailboxes of an account, who may use them, and whether files and database agree."
)
mailbox.command(acl)

Everyone = Annotated[bool, Parameter("--all", negative="", show_default=False, help="All accounts.")]


@mailbox.command(name="list")
def list_mailboxes(user: str, /, *, config: Config = None, json: Json = False) -> None:
    """List the mailboxes of the account USER."""

    async def work(esp: Administration) -> list[Listed]:
        return await esp.mailboxes.listed(await esp.accounts.principal(parse(user)))

    found = [listed for listed in run(config, work) if listed.mailbox is not None and listed.own]
    if json:
        return as_json(
            [{**_values(one.mailbox), "subscribed": one.subscribed} for one in found if one.mailbox]
        )
    return table(
        "mailbox", "messages", "unseen", "size", "use", "subscribed",
        rows=(
            (one.name, m.messages, m.unseen, size(m.octets), m.special_use and m.special_use.value, one.subscribed)
            for one in found if (m := one.mailbox)
        ),
        empty="no mailboxes",
    )  # fmt: skip


@mailbox.command
def create(
    user: str,
    name: str,
    /,
    *,
    use: Annotated[str | None, Parameter(help="Archive, Drafts, Junk, Sent or Trash (RFC 6154).")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make the mailbox NAME (levels parted by /) and subscribe to it."""
    special_use = _use(use)

    async def work(esp: Administration) -> Mailbox:
        principal = await esp.accounts.principal(parse(user))
        made = await esp.mailboxes.create(principal, name, special_use)
        await esp.mailboxes.subscribe(principal, made.name)
        return made

    made = run(config, work)
    as_json(_values(made)) if json else print(f"created {made.name}")


@mailbox.command
def rename(user: str, name: str, new_name: str, /, *, config: Config = None, json: Json = False) -> None:
    """Rename the mailbox NAME and all below it; renaming INBOX moves its messages."""

    async def work(esp: Administration) -> Mailbox:
        principal = await esp.accounts.principal(parse(user))
        await esp.mailboxes.rename(principal, name, new_name)
        return await esp.mailboxes.find(principal, new_name)

    renamed = run(config, work)
    as_json(_values(renamed)) if json else print(f"renamed {name} to {renamed.name}")


@mailbox.command
def delete(user: str, name: str, /, *, config: Config = None, json: Json = False) -> None:
    """Delete the mailbox NAME with its messages; mailboxes below it stay."""

    async def work(esp: Administration) -> None:
        await esp.mailboxes.delete(await esp.accounts.principal(parse(user)), name)

    run(config, work)
    as_json({"deleted": name}) if json else print(f"deleted {name}")


@mailbox.command(name="check")
def check_mailboxes(
    user: str | None = None,
    /,
    *,
    everyone: Everyone = False,
    fix: Annotated[bool, Parameter(negative="", show_default=False, help="Mend what differs.")] = False,
    adopt: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="With --fix: make messages of files that have none, in place of putting them aside.",
        ),
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Compare files with the database, also while ESP runs; exit 1 when something differs and was not mended."""
    _one_or_all(user, everyone)

    async def work(esp: Administration) -> Report:
        if fix and not esp.whole:
            # Messages whose files are still to be written would be expunged.
            raise UnavailableError("A journal was not replayed; until it is, nothing can be mended")
        folder = (await esp.accounts.find(parse(user))).maildir if user else None
        root = esp.settings.storage.path
        return await check(esp.database, esp.store, root, account=folder, fix=fix, adopt=adopt)

    report = run(config, work)
    if json:
        as_json(report)
    else:
        table(
            "account", "mailbox", "uid", "finding", "detail", "mended",
            rows=((f.account, f.mailbox, f.uid, f.kind.value, f.detail, f.mended) for f in report.findings),
            empty="nothing differs",
        )  # fmt: skip
        print(f"{report.accounts} accounts, {report.mailboxes} mailboxes, {report.messages} messages checked")
    if any(not finding.mended for finding in report.findings):
        raise SystemExit(1)


@mailbox.command(name="rebuild")
def rebuild_mailboxes(
    user: str | None = None, /, *, everyone: Everyone = False, config: Config = None, json: Json = False
) -> None:
    """Make rows for mailboxes and messages that are only in files, as after the loss of the database.

    Accounts come back without a password: set one with `esp-cli user password`.
    """
    _one_or_all(user, everyone)
    folder = None
    if user:
        address = parse(user).folded()
        folder = account_folder(address.domain, address.local_part)

    async def work(esp: Administration) -> tuple[Rebuilt, ...]:
        done = await rebuild(esp.database, esp.store, esp.settings.storage.path, account=folder)
        await esp.accounts.announce()
        return done

    done = run(config, work)
    if json:
        return as_json(done)
    return table(
        "account", "mailbox", "messages", "made",
        rows=((r.account, r.mailbox, r.messages, r.made) for r in done),
        empty="nothing was missing",
    )  # fmt: skip


quarantine = App(
    "quarantine", help="Files that belong to no message, put aside by the janitor and `check --fix`."
)
mailbox.command(quarantine)


@quarantine.command(name="list")
def list_quarantine(*, config: Config = None, json: Json = False) -> None:
    """List what is in quarantine."""

    async def work(esp: Administration) -> list[Held]:
        return await asyncio.to_thread(lambda: list(held(esp.settings.storage.path)))

    found = run(config, work)
    if json:
        return as_json(found)
    return table(
        "since",
        "size",
        "file",
        rows=((one.since, size(one.size), one.path) for one in found),
        empty="nothing",
    )


@quarantine.command(name="delete")
def delete_quarantine(
    *,
    older: Annotated[str, Parameter(help="Only what has been there for so long, as 7d; 0 for everything.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Delete files in quarantine for good."""
    try:
        seconds = parse_duration(older)
    except ValueError:
        raise InvalidError(f"{older!r} is no duration: write 7d, 12h, or 0") from None

    async def work(esp: Administration) -> int:
        return await asyncio.to_thread(empty, esp.settings.storage.path, seconds)

    count = run(config, work)
    as_json({"deleted": count}) if json else print(f"deleted {count} files")


def _one_or_all(user: str | None, everyone: bool) -> None:
    if (user is None) != everyone:
        raise InvalidError("give either one account or --all")


def _use(text: str | None) -> SpecialUse | None:
    if text is None:
        return None
    try:
        return SpecialUse("\\" + text.removeprefix("\\").capitalize())
    except ValueError:
        raise InvalidError(f"{text!r} is none of Archive, Drafts, Junk, Sent, Trash") from None


def _values(one: Mailbox) -> dict[str, object]:
    return {
        "id": one.id,
        "name": one.name,
        "messages": one.messages,
        "unseen": one.unseen,
        "octets": one.octets,
        "uidvalidity": one.uidvalidity,
        "uidnext": one.uidnext,
        "highest_modseq": one.highest_modseq,
        "special_use": one.special_use,
    }
