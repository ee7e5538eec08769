"""IDLE: changes are sent unasked until the client says DONE (RFC 2177). No task waits for DONE: it is an event."""

from typing import TYPE_CHECKING

from esp.native import Command, RawLine

if TYPE_CHECKING:
    from esp.imap.session import Session


async def idle(session: "Session", command: Command) -> None:
    """Begin to idle."""
    session.connection.reader.expect_line()
    session.idle_tag = command.tag
    if session.selected is not None:
        session.selected.opened.listeners.add(session.mailbox_changed)
        # Changes before this listener was there are asked for once.
        await session.refresh(ask=True)
    session.connection.write(b"+ idling\r\n")
    session.remind()


async def done(session: "Session", line: RawLine) -> None:
    """End at DONE; any other line is an error, and ends it too."""
    tag, session.idle_tag = session.idle_tag, None
    if session.selected is not None:
        if session.notification is None:
            session.selected.opened.listeners.discard(session.mailbox_changed)
        session.tell()
    if tag is None:
        return
    finished = line.octets.strip().upper() == b"DONE"
    session.tagged(tag, "OK IDLE completed" if finished else "BAD Expected DONE")
