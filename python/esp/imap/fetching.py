"""FETCH: Rust renders, this module writes, in pieces no larger than the client reads (RFC 3501 §6.4.5)."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from esp.core.message import SystemFlag
from esp.imap.enabling import enable_condstore
from esp.imap.responses import SOME_EXPUNGED, Refusal, bad_when
from esp.native import Command, Fetch, FetchArguments, FetchItems, SequenceSet, encode_set
from esp.telemetry.log import get_logger

if TYPE_CHECKING:
    from esp.imap.selected import Selected
    from esp.imap.session import Session

log = get_logger(__name__)

STEP = 128 * 1024
FILE_STEP = 512 * 1024
"""Octets of a step that reads files. Larger than other steps, for each takes a thread; a connection that is read
slowly holds three at most."""


async def fetch(session: "Session", command: Command) -> str:
    """FETCH and UID FETCH."""
    arguments = command.arguments
    selected = session.selected
    assert isinstance(arguments, FetchArguments)
    assert selected is not None
    items = arguments.items
    if items.vanished and not (session.qresync and command.uid and items.changed_since is not None):
        raise Refusal("BAD VANISHED is for UID FETCH with CHANGEDSINCE, and QRESYNC has to be enabled first")
    if items.partial and not command.uid:
        raise Refusal("BAD PARTIAL is for UID FETCH")  # RFC 9394 §3.3
    if items.modseq:
        enable_condstore(session)
    await session.refresh()
    if items.vanished and items.changed_since is not None:
        # RFC 7162 §3.2.6: VANISHED comes first. What the session still counts is sent without EARLIER.
        session.tell(uid=True)
        expunged = await selected.opened.expunged_since(items.changed_since)
        session.connection.write(selected.view.vanished_earlier(expunged, uids=arguments.set))
    with bad_when(ValueError):
        fetching = selected.view.fetch(
            arguments.set, items, uid=command.uid, contents=session.door.contents.cache
        )
    if fetching.unseen:
        await session.door.messages.store(
            selected.opened.mailbox, fetching.unseen, "add", int(SystemFlag.SEEN)
        )
        # A change is durable before it is told, and in the index before it is rendered.
        await selected.opened.refresh(ask=True)
    await write(session, selected, fetching, items)
    if fetching.undecodable:
        return "NO [UNKNOWN-CTE] The transfer encoding of a part is not known"
    if fetching.missing:
        await selected.opened.refresh(ask=True)
        if lost := selected.view.uids(SequenceSet(encode_set(fetching.missing)), uid=True):
            log.error("message_files_missing", mailbox=selected.opened.mailbox, uids=lost)
            return "NO [CORRUPTION] Some of the messages cannot be read"
        # RFC 2180 §4.1.3: the client is told of the expunge as soon as that is allowed.
        return SOME_EXPUNGED
    return f"OK {'UID ' if command.uid else ''}FETCH completed"


async def write(session: "Session", selected: "Selected", fetching: Fetch, items: FetchItems) -> None:
    """Write the responses of a FETCH as the client reads them; files on the disk are read in a thread."""
    try:
        await (_write_from_files if items.reads_files else _write_rows)(session, selected, fetching, items)
    finally:
        session.progress.paused = False


async def write_unasked(
    session: "Session", selected: "Selected", uids: Sequence[int], items: FetchItems
) -> None:
    """Write a FETCH of new messages that the client has not sent a command for (RFC 5465 §5.2, §7)."""
    wanted = SequenceSet(encode_set(uids))
    fetching = selected.view.fetch(
        wanted, items, uid=True, contents=session.door.contents.cache, unasked=True
    )
    await write(session, selected, fetching, items)
    hold_modseq(session)


def hold_modseq(session: "Session") -> None:
    """Send the mod-sequence to resynchronise from, if the client was shown newer ones but not told all changes.

    RFC 7162 §3.2, §5: the client takes the highest it has seen, unless HIGHESTMODSEQ is sent. It would then never learn
    of the messages whose VANISHED, or EXPUNGE, is held back.
    """
    selected = session.selected
    if session.condstore and selected is not None and selected.view.told < selected.opened.index.modseq:
        session.untagged(f"OK [HIGHESTMODSEQ {selected.view.told}] Not all is told yet")


async def _write_rows(session: "Session", selected: "Selected", fetching: Fetch, items: FetchItems) -> None:
    connection = session.connection
    while (step := fetching.step(STEP)) is not None:
        if isinstance(step, bytes):
            session.progress.paused = True
            connection.write(step)
            if fetching.ended:
                return  # the tagged response goes out in the same packet
            await connection.drain()
            await asyncio.sleep(0)  # others have their turn between two steps
        else:
            await _load(session, selected, step, items)


async def _write_from_files(
    session: "Session", selected: "Selected", fetching: Fetch, items: FetchItems
) -> None:
    """Write what is cached, then pieces read in a thread, each read while the client takes the one before."""
    if octets := fetching.step_cached():
        session.connection.write(octets)
    if fetching.ended:
        return
    session.progress.paused = bool(octets)
    step = _read(fetching)
    try:
        while (piece := await step) is not None:
            if isinstance(piece, bytes):
                ended = fetching.ended
                if not ended:
                    step = _read(fetching)
                session.progress.paused = True
                session.connection.write(piece)
                await session.connection.drain()
                if ended:
                    return  # most bodies are one piece: reading on to learn that would take a thread again
            else:
                await _load(session, selected, piece, items)
                step = _read(fetching)
    finally:
        step.cancel()  # if the client left, what is being read is of no use


async def _load(session: "Session", selected: "Selected", contents: list[int], items: FetchItems) -> None:
    # Contents are asked for only between two responses.
    session.progress.paused = False
    await session.door.contents.load(selected.opened.account, contents, items, session.progress.reached)


def _read(fetching: Fetch) -> "asyncio.Future[bytes | list[int] | None]":
    return asyncio.get_running_loop().run_in_executor(None, fetching.step, FILE_STEP)
