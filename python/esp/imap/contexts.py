"""Results that a client wants to be kept told of: RETURN (UPDATE) and CANCELUPDATE (RFC 5267 §4.3).

An expunged message leaves a result at once, just before the session is told of the expunge. Everything else is found
by searching again when the mailbox has changed. A command waits a short moment for that before it ends, so that the
changes it has made are told with it. What is found later is written at once when the session is between two commands
or idles, otherwise together with the other changes that the current command reports.
"""

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from esp.core.errors import EspError
from esp.imap.fetching import write_unasked
from esp.imap.responses import Refusal
from esp.native import (
    CancelUpdateArguments,
    Command,
    Context,
    FetchItems,
    Search,
    SearchOrder,
    SearchProgram,
)
from esp.telemetry.log import get_logger

if TYPE_CHECKING:
    from esp.imap.selected import Selected
    from esp.imap.session import Session

MOST = 8
"""Contexts of one session; each costs a search whenever the mailbox changes."""

PATIENCE = 0.5
"""Seconds that a command waits for the searches that it made necessary."""

log = get_logger(__name__)


class _Kept(NamedTuple):
    context: Context
    program: SearchProgram
    order: SearchOrder | None
    fetch: FetchItems | None


class Contexts:
    """The contexts of a selected mailbox, which end with it."""

    __slots__ = ("_found", "_kept", "_last", "_searched", "_searching", "_told", "_wanted")

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._last: dict[str, int] = {}
        """For each context, the UID up to which messages do not count as new."""
        self._wanted: list[tuple[list[int], FetchItems]] = []
        """New messages that the client is still to be sent a FETCH of (RFC 5465 §7)."""
        self._found: dict[str, tuple[Search, int]] = {}
        """Searches that were done again and not yet reported, and the last UID that each looked at."""
        self._searched = 0
        """The mod-sequence up to which the mailbox was searched."""
        self._told = 0
        """The mod-sequence up to which the session was told of the mailbox."""
        self._searching: asyncio.Task[None] | None = None

    def __contains__(self, tag: str) -> bool:
        return tag in self._kept

    @property
    def full(self) -> bool:
        """Whether no more contexts are accepted."""
        return len(self._kept) >= MOST

    def add(
        self,
        command: Command,
        search: Search,
        program: SearchProgram,
        order: SearchOrder | None,
        searched: int,
        *,
        fetch: FetchItems | None,
        last_uid: int,
    ) -> None:
        """Keep telling how the result of a finished search changes.

        Args:
            command: that began it.
            search: whose result is being reported now.
            program: the search criteria.
            order: of a SORT.
            searched: the mod-sequence of the mailbox when the search began.
            fetch: what to fetch of new messages that enter the result.
            last_uid: of the mailbox when the search began.
        """
        self._searched = min(self._searched, searched) if self._kept else searched
        context = Context(search, uid=command.uid, tag=command.tag)
        self._kept[command.tag] = _Kept(context, program, order, fetch)
        self._last[command.tag] = last_uid

    def cancel(self, tag: str) -> None:
        """Stop updating."""
        del self._kept[tag], self._last[tag]
        self._found.pop(tag, None)

    def before(self, session: "Session", *, expunges: bool) -> None:
        """Write what has to come before the changes of the mailbox."""
        self._write(session)
        if expunges:
            for kept in self._kept.values():
                session.connection.write(kept.context.without_expunged())

    def after(self, session: "Session", selected: "Selected") -> None:
        """Search again if the mailbox has changed; the session has just been told of those changes."""
        self._told = selected.opened.index.modseq
        if self._kept and self._searching is None and self._told != self._searched:
            self._searching = asyncio.create_task(self._search(session, selected))

    async def settle(self, session: "Session") -> None:
        """Write what has changed by now, before the command ends; do not wait if the search takes long."""
        if self._searching is not None:
            await asyncio.wait([self._searching], timeout=PATIENCE)
            self._write(session)

    async def _search(self, session: "Session", selected: "Selected") -> None:
        try:
            while self._kept and session.selected is selected and self._told != self._searched:
                self._searched = self._told
                for tag, kept in tuple(self._kept.items()):
                    last_uid = selected.view.last_uid
                    found = await session.door.searching.search(
                        selected.view,
                        selected.opened.index,
                        kept.program,
                        order=kept.order,
                        threads=await session.door.contents.of_threads(
                            selected.opened.index, kept.program.threads, session.progress.reached
                        ),
                        wanted=lambda: session.selected is selected,
                    )
                    if tag in self._kept and session.selected is selected:
                        self._found[tag] = (found, last_uid)
                if not session.connection.busy and not session.connection.paused:
                    self._write(session)
        except EspError as error:
            # The results are searched again at the next change.
            log.warning("context_not_updated", error=repr(error))
        finally:
            self._searching = None

    def _write(self, session: "Session") -> None:
        while self._found:
            tag, (found, last_uid) = self._found.popitem()
            kept = self._kept[tag]
            session.connection.write(kept.context.update(found))
            last, self._last[tag] = self._last[tag], last_uid
            # Not for messages that enter the result by a change of flags: the client knows these.
            if kept.fetch is not None and (new := [uid for uid in found.uids if uid > last]):
                self._wanted.append((new, kept.fetch))
        if self._wanted:
            session.connection.begin(lambda: self.fetch(session))

    async def fetch(self, session: "Session") -> None:
        """Write the FETCH responses wanted for new messages, after the update that names them (RFC 5465 §5.2)."""
        selected = session.selected
        while self._wanted and selected is not None and session.selected is selected:
            uids, items = self._wanted.pop(0)
            await write_unasked(session, selected, sorted(uids), items)


async def cancel_update(session: "Session", command: Command) -> str:
    """CANCELUPDATE: all of the tags, or none."""
    arguments = command.arguments
    selected = session.selected
    assert isinstance(arguments, CancelUpdateArguments)
    assert selected is not None
    for tag in arguments.tags:
        if tag not in selected.contexts:
            raise Refusal(f"BAD There is no context of {tag}")
    for tag in set(arguments.tags):
        selected.contexts.cancel(tag)
    return "OK CANCELUPDATE completed"
