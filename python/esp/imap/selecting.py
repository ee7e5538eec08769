"""SELECT, EXAMINE, CLOSE, UNSELECT, NOOP, CHECK (RFC 3501 §6.3.1-2, §6.4.1-2; RFC 9051 §6.3.2; RFC 3691; RFC 7162)."""

from contextlib import suppress
from typing import TYPE_CHECKING

from esp.core.errors import NotFoundError
from esp.core.rights import Rights, settable_flags
from esp.imap.listing import write_list
from esp.imap.responses import UID_REQUIRED, Refusal
from esp.imap.resync import resume
from esp.imap.selected import Selected
from esp.native import Command, SelectArguments, View

if TYPE_CHECKING:
    from esp.imap.session import Session


CHANGING = Rights.INSERT | Rights.EXPUNGE | Rights.SEEN | Rights.WRITE | Rights.DELETE_MESSAGES
"""With any one of these rights the mailbox is READ-WRITE."""


async def select(session: "Session", command: Command) -> str:
    """SELECT and EXAMINE."""
    arguments = command.arguments
    assert isinstance(arguments, SelectArguments)
    if arguments.qresync is not None and not session.qresync:
        raise Refusal("BAD QRESYNC has to be enabled first")
    if session.uidonly and arguments.qresync is not None and arguments.qresync.known_sequence is not None:
        raise Refusal(f"BAD {UID_REQUIRED}")  # RFC 9586 §3.7
    # RFC 3501 §6.3.1: the mailbox selected before is deselected even when this fails.
    was_selected = session.selected is not None
    session.select(None)
    try:
        selected = await _open(session, arguments.mailbox, examine=command.name == "EXAMINE")
    finally:
        if was_selected:
            # RFC 9051 §7.1, RFC 7162 §3.2.11: what follows is about another mailbox. Not sent before the wait for the
            # database, or it would be a packet of its own.
            session.untagged("OK [CLOSED] Previous mailbox is now closed")
    view = selected.view
    session.select(selected)
    if arguments.condstore:
        session.condstore = True
    if session.condstore:
        view.enable_condstore()
    if session.qresync:
        view.enable_qresync()
    if session.uidonly:
        view.enable_uidonly()
    if session.imap4rev2:
        view.enable_imap4rev2()
        await write_list(session, arguments.mailbox)
    session.connection.write(view.opening())
    session.untagged(f"OK [MAILBOXID ({selected.object_id})] Mailbox identifier")  # RFC 8474 §4.2
    if arguments.qresync is not None:
        await resume(session, selected, arguments.qresync)
    return f"OK [{'READ-ONLY' if view.read_only else 'READ-WRITE'}] {command.name} completed"


async def _open(session: "Session", name: str, *, examine: bool) -> Selected:
    door = session.door
    reached = await door.mailboxes.reach(session.owner, name, Rights.READ)
    mailbox = reached.mailbox
    # RFC 4314 §5.2: all flags are shared, so `s`, `w` and `t` count with `i` and `e`.
    read_only = examine or not reached.rights & CHANGING
    opened = await door.open_mailboxes.open(mailbox)
    try:
        if not read_only and not session.imap4rev2:
            await opened.take_recent(mailbox)
        view = View(
            opened.index,
            read_only=read_only,
            recent_from=mailbox.first_recent,
            settable=settable_flags(reached.rights),
        )
    except BaseException:
        door.open_mailboxes.release(opened)
        raise
    return Selected(reached, opened, view)


async def noop(session: "Session", command: Command) -> str:
    """NOOP and CHECK: the client asks whether there is news, so the database is asked (RFC 3501 §6.1.2)."""
    with suppress(NotFoundError):  # it always succeeds, and BYE tells what has happened
        await session.refresh(ask=True)
    return f"OK {command.name} completed"


async def close(session: "Session", command: Command) -> str:
    """CLOSE: expunge silently, and deselect (RFC 3501 §6.4.2)."""
    selected = session.selected
    assert selected is not None
    # RFC 4314 §4: without the right to, nothing is expunged, and the mailbox is closed all the same.
    if not selected.view.read_only and Rights.EXPUNGE in selected.rights:
        with suppress(NotFoundError):
            await session.refresh(ask=True)
            if uids := selected.view.deleted():
                await session.door.messages.expunge(selected.opened.mailbox, uids)
    session.select(None)
    # RFC 7162 §3.2.8: no HIGHESTMODSEQ.
    return "OK CLOSE completed"


async def unselect(session: "Session", command: Command) -> str:
    """UNSELECT: deselect, and nothing else (RFC 3691)."""
    session.select(None)
    return "OK UNSELECT completed"
