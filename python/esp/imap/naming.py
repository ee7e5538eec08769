"""Commands about mailbox names (RFC 3501 §6.3.3-10, RFC 2342, RFC 5819, RFC 6154, RFC 9208)."""

from contextlib import suppress
from typing import TYPE_CHECKING

from esp.core import mailbox_name
from esp.core.errors import NotFoundError
from esp.core.mailbox import DELIMITER, SpecialUse
from esp.imap.enabling import enable_condstore
from esp.imap.listing import list_lines, write_list
from esp.imap.responses import Refusal
from esp.native import (
    Command,
    CreateArguments,
    ListArguments,
    MailboxArguments,
    QuotaArguments,
    RenameArguments,
    StatusArguments,
    encode_mailbox,
)
from esp.services.mailboxes import Status

if TYPE_CHECKING:
    from esp.imap.session import Session

_COUNTED = frozenset({"RECENT", "DELETED"})


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
    await session.door.mailboxes.create(session.owner, arguments.mailbox, use)
    await _write_normalized(session, arguments.mailbox)
    return "OK CREATE completed"


async def delete(session: "Session", command: Command) -> str:
    """DELETE; a client's own selected mailbox is closed first, so that it is not thrown out."""
    arguments = command.arguments
    assert isinstance(arguments, MailboxArguments)
    with suppress(NotFoundError):  # which error it is, the service knows
        mailbox = await session.door.mailboxes.find(session.owner, arguments.mailbox)
        if session.selected is not None and session.selected.opened.mailbox == mailbox.id:
            session.select(None)
    await session.door.mailboxes.delete(session.owner, arguments.mailbox)
    return "OK DELETE completed"


async def rename(session: "Session", command: Command) -> str:
    """RENAME."""
    arguments = command.arguments
    assert isinstance(arguments, RenameArguments)
    await session.door.mailboxes.rename(session.owner, arguments.mailbox, arguments.new_name)
    await session.refresh(ask=True)  # INBOX may be selected, and is empty now
    await _write_normalized(session, arguments.new_name)
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
    octets: list[bytes] = []
    for name, line in list_lines(
        arguments, listed, lsub=command.name == "LSUB", utf8=utf8, imap4rev2=session.imap4rev2
    ):
        octets.append(line)
        # RFC 5819 §2: a STATUS for each mailbox that can be selected, behind its LIST response.
        if arguments.status and name is not None and name.mailbox is not None:
            counted = not _COUNTED.isdisjoint(arguments.status)
            status = Status(mailbox=name.mailbox, recent=0, deleted=0)
            if counted:
                try:
                    status = await session.door.mailboxes.status(session.owner, name.name, counted=True)
                except NotFoundError:
                    continue
            octets.append(_status_line(session, status, arguments.status))
    session.connection.write(b"".join(octets))
    return f"OK {command.name} completed"


async def namespace(session: "Session", command: Command) -> str:
    """NAMESPACE (RFC 2342): everything is the user's own."""
    session.untagged(f'NAMESPACE (("" "{DELIMITER}")) NIL NIL')
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


async def get_quota(session: "Session", command: Command) -> str:
    """GETQUOTA (RFC 9208 §4.1.2): there is one root, the account, and its name is empty."""
    arguments = command.arguments
    assert isinstance(arguments, QuotaArguments)
    if arguments.root:
        raise Refusal("NO [NONEXISTENT] No such quota root")
    await _write_quota(session)
    return "OK GETQUOTA completed"


async def get_quota_root(session: "Session", command: Command) -> str:
    """GETQUOTAROOT (RFC 9208 §4.1.3)."""
    arguments = command.arguments
    assert isinstance(arguments, MailboxArguments)
    mailbox = await session.door.mailboxes.find(session.owner, arguments.mailbox)
    name = encode_mailbox(mailbox.name, session.connection.reader.utf8)
    session.connection.write(b"* QUOTAROOT " + name + b' ""\r\n')
    await _write_quota(session)
    return "OK GETQUOTAROOT completed"


async def _write_quota(session: "Session") -> None:
    quota = await session.door.mailboxes.quota(session.owner)
    limits = []
    if quota.limit is not None:
        # RFC 9208 §5.1: in units of 1024 octets; what is used is rounded up, what is allowed down.
        limits.append(f"STORAGE {-(-quota.used // 1024)} {quota.limit // 1024}")
    if quota.message_limit is not None:
        limits.append(f"MESSAGE {quota.messages} {quota.message_limit}")
    session.untagged(f'QUOTA "" ({" ".join(limits)})')


async def _write_normalized(session: "Session", written: str) -> None:
    # RFC 9051 §6.3.4, §6.3.6: the name is not the one that was asked for.
    if session.imap4rev2 and mailbox_name.canonical(written) != written:
        await write_list(session, written)


def _status_line(session: "Session", status: Status, items: tuple[str, ...]) -> bytes:
    mailbox = status.mailbox
    values: dict[str, str] = {
        "MESSAGES": str(mailbox.messages),
        "RECENT": str(status.recent),
        "UIDNEXT": str(mailbox.uidnext),
        "UIDVALIDITY": str(mailbox.uidvalidity),
        "UNSEEN": str(mailbox.unseen),
        "DELETED": str(status.deleted),
        "SIZE": str(mailbox.octets),
        "HIGHESTMODSEQ": str(mailbox.highest_modseq),
        "APPENDLIMIT": str(session.door.settings.max_literal),
    }
    if session.imap4rev2:
        del values["RECENT"]  # RFC 9051 appendix E
    if missing := [item for item in items if item not in values]:
        raise Refusal(f"BAD STATUS cannot tell {missing[0]}")
    name = encode_mailbox(mailbox.name, session.connection.reader.utf8)
    shown = " ".join(f"{item} {values[item]}" for item in items)
    return b"* STATUS " + name + f" ({shown})\r\n".encode()
