"""Commands about mailbox names (RFC 3501 §6.3.3-10, RFC 2342, RFC 5819, RFC 6154, RFC 8440, RFC 9590)."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from esp.core import mailbox_name
from esp.core.errors import DeniedError, NotFoundError
from esp.core.mailbox import DELIMITER, SpecialUse
from esp.core.namespace import OTHER_USERS, SHARED
from esp.core.rights import Rights
from esp.imap.annotating import long_entries, metadata_line
from esp.imap.enabling import enable_condstore
from esp.imap.listing import list_lines, name_line, write_list
from esp.imap.responses import Refusal
from esp.imap.sharing import my_rights_line
from esp.native import (
    Command,
    CreateArguments,
    ListArguments,
    MailboxArguments,
    RenameArguments,
    StatusArguments,
    encode_mailbox,
)
from esp.services.access import ANY_RIGHT
from esp.services.mailboxes import Listed, Status

if TYPE_CHECKING:
    from esp.imap.session import Session

_COUNTED = frozenset({"RECENT", "DELETED", "DELETED-STORAGE"})


async def create(session: "Session", command: Command) -> str:
    """CREATE, with CREATE-SPECIAL-USE (RFC 6154 §3)."""
    arguments = command.arguments
    assert isinstance(arguments, CreateArguments)
    use: SpecialUse | None = None
    if arguments.special_use:
        known = {special_use.lower(): special_use for special_use in SpecialUse}
        if len(arguments.special_use) > 1 or arguments.special_use[0].lower() not in known:
            raise Refusal("NO [USEATTR] A mailbox has one special use, and not this one")
        use = known[arguments.special_use[0].lower()]
    mailbox = await session.door.mailboxes.create(session.owner, arguments.mailbox, use)
    await _write_normalized(session, arguments.mailbox)
    return f"OK [MAILBOXID ({mailbox.object_id})] CREATE completed"


async def delete(session: "Session", command: Command) -> str:
    """DELETE; if the client has selected that mailbox, it is closed first, so that the client is not thrown out."""
    arguments = command.arguments
    assert isinstance(arguments, MailboxArguments)
    with suppress(NotFoundError, DeniedError):  # the service raises the right error below
        reached = await session.door.mailboxes.reach(session.owner, arguments.mailbox, Rights.DELETE)
        if session.selected is not None and session.selected.opened.mailbox == reached.mailbox.id:
            session.select(None)
    await session.door.mailboxes.delete(session.owner, arguments.mailbox)
    canonical = mailbox_name.canonical(arguments.mailbox)
    if session.imap4rev2 and canonical != arguments.mailbox:
        # RFC 9051 §6.3.5: the canonical name, if it is not the one that the client wrote.
        gone = Listed(name=canonical, mailbox=None, subscribed=False, has_children=False)
        utf8 = session.connection.reader.utf8
        session.connection.write(name_line(gone, utf8=utf8, old_name=arguments.mailbox))
    return "OK DELETE completed"


async def rename(session: "Session", command: Command) -> str:
    """RENAME."""
    arguments = command.arguments
    assert isinstance(arguments, RenameArguments)
    await session.door.mailboxes.rename(session.owner, arguments.mailbox, arguments.new_name)
    await session.refresh(ask=True)  # INBOX may be selected, and is empty now
    await _write_normalized(session, arguments.new_name, old_name=arguments.mailbox)
    return "OK RENAME completed"


async def subscribe(session: "Session", command: Command) -> str:
    """SUBSCRIBE."""
    arguments = command.arguments
    assert isinstance(arguments, MailboxArguments)
    await session.door.mailboxes.subscribe(session.owner, arguments.mailbox)
    return "OK SUBSCRIBE completed"


async def unsubscribe(session: "Session", command: Command) -> str:
    """UNSUBSCRIBE."""
    arguments = command.arguments
    assert isinstance(arguments, MailboxArguments)
    await session.door.mailboxes.unsubscribe(session.owner, arguments.mailbox)
    return "OK UNSUBSCRIBE completed"


async def list_names(session: "Session", command: Command) -> str:
    """LIST and LSUB."""
    arguments = command.arguments
    assert isinstance(arguments, ListArguments)
    if "HIGHESTMODSEQ" in arguments.status:
        enable_condstore(session)
    listed = await session.door.mailboxes.listed(session.owner)
    utf8 = session.connection.reader.utf8
    lines = list(
        list_lines(arguments, listed, lsub=command.name == "LSUB", utf8=utf8, imap4rev2=session.imap4rev2)
    )
    existing = [name for name, _ in lines if name is not None and name.mailbox is not None]
    more: dict[str, bytes] = {}
    longest = 0
    if "MYRIGHTS" in arguments.returns:
        for name in existing:
            if name.rights & ANY_RIGHT:
                more[name.name] = my_rights_line(session, name.name, name.rights)
    if arguments.metadata is not None:
        annotations = await session.door.annotations.of_listed(session.owner, existing)
        for name in existing:
            if name.mailbox is not None and (values := annotations.get(name.mailbox.id)) is not None:
                line, left_out = metadata_line(session, name.name, values, arguments.metadata)
                more[name.name] = more.get(name.name, b"") + line
                longest = max(longest, left_out)
    if arguments.status:
        # RFC 5819 §2: no STATUS for a mailbox that cannot be selected.
        readable = [name for name in existing if Rights.READ in name.rights]
        counted = not _COUNTED.isdisjoint(arguments.status)
        statuses = await session.door.mailboxes.statuses(readable) if counted else {}
        for name in readable:
            assert name.mailbox is not None
            status = statuses.get(name.mailbox.id) or Status(name.name, name.mailbox)
            more[name.name] = more.get(name.name, b"") + _status_line(session, status, arguments.status)
    # Other responses that were asked for come after the LIST response of their mailbox.
    session.connection.write(
        b"".join(line + (more.get(name.name, b"") if name is not None else b"") for name, line in lines)
    )
    return f"OK {long_entries(longest)}{command.name} completed"


async def namespace(session: "Session", command: Command) -> str:
    """NAMESPACE (RFC 2342): the client's own, what other users share, what belongs to shared accounts."""
    spaces = " ".join(
        f'(("{prefix}" "{DELIMITER}"))' for prefix in ("", OTHER_USERS + DELIMITER, SHARED + DELIMITER)
    )
    session.untagged(f"NAMESPACE {spaces}")
    return "OK NAMESPACE completed"


async def status(session: "Session", command: Command) -> str:
    """STATUS."""
    arguments = command.arguments
    assert isinstance(arguments, StatusArguments)
    counted = not _COUNTED.isdisjoint(arguments.items)
    if "HIGHESTMODSEQ" in arguments.items:
        enable_condstore(session)
    found = await session.door.mailboxes.status(session.owner, arguments.mailbox, counted=counted)
    session.connection.write(_status_line(session, found, arguments.items))
    return "OK STATUS completed"


async def _write_normalized(session: "Session", written: str, *, old_name: str | None = None) -> None:
    # RFC 9051 §6.3.4, §6.3.6: a name is not the one that was asked for.
    names = [written] if old_name is None else [written, old_name]
    if session.imap4rev2 and any(mailbox_name.canonical(name) != name for name in names):
        await write_list(session, written, old_name)


def _status_line(session: "Session", status: Status, items: Sequence[str]) -> bytes:
    mailbox = status.mailbox
    values: dict[str, str] = {
        "MESSAGES": str(mailbox.messages),
        "RECENT": str(status.recent),
        "UIDNEXT": str(mailbox.uidnext),
        "UIDVALIDITY": str(mailbox.uidvalidity),
        "UNSEEN": str(mailbox.unseen),
        "DELETED": str(status.deleted),
        "DELETED-STORAGE": str(status.deleted_octets),
        "SIZE": str(mailbox.octets),
        "HIGHESTMODSEQ": str(mailbox.highest_modseq),
        "MAILBOXID": f"({mailbox.object_id})",
        "APPENDLIMIT": str(session.door.settings.max_literal),
    }
    if session.imap4rev2:
        del values["RECENT"]  # RFC 9051 appendix E
    if missing := [item for item in items if item not in values]:
        raise Refusal(f"BAD STATUS cannot tell {missing[0]}")
    name = encode_mailbox(status.name, session.connection.reader.utf8)
    shown = " ".join(f"{item} {values[item]}" for item in items)
    return b"* STATUS " + name + f" ({shown})\r\n".encode()
