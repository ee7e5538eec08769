"""ESEARCH: one search in many mailboxes (RFC 7377)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from esp.core import mailbox_name
from esp.core.errors import NotFoundError
from esp.core.rights import Rights
from esp.imap.enabling import enable_condstore
from esp.imap.responses import UID_REQUIRED, Refusal
from esp.imap.scopes import covers
from esp.native import Command, EsearchArguments, MailboxFilter, ReturnOptions, View, encode_mailbox
from esp.services.mailboxes import Listed
from esp.services.open_mailboxes import OpenMailbox

if TYPE_CHECKING:
    from esp.imap.session import Session

_SELECTED: Final = "SELECTED"


class _Place(NamedTuple):
    """A mailbox that is searched."""

    name: str
    opened: OpenMailbox
    view: View


async def esearch(session: "Session", command: Command) -> str:
    """ESEARCH: a response for each mailbox in which something is found, in the order of their names."""
    arguments = command.arguments
    assert isinstance(arguments, EsearchArguments)
    returns = arguments.returns or ReturnOptions("ALL")
    here = _check(session, arguments, returns)
    if arguments.program.modseq:
        enable_condstore(session)
    if "UPDATE" in returns:
        # RFC 5267 §4.3.1: only a search of the selected mailbox can have a context.
        session.untagged(
            f'NO [NOUPDATE "{command.tag}"] Results of several mailboxes are not kept up to date'
        )
    selected = session.selected
    if here and selected is not None:
        await session.refresh()
        place = _Place(selected.name, selected.opened, selected.view)
        found = await _search(session, command, returns, place)
        if "SAVE" in returns:
            selected.view.save(found)
    for name in await _others(session, arguments.scope or (), here=here):
        async with _opened(session, name) as opened:
            if opened is not None:
                view = View(opened.index, read_only=True)
                await _search(session, command, returns, _Place(name.name, opened, view))
        await session.connection.drain()
    return "OK ESEARCH completed"


def _check(session: "Session", arguments: EsearchArguments, returns: ReturnOptions) -> bool:
    """Return whether the selected mailbox is searched.

    Raises:
        Refusal: what is asked for makes sense in the selected mailbox alone, or in none.
    """
    if arguments.charset and session.utf8_accept:
        raise Refusal("BAD A charset cannot be named after ENABLE UTF8=ACCEPT")  # RFC 6855 §3
    if session.uidonly and arguments.program.numbers:
        raise Refusal(f"BAD {UID_REQUIRED}")
    scope = arguments.scope
    filters = {_SELECTED} if scope is None else {one.filter for one in scope}
    if "SELECTED-DELAYED" in filters:
        raise Refusal("BAD SELECTED-DELAYED is for NOTIFY alone")  # RFC 7377 §4
    here = _SELECTED in filters
    # RFC 7377 §2.2, for UPDATE.
    if session.selected is None and (here or "UPDATE" in returns):
        raise Refusal("BAD No mailbox is selected")
    alone = filters == {_SELECTED}
    if not alone and (arguments.program.needs_selected or "SAVE" in returns):
        # RFC 7377 §2.1: they mean nothing in other mailboxes.
        raise Refusal("BAD Sequence numbers, $ and SAVE are for the selected mailbox alone")
    return here


async def _others(session: "Session", scope: tuple[MailboxFilter, ...], *, here: bool) -> list[Listed]:
    """Return the mailboxes of a scope that may be read, without the selected one if it is searched already."""
    filters = [
        (one.filter, frozenset(mailbox_name.canonical(name) for name in one.mailboxes))
        for one in scope
        if one.filter != _SELECTED
    ]
    if not filters:
        return []
    done = session.selected.opened.mailbox if here and session.selected is not None else None
    return [
        name
        for name in await session.door.mailboxes.listed(session.owner)
        if name.mailbox is not None
        and name.mailbox.messages  # a mailbox in which nothing is found gets no response
        and name.mailbox.id != done
        and Rights.READ in name.rights
        and any(covers(kind, names, name) for kind, names in filters)
    ]


@asynccontextmanager
async def _opened(session: "Session", name: Listed) -> AsyncIterator[OpenMailbox | None]:
    """Open a mailbox for as long as it is searched; `None` when it was deleted meanwhile (RFC 7377 §2.2)."""
    assert name.mailbox is not None
    try:
        opened = await session.door.open_mailboxes.open(name.mailbox)
    except NotFoundError:
        yield None
        return
    try:
        yield opened
    finally:
        session.door.open_mailboxes.release(opened)


async def _search(session: "Session", command: Command, returns: ReturnOptions, place: _Place) -> list[int]:
    """Search one mailbox, write what is found, and return what SAVE would keep."""
    arguments = command.arguments
    assert isinstance(arguments, EsearchArguments)
    connection = session.connection
    found = await session.door.searching.search(
        place.view,
        place.opened.index,
        arguments.program,
        threads=await session.door.contents.of_threads(
            place.opened.index, arguments.program.threads, session.progress.reached
        ),
        wanted=lambda: not connection.closing,
    )
    if found.uids:
        # RFC 7377 §2.1: mailboxes without a match get no response, not even an empty one.
        mailbox = (encode_mailbox(place.name, connection.reader.utf8), place.opened.index.uidvalidity)
        connection.write(found.response(uid=True, tag=command.tag, returns=returns, mailbox=mailbox))
    return found.saved(returns)
