"""SELECT, EXAMINE, CLOSE, UNSELECT, NOOP, CHECK (RFC 3501 §6.1.2, §6.3.1-2, §6.4.1-2; RFC 9051 §6.3.2; RFC 3691)."""

from typing import TYPE_CHECKING

from esp.imap.listing import write_list
from esp.imap.selected import Selected
from esp.native import Command, SelectArguments, View

if TYPE_CHECKING:
    from esp.imap.session import Session


async def select(session: "Session", command: Command) -> str:
    """SELECT and EXAMINE."""
    arguments = command.arguments
    assert isinstance(arguments, SelectArguments)
    # RFC 3501 §6.3.1: the mailbox selected before is deselected even when this fails.
    if session.selected is not None:
        session.select(None)
        # RFC 9051 §7.1, RFC 7162 §3.2.11: what follows is about another mailbox.
        session.untagged("OK [CLOSED] Previous mailbox is now closed")
    read_only = command.name == "EXAMINE"
    door = session.door
    mailbox = await door.mailboxes.find(session.owner, arguments.mailbox)
    opened = await door.open_mailboxes.open(mailbox)
    try:
        recent_from = await door.mailboxes.first_recent(mailbox, take=not read_only)
        view = View(opened.index, read_only=read_only, recent_from=recent_from)
    except BaseException:
        door.open_mailboxes.release(opened)
        raise
    session.select(Selected(mailbox.name, opened, view))
    if arguments.condstore:
        session.condstore = True
    if session.condstore:
        view.enable_condstore()
    if session.imap4rev2:
        view.enable_imap4rev2()
        await write_list(session, arguments.mailbox)
    session.connection.write(view.opening())
    return f"OK [{'READ-ONLY' if read_only else 'READ-WRITE'}] {command.name} completed"


async def noop(session: "Session", command: Command) -> str:
    """NOOP and CHECK: the client asks whether there is news, so the database is asked (RFC 3501 §6.1.2)."""
    await session.refresh(ask=True)
    return f"OK {command.name} completed"


async def close(session: "Session", command: Command) -> str:
    """CLOSE: expunge without a word, and deselect (RFC 3501 §6.4.2)."""
    selected = session.selected
    assert selected is not None
    if not selected.view.read_only:
        await session.refresh()
        if uids := selected.view.deleted():
            await session.door.messages.expunge(selected.opened.mailbox, uids)
    session.select(None)
    return "OK CLOSE completed"


async def unselect(session: "Session", command: Command) -> str:
    """UNSELECT: deselect, and nothing else (RFC 3691)."""
    session.select(None)
    return "OK UNSELECT completed"
