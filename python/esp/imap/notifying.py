"""NOTIFY: what a client wants to be told of at any time, and how it is told (RFC 5465).

Changes of the selected mailbox come as they do in IDLE, changes of others from `services.watching`. They are written
at once if no command is being answered, otherwise as soon as it is, or as soon as the client reads again. Until then
they wait, as one STATUS for each mailbox at most.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from esp.core import mailbox_name
from esp.core.errors import EspError
from esp.core.mailbox import Mailbox, MailboxId
from esp.core.rights import Rights
from esp.imap.fetching import write_unasked
from esp.imap.listing import name_line
from esp.imap.responses import Refusal
from esp.imap.scopes import covers
from esp.native import (
    Command,
    EventGroup,
    FetchItems,
    NotifyArguments,
    SequenceSet,
    encode_mailbox,
)
from esp.services.mailboxes import Listed
from esp.services.watching import Annotated, Counted, Named, News, Subscribed, Watched

if TYPE_CHECKING:
    from esp.imap.selected import Selected
    from esp.imap.session import Session

MOST_GROUPS = 50
MOST_NAMES = 1000
"""Names in all groups together: each is compared with each change."""
MOST_LINES = 1000
"""Lines about names and annotations that wait for a client that does not read."""

MESSAGE_NEW: Final = "MESSAGENEW"
MESSAGE_EXPUNGE: Final = "MESSAGEEXPUNGE"
FLAG_CHANGE: Final = "FLAGCHANGE"
MAILBOX_NAME: Final = "MAILBOXNAME"
SUBSCRIPTION_CHANGE: Final = "SUBSCRIPTIONCHANGE"
MAILBOX_METADATA_CHANGE: Final = "MAILBOXMETADATACHANGE"
SERVER_METADATA_CHANGE: Final = "SERVERMETADATACHANGE"
_OF_MESSAGES = frozenset({MESSAGE_NEW, MESSAGE_EXPUNGE, FLAG_CHANGE})
_SPELLED = (
    "MessageNew", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange", "MailboxMetadataChange",
    "ServerMetadataChange",
)  # fmt: skip
_SUPPORTED = frozenset(name.upper() for name in _SPELLED)

_NAMING = frozenset({"CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE"})


async def notify(session: "Session", command: Command) -> str:
    """NOTIFY SET and NOTIFY NONE."""
    arguments = command.arguments
    assert isinstance(arguments, NotifyArguments)
    _check(arguments.groups)
    notification = Notification(session, arguments.groups)
    await notification.begin()
    try:
        # RFC 5465 §3.1: changes gathered so far are told first, as NOOP would.
        await session.refresh(ask=True)
        session.tell()
        notification.write_status(wanted=arguments.status)
    except BaseException:
        notification.close()
        raise
    session.notify(notification)
    return "OK NOTIFY completed"


def _check(groups: Sequence[EventGroup]) -> None:
    named = sum(len(group.mailboxes) for group in groups)
    if len(groups) > MOST_GROUPS or named > MOST_NAMES:
        raise Refusal("NO [NOTIFICATIONOVERFLOW] Too many mailboxes are named")
    events = [(group, frozenset(group.events)) for group in groups if group.events is not None]
    if any(wanted - _SUPPORTED for _, wanted in events):
        # RFC 5465 §3.1: NO, not BAD, and it lists the events that are supported.
        raise Refusal(f"NO [BADEVENT ({' '.join(_SPELLED)})] There are other events only")
    if sum(_is_selected(group) for group in groups) > 1:
        raise Refusal("BAD There is one selected mailbox")
    for group, wanted in events:
        if _is_selected(group) and wanted - _OF_MESSAGES:
            raise Refusal("BAD Of the selected mailbox there are events of messages only")
        if wanted & _OF_MESSAGES and not wanted >= {MESSAGE_NEW, MESSAGE_EXPUNGE}:
            raise Refusal("BAD MessageNew and MessageExpunge go together, and FlagChange with them")


def _is_selected(group: EventGroup) -> bool:
    return group.filter.startswith("SELECTED")


class _Group:
    """Which mailboxes, and which events of them."""

    __slots__ = ("events", "filter", "names")

    def __init__(self, group: EventGroup) -> None:
        self.filter = group.filter
        self.names = tuple(mailbox_name.canonical(name) for name in group.mailboxes)
        self.events = None if group.events is None else frozenset(group.events)

    def has(self, name: Listed) -> bool:
        """Whether the mailbox is among those of the group (RFC 5465 §6)."""
        return covers(self.filter, self.names, name)


class Notification:
    """What one session wants to be told of, and what waits to be sent."""

    __slots__ = ("_counted", "_fetched", "_groups", "_lines", "_overflown", "_own", "_quiet", "_session",
                 "_watched", "delayed", "fetch", "flags", "messages")  # fmt: skip

    def __init__(self, session: "Session", groups: Sequence[EventGroup]) -> None:
        self._session = session
        self._groups = tuple(_Group(group) for group in groups if not _is_selected(group))
        self._watched: Watched | None = None
        self._counted: dict[MailboxId, tuple[Listed, Mailbox, frozenset[str]]] = {}
        self._lines: list[bytes] = []
        self._quiet: frozenset[str] = frozenset()
        self._own: set[int] = set()
        self._fetched = 0
        self._overflown = False
        chosen = next((group for group in groups if _is_selected(group)), None)
        events = chosen.events or () if chosen is not None else ()
        self.messages = MESSAGE_NEW in events
        """Whether it is told of messages that come to, or leave, the selected mailbox."""
        self.flags = FLAG_CHANGE in events
        """Whether it is told of changes of their flags."""
        self.delayed = chosen is not None and chosen.filter == "SELECTED-DELAYED"
        """Whether expunges wait for a command that may tell of them (RFC 5465 §6.1.2)."""
        self.fetch: FetchItems | None = chosen.fetch if chosen is not None else None

    async def begin(self) -> None:
        """Begin to watch the mailboxes.

        Raises:
            UnavailableError: the mailboxes cannot be read now.
        """
        if any(group.events for group in self._groups):
            self._watched = await self._session.door.watching.watch(self._session.owner, self)

    def close(self) -> None:
        """Stop watching."""
        if self._watched is not None:
            self._session.door.watching.unwatch(self._watched, self)
            self._watched = None

    # What the session tells

    def opened(self, selected: "Selected") -> None:
        """A mailbox was selected."""
        self._fetched = selected.view.last_uid
        self._own.clear()
        # RFC 5465 §3.1: from now on it is told what the group of the selected mailbox asks for.
        self._counted.pop(selected.opened.mailbox, None)
        if self.messages:
            selected.opened.listeners.add(self._session.mailbox_changed)

    def placed(self, uids: Iterable[int]) -> None:
        """The session itself put messages into the selected mailbox (RFC 5465 §5.2: no FETCH for these)."""
        self._own.update(uids)

    def hush(self, command: Command) -> None:
        """The session's own command begins: what it does to names need not be reported (RFC 5465 §5)."""
        if command.name in _NAMING and self._watched is not None:
            arguments = command.arguments
            names = (getattr(arguments, "mailbox", None), getattr(arguments, "new_name", None))
            self._quiet = frozenset(mailbox_name.canonical(name) for name in names if name is not None)

    async def unhush(self) -> None:
        """The command is over: take in what it has done before changes by others are reported again."""
        if self._quiet and self._watched is not None:
            try:
                await self._session.door.watching.look(self._watched)
            except EspError:
                pass  # then the session's own changes are reported, which does no harm
            finally:
                self._quiet = frozenset()

    # News

    def happened(self, news: Sequence[News]) -> None:
        """Take changes of other mailboxes (a `Watcher`)."""
        for one in news:
            self._take(one)
        if len(self._lines) > MOST_LINES:
            # RFC 5465 §5.8
            self._overflown = True
            self.messages = self.flags = False
            self._groups = ()
            self._lines, self._counted = [], {}
            self.close()
        if self._lines or self._counted or self._overflown:
            self._session.connection.begin(self.push)

    def _take(self, news: News) -> None:
        utf8 = self._session.connection.reader.utf8
        match news:
            case Counted(now, after, before):
                self._count(now, after, before)
            case Named(now, old_name) if MAILBOX_NAME in self._wanted(now):
                if now.name not in self._quiet and (old_name or "") not in self._quiet:
                    self._lines.append(name_line(now, utf8=utf8, subscribed=True, old_name=old_name))
            case Subscribed(now) if SUBSCRIPTION_CHANGE in self._wanted(now, subscription=True):
                if now.name not in self._quiet:
                    self._lines.append(name_line(now, utf8=utf8, subscribed=True))
            case Annotated(None, entries) if any(
                SERVER_METADATA_CHANGE in (group.events or ()) for group in self._groups
            ):
                self._lines.append(f'* METADATA "" {" ".join(entries)}\r\n'.encode())
            case Annotated(Listed() as now, entries) if MAILBOX_METADATA_CHANGE in self._wanted(now):
                name = encode_mailbox(now.name, utf8)
                self._lines.append(b"* METADATA " + name + f" {' '.join(entries)}\r\n".encode())

    def _count(self, now: Listed, after: Mailbox, before: Mailbox | None) -> None:
        selected = self._session.selected
        if selected is not None and selected.opened.mailbox == after.id:
            return  # RFC 5465 §3.1: only SELECTED groups are about the selected mailbox
        if Rights.READ not in now.rights:
            return
        wanted = self._wanted(now) & _OF_MESSAGES
        if before is not None and (after.messages, after.uidnext) == (before.messages, before.uidnext):
            wanted &= {FLAG_CHANGE}
            # RFC 5465 §5.1: without mod-sequences there is nothing to report but the number of unseen messages.
            if not self._session.condstore and after.unseen == before.unseen:
                return
        if wanted:
            earlier = self._counted.get(after.id)
            self._counted[after.id] = (
                now,
                after,
                wanted | (earlier[2] if earlier is not None else frozenset()),
            )

    def _wanted(self, name: Listed, *, subscription: bool = False) -> frozenset[str]:
        events: frozenset[str] = frozenset()
        for group in self._groups:
            # A name that leaves the subscriptions is also an event for groups of subscribed names.
            if group.has(name) or (subscription and group.filter == "SUBSCRIBED"):
                if group.events is None:
                    return (
                        frozenset()
                    )  # NONE: "does not wish to receive any events for the specified mailboxes"
                events |= group.events
        return events

    # Telling

    def write_status(self, *, wanted: bool) -> None:
        """Write a STATUS for each watched mailbox, if wanted, and report which cannot be watched (RFC 5465 §3.1)."""
        session = self._session
        selected = session.selected
        for name in self._watched.listed.values() if self._watched is not None else ():
            events = self._wanted(name) & _OF_MESSAGES
            if name.mailbox is None or not events:
                continue
            if Rights.READ not in name.rights:
                utf8 = session.connection.reader.utf8
                session.connection.write(name_line(name, utf8=utf8, no_access=True))
            elif wanted and (selected is None or selected.opened.mailbox != name.mailbox.id):
                session.connection.write(self._status(name, name.mailbox, events, all_known=True))

    async def push(self) -> None:
        """Write what waits; called when no command is being answered."""
        session = self._session
        if session.connection.paused or session.connection.closing:
            return  # `Session.writable` will call this
        if self._overflown:
            self._overflown = False
            session.untagged("OK [NOTIFICATIONOVERFLOW] There was too much to tell")
        lines, self._lines = self._lines, []
        counted, self._counted = self._counted, {}
        session.connection.write(b"".join(lines))
        session.connection.write(b"".join(self._status(*news) for news in counted.values()))
        if self.messages and session.selected is not None and not session.selected.opened.deleted:
            session.tell(expunges=not self.delayed or session.idle_tag is not None)
            await self._fetch_new(session.selected)

    async def _fetch_new(self, selected: "Selected") -> None:
        first, last = self._fetched + 1, selected.view.last_uid
        if last < first:
            return
        self._fetched = last
        own, self._own = self._own, set()
        if self.fetch is None:
            return
        new = selected.view.uids(SequenceSet(f"{first}:{last}"), uid=True)
        if wanted := [uid for uid in new if uid not in own]:
            await write_unasked(self._session, selected, wanted, self.fetch)

    def _status(
        self, name: Listed, mailbox: Mailbox, wanted: frozenset[str], *, all_known: bool = False
    ) -> bytes:
        items = [f"UIDVALIDITY {mailbox.uidvalidity}"]
        if MESSAGE_NEW in wanted:
            items += [f"UIDNEXT {mailbox.uidnext}", f"MESSAGES {mailbox.messages}"]
        if FLAG_CHANGE in wanted:
            items.append(f"UNSEEN {mailbox.unseen}")
        if self._session.condstore or (all_known and FLAG_CHANGE in wanted):
            items.append(f"HIGHESTMODSEQ {mailbox.highest_modseq}")
        shown = encode_mailbox(name.name, self._session.connection.reader.utf8)
        return b"* STATUS " + shown + f" ({' '.join(items)})\r\n".encode()
