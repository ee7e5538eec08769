"""`esp-cli message`."""

import sys
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter, validators

from esp.cli import moving
from esp.cli.console import Config, Json, as_json, fields, run, size, table
from esp.core.address import parse
from esp.core.errors import NotFoundError
from esp.core.mailbox import Mailbox, Uid
from esp.core.message import FIRST_KEYWORD_BIT, FLAG_NAMES, SystemFlag
from esp.native import decode_header, describe, index_message
from esp.server.administration import Administration
from esp.storage import maildir
from esp.storage.postgres import reports
from esp.storage.postgres.pool import Connection
from esp.storage.postgres.reports import MessageRow

message = App("message", help="Messages of an account's mailbox, by UID; import and export.")
moving.add_to(message)

# RFC 9051 §2.3.1.1: a UID is a non-zero unsigned 32-bit value.
UidArgument = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=0xFFFFFFFF))]
InMailbox = Annotated[str, Parameter("--mailbox", help="Its name.")]
_HEADER = 64 * 1024
"""Octets at the beginning of a file that a list reads for the fields it shows."""
_SHOWN = ("from", "to", "cc", "subject", "date", "message-id")


class Shown(msgspec.Struct, frozen=True):
    """A message for people and programs."""

    uid: Uid
    flags: tuple[str, ...]
    size: int
    internal_date: str
    header: dict[str, str]
    thread: int | None
    file: str
    """Path below `storage.path`."""
    preview: str | None = None


@message.command(name="list")
def list_messages(
    user: str,
    /,
    *,
    mailbox: InMailbox = "INBOX",
    limit: Annotated[
        int, Parameter(help="How many at most.", validator=validators.Number(gte=1, lte=0xFFFFFFFF))
    ] = 50,
    before: Annotated[
        int | None,
        Parameter(
            help="Only those with a smaller UID than this.",
            validator=validators.Number(gte=1, lte=0xFFFFFFFF),
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List the newest messages, newest first."""

    async def work(esp: Administration) -> list[Shown]:
        box = await _mailbox(esp, user, mailbox)
        async with esp.database.connection() as connection:
            rows = await reports.messages(connection, box, max(limit, 0), before=before)
        return [_shown(esp, box, row) for row in rows]

    found = run(config, work)
    if json:
        return as_json(found)
    return table(
        "uid", "date", "from", "subject", "size", "flags",
        rows=(
            (m.uid, m.internal_date[:16], m.header.get("from"), m.header.get("subject"), size(m.size),
             " ".join(m.flags))
            for m in found
        ),
        empty="no messages",
    )  # fmt: skip


@message.command
def show(
    user: str, uid: UidArgument, /, *, mailbox: InMailbox = "INBOX", config: Config = None, json: Json = False
) -> None:
    """Show a message: its main header fields, flags, and its text."""
    found, octets = run(config, lambda esp: _found(esp, user, mailbox, uid))
    if json:
        as_json(msgspec.structs.replace(found, preview=index_message(octets).preview))
        return
    fields(
        [
            *((name, value) for name, value in found.header.items()),
            ("uid", found.uid),
            ("arrived", found.internal_date),
            ("size", size(found.size)),
            ("flags", " ".join(found.flags)),
            ("structure", describe(octets).body.decode("utf-8", "replace")),
            ("file", found.file),
        ]
    )
    print()
    for line in _text(octets).splitlines():
        print("".join(c if c.isprintable() or c == "\t" else "�" for c in line))


@message.command
def raw(
    user: str, uid: UidArgument, /, *, mailbox: InMailbox = "INBOX", config: Config = None, json: Json = False
) -> None:
    """Write a message to standard output, octet by octet as it is kept; --json: where its file is."""
    found, octets = run(config, lambda esp: _found(esp, user, mailbox, uid))
    if json:
        return as_json(found)
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()
    return None


@message.command
def delete(
    user: str,
    uids: tuple[UidArgument, ...],
    /,
    *,
    mailbox: InMailbox = "INBOX",
    config: Config = None,
    json: Json = False,
) -> None:
    """Delete messages for good."""

    async def work(esp: Administration) -> None:
        box = await _mailbox(esp, user, mailbox)
        async with esp.database.connection() as connection:
            for uid in uids:
                await _row(connection, box, uid)
        await esp.messages.store(box.id, list(uids), "add", SystemFlag.DELETED)
        await esp.messages.expunge(box.id, list(uids))

    run(config, work)
    as_json({"deleted": list(uids)}) if json else print(f"deleted {len(uids)}")


async def _mailbox(esp: Administration, user: str, name: str) -> Mailbox:
    return await esp.mailboxes.find(await esp.accounts.principal(parse(user)), name)


async def _found(esp: Administration, user: str, mailbox: str, uid: int) -> tuple[Shown, bytes]:
    box, row = await _message(esp, user, mailbox, uid)
    found = _shown(esp, box, row)
    return found, _octets(esp, found.file)


async def _message(esp: Administration, user: str, name: str, uid: int) -> tuple[Mailbox, MessageRow]:
    box = await _mailbox(esp, user, name)
    async with esp.database.connection() as connection:
        return box, await _row(connection, box, uid)


async def _row(connection: Connection, box: Mailbox, uid: int) -> MessageRow:
    found = await reports.messages(connection, box, 1, uid=uid)
    if not found:
        raise NotFoundError(f"There is no message {uid} in {box.name}")
    return found[0]


def _shown(esp: Administration, box: Mailbox, row: MessageRow) -> Shown:
    folder = maildir.folder(box.home, box.directory)
    file = maildir.file_path(folder, row.file, row.file_flags)
    flags = [name for flag, name in FLAG_NAMES.items() if row.flags & flag]
    flags += [word for bit, word in enumerate(box.keywords) if row.flags >> (FIRST_KEYWORD_BIT + bit) & 1]
    return Shown(
        uid=row.uid,
        flags=tuple(flags),
        size=row.size,
        internal_date=row.internal_date.isoformat(sep=" ", timespec="seconds"),
        header=_header(esp.settings.storage.path / file),
        thread=row.thread,
        file=file,
    )


def _header(path: Path) -> dict[str, str]:
    """Return the fields that are shown, decoded; the first of each."""
    try:
        with path.open("rb") as file:
            octets = file.read(_HEADER)
    except OSError:
        return {}
    head = octets.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    found: dict[str, str] = {}
    for field in head.replace(b"\n ", b" ").replace(b"\n\t", b" ").split(b"\n"):
        name, colon, body = field.partition(b":")
        key = name.strip().lower().decode("ascii", "replace")
        if colon and key in _SHOWN and key not in found:
            found[key] = decode_header(body.strip())
    return found


def _octets(esp: Administration, file: str) -> bytes:
    try:
        return (esp.settings.storage.path / file).read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"The file {file} has just been renamed or removed; try again") from None


def _text(octets: bytes) -> str:
    parsed = BytesParser(policy=policy.default).parsebytes(octets)
    assert isinstance(parsed, EmailMessage)
    try:
        body = parsed.get_body(("plain", "html"))
        return str(body.get_content()) if body is not None else ""
    except (LookupError, ValueError, AttributeError):
        # An unknown charset, or a broken structure: the searchable text can always be had.
        return index_message(octets).preview
