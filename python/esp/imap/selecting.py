"""SELECT, EXAMINE, CLOSE, UNSELECT, NOOP, CHECK, ENABLE (RFC 3501 §6.1.2, §6.3.1-2, §6.4.1-2; RFC 3691; RFC 5161)."""

from typing import TYPE_CHECKING

from esp.imap.selected import Selected
from esp.native import Command, EnableArguments, SelectArguments, View

if TYPE_CHECKING:
    from esp.imap.session import Session


async def select(session: "Session", command: Command) -> str:
    """SELECT and EXAMINE."""
    arguments = command.arguments
    assert isinstance(arguments, SelectArguments)
    # RFC 3501 §6.3.1: the mailbox selected before is deselected even when this fails.
    session.select(None)
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


async def enable(session: "Session", command: Command) -> str:
    """ENABLE (RFC 5161): what is not known is passed over."""
    arguments = command.arguments
    assert isinstance(arguments, EnableArguments)
    enabled = []
    if "CONDSTORE" in arguments.capabilities:
        enabled.append("CONDSTORE")
        enable_condstore(session)
    session.untagged(" ".join(["ENABLED", *enabled]))
    return "OK ENABLE completed"


def enable_condstore(session: "Session") -> None:
    """Tell mod-sequences from now on: any command that uses one asks for it (RFC 7162 §3.1)."""
    if session.condstore:
        return
    session.condstore = True
    if session.selected is not None:
        session.selected.view.enable_condstore()
        session.untagged(f"OK [HIGHESTMODSEQ {session.selected.opened.index.modseq}] CONDSTORE enabled")
