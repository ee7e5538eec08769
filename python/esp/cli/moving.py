"""`esp-cli message import` and `export`."""

import ssl
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from esp.cli.console import Config, Json, as_json, run, size, table
from esp.core.address import parse
from esp.core.errors import InvalidError
from esp.core.mailbox_name import canonical
from esp.remote.imap_client import ImapClient, Server, Tls
from esp.server.administration import Administration, moving
from esp.services.exporting import Exporting, Format, Written
from esp.services.file_sources import open_files
from esp.services.imap_source import CONNECTIONS, ImapSource
from esp.services.import_sources import Folder, Source
from esp.services.importing import Brought, Importing, Names, Summary

TIMEOUT = 120.0
"""Seconds that another server may be silent."""
_PORTS = {"imap": 143, "imaps": 993}


class Check(StrEnum):
    """What is required of the other server's TLS."""

    VERIFY = "verify"
    UNVERIFIED = "unverified"
    NONE = "none"


def add_to(message: App) -> None:
    """Put the commands under `esp-cli message`."""
    message.command(import_messages, name="import")
    message.command(export_messages, name="export")


def import_messages(
    user: str,
    /,
    *,
    source: Annotated[
        str,
        Parameter(
            "--from",
            help="A Maildir, an mbox, a folder of mboxes, or imaps://USER@HOST[:PORT] (imap:// with STARTTLS).",
        ),
    ],
    format: Annotated[
        Literal["maildir", "mboxrd", "mboxo"] | None,
        Parameter(help="Of files. Default: what is there; an mbox as mboxrd."),
    ] = None,
    mailbox: Annotated[
        tuple[str, ...], Parameter(negative="", help="Only this mailbox, by its name here; may be repeated.")
    ] = (),
    exclude: Annotated[
        tuple[str, ...], Parameter(negative="", help="Not this mailbox, by its name here; may be repeated.")
    ] = (),
    rename: Annotated[
        tuple[str, ...],
        Parameter(
            negative="", help="OLD=NEW: bring mailbox OLD, by its name here, into NEW; may be repeated."
        ),
    ] = (),
    into: Annotated[str, Parameter(help="A mailbox below which everything goes.")] = "",
    password_stdin: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Read the password there from standard input."),
    ] = False,
    password_file: Annotated[Path | None, Parameter(help="Read the password there from this file.")] = None,
    tls: Annotated[
        Check,
        Parameter(help="unverified: whatever certificate the server has. none: not even that."),
    ] = Check.VERIFY,
    ca_file: Annotated[
        Path | None, Parameter(help="Certificates to trust, in place of the system's.")
    ] = None,
    connections: Annotated[int, Parameter(help="To the other server, at once.")] = CONNECTIONS,
    virtual: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Also mailboxes that only show others' messages, as Gmail's All Mail.",
        ),
    ] = False,
    afresh: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Bring again what earlier runs have brought."),
    ] = False,
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Only list what would go where.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Bring mail with its folders, flags and dates into the account USER.

    May be stopped and run again at any time: what was brought is not brought twice. Exit 1 when something could not
    be brought, which is listed at the end.
    """
    names = Names(
        frozenset(map(canonical, mailbox)), frozenset(map(canonical, exclude)), _renamed(rename), into
    )
    open_source = _opener(
        source, format, lambda: _password(password_stdin, password_file), tls, ca_file,
        connections=connections, virtual=virtual,
    )  # fmt: skip
    with _Progress("Importing", quiet=json) as watch:

        async def work(esp: Administration) -> Summary | list[tuple[Folder, str]]:
            principal = await esp.accounts.principal(parse(user))
            opened = open_source(esp)
            try:
                async with moving(esp) as dispatch:
                    importing = Importing(esp.database, esp.mailboxes, esp.messages, dispatch)
                    if dry_run:
                        return await importing.plan(principal, opened, names)
                    return await importing.run(principal, opened, names, watch, afresh=afresh)
            finally:
                await opened.close()

        done = run(config, work)
    if isinstance(done, list):
        return _planned(done, json)
    as_json(done) if json else _report(done)
    if not done.complete:
        raise SystemExit(1)
    return None


def export_messages(
    user: str,
    /,
    *,
    to: Annotated[
        Path, Parameter(help="A folder that is empty, or made now, or has an export of this account.")
    ],
    format: Annotated[Format, Parameter(help="A Maildir, or a folder of mboxes.")] = Format.MAILDIR,
    mailbox: Annotated[tuple[str, ...], Parameter(negative="", help="Only this one; may be repeated.")] = (),
    config: Config = None,
    json: Json = False,
) -> None:
    """Write the mail of the account USER as files for other programs.

    May be stopped and run again: a Maildir then gets what is new, mboxes that are whole are left alone.
    """
    with _Progress("Exporting", quiet=json) as watch:

        async def work(esp: Administration) -> tuple[Written, ...]:
            principal = await esp.accounts.principal(parse(user))
            exporting = Exporting(esp.database, esp.mailboxes, esp.store)
            only = frozenset(map(canonical, mailbox))
            return await exporting.run(principal, to, format, only, watch)

        done = run(config, work)
    if json:
        return as_json({"target": str(to), "mailboxes": done})
    inexact = sum(one.inexact for one in done)
    if inexact:
        print(
            f"{inexact} messages are not as they were to the octet: an mbox cannot hold them", file=sys.stderr
        )
    return print(
        f"exported {sum(one.messages for one in done)} messages ({size(sum(one.octets for one in done))}),"
        f" {sum(one.present for one in done)} there before"
    )


def _opener(
    source: str,
    kind: str | None,
    password: Callable[[], str],
    tls: Check,
    ca_file: Path | None,
    *,
    connections: int,
    virtual: bool,
) -> Callable[[Administration], Source]:
    if "://" not in source:
        return lambda esp: open_files(Path(source), kind, esp.store.spool)
    url = urlsplit(source)
    try:
        port = url.port or _PORTS.get(url.scheme, 0)
    except ValueError:
        port = 0
    if url.scheme not in _PORTS or not url.hostname or not url.username or not port or url.password:
        raise InvalidError(f"{source!r} is none of imaps://USER@HOST[:PORT] and imap://USER@HOST[:PORT]")
    how = {"imaps": Tls.IMPLICIT, "imap": Tls.STARTTLS}[url.scheme]
    server = Server(
        url.hostname,
        port,
        Tls.NONE if tls is Check.NONE else how,
        None if tls is Check.NONE else _context(tls, ca_file),
    )
    user, secret = unquote(url.username), password()

    def opened(esp: Administration) -> Source:
        async def connect() -> ImapClient:
            client = await ImapClient.connect(server, timeout=TIMEOUT, spool=esp.store.spool)
            try:
                await client.log_in(user, secret)
            except BaseException:
                await client.close()
                raise
            return client

        name = f"imap://{user}@{url.hostname}:{port}"
        return ImapSource(name, connect, connections=max(connections, 1), virtual=virtual)

    return opened


def _context(tls: Check, ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidError(f"{ca_file}: no certificates can be read: {error}") from error
    if tls is Check.UNVERIFIED:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _password(from_stdin: bool, file: Path | None) -> str:
    if (file is None) != from_stdin:
        raise InvalidError("give the password with --password-stdin or --password-file FILE")
    text = sys.stdin.readline() if file is None else _first_line(file)
    if not (found := text.rstrip("\r\n")):
        raise InvalidError("there is no password in it")
    return found


def _first_line(file: Path) -> str:
    try:
        return file.read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"{file}: {error}") from error


def _renamed(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        old, sign, new = pair.partition("=")
        if not (old and sign and new):
            raise InvalidError(f"{pair!r} is not OLD=NEW")
        found[canonical(old)] = canonical(new)
    return found


def _planned(planned: list[tuple[Folder, str]], json: bool) -> None:
    if json:
        return as_json(
            [{"folder": folder.name, "mailbox": name, "size": folder.size} for folder, name in planned]
        )
    return table("folder", "mailbox", rows=((folder.name, name) for folder, name in planned), empty="nothing")


def _report(done: Summary) -> None:
    imported, present = sum(one.imported for one in done.folders), sum(one.present for one in done.folders)
    octets = size(sum(one.octets for one in done.folders))
    print(
        f"imported {imported} messages ({octets}), {present} were there before, {len(done.failures)} failed"
    )
    if dropped := sum(one.keywords_dropped for one in done.folders):
        print(f"esp-cli: {dropped} keywords found no place: a mailbox can have 55", file=sys.stderr)
    for failure in done.failures:
        what = f"{failure.folder} {failure.item}".strip()
        print(f"esp-cli: {what}: {failure.reason}", file=sys.stderr)
    if done.stopped is not None:
        print(f"esp-cli: stopped: {done.stopped}; run it again to go on", file=sys.stderr)


class _Progress:
    """A bar on a terminal, otherwise a line for each mailbox; nothing with JSON."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[messages]} messages, {task.fields[octets]}"), TimeRemainingColumn(),
            console=Console(stderr=True), disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._quiet = quiet or sys.stderr.isatty()
        self._what = what
        self._task: TaskID | None = None
        self._total = self._messages = self._octets = 0

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task(self._what, total=None, messages=0, octets=size(0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, folder: str, size: int) -> None:
        """Add to what is to be done."""
        assert self._task is not None
        self._total += size
        self._bar.update(self._task, total=self._total, description=f"{self._what} {folder}")

    def advance(self, weight: int, messages: int, octets: int) -> None:
        """Count as done."""
        assert self._task is not None
        self._octets += octets
        self._messages += messages
        self._bar.update(self._task, advance=weight, messages=self._messages, octets=size(self._octets))

    def end(self, done: Brought | Written) -> None:
        """A mailbox is done."""
        if self._quiet:
            return
        count = done.imported if isinstance(done, Brought) else done.messages
        print(f"{done.mailbox}: {count} messages ({size(done.octets)}), {done.present} there before")
