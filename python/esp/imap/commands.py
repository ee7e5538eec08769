"""Which command is answered by what, and in which states it is allowed (RFC 3501 §6)."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from esp.core.errors import NotFoundError
from esp.imap import (
    annotating,
    appending,
    authenticating,
    contexts,
    enabling,
    fetching,
    idling,
    multisearching,
    naming,
    notifying,
    quota,
    searching,
    selecting,
    sharing,
    storing,
)
from esp.imap.progress import Progress
from esp.imap.responses import UID_REQUIRED, Refusal
from esp.native import (
    AppendLiteral,
    AppendOctets,
    AppendUrl,
    Command,
    RawLine,
    SearchArguments,
    SortArguments,
    ThreadArguments,
)

if TYPE_CHECKING:
    from esp.imap.session import Session

Answer = Callable[["Session", Command], Awaitable[str | None]]
"""Writes the untagged responses and returns what follows the tag; `None` when the command goes on."""


class _Entry(NamedTuple):
    answer: Answer
    state: str
    expunges: bool = True
    """Whether EXPUNGE may be sent while the command is answered, if there is no UID before it (RFC 3501 §7.4.1)."""


_ANY, _BEFORE, _AFTER, _SELECTED = "any", "before", "after", "selected"

_COMMANDS: dict[str, _Entry] = {
    "CAPABILITY": _Entry(authenticating.capability, _ANY),
    "NOOP": _Entry(selecting.noop, _ANY),
    "LOGOUT": _Entry(authenticating.logout, _ANY),
    "ID": _Entry(authenticating.identify, _ANY),
    "STARTTLS": _Entry(authenticating.starttls, _BEFORE),
    "LOGIN": _Entry(authenticating.login, _BEFORE),
    "AUTHENTICATE": _Entry(authenticating.authenticate, _BEFORE),
    "ENABLE": _Entry(enabling.enable, _AFTER),
    "COMPRESS": _Entry(enabling.compress, _AFTER),
    "UNAUTHENTICATE": _Entry(enabling.unauthenticate, _AFTER),
    "SELECT": _Entry(selecting.select, _AFTER),
    "EXAMINE": _Entry(selecting.select, _AFTER),
    "CREATE": _Entry(naming.create, _AFTER),
    "DELETE": _Entry(naming.delete, _AFTER),
    "RENAME": _Entry(naming.rename, _AFTER),
    "SUBSCRIBE": _Entry(naming.subscribe, _AFTER),
    "UNSUBSCRIBE": _Entry(naming.unsubscribe, _AFTER),
    "LIST": _Entry(naming.list_names, _AFTER),
    "LSUB": _Entry(naming.list_names, _AFTER),
    "NAMESPACE": _Entry(naming.namespace, _AFTER),
    "STATUS": _Entry(naming.status, _AFTER),
    "GETQUOTA": _Entry(quota.get_quota, _AFTER),
    "GETQUOTAROOT": _Entry(quota.get_quota_root, _AFTER),
    "SETQUOTA": _Entry(quota.set_quota, _AFTER),
    "SETACL": _Entry(sharing.set_acl, _AFTER),
    "DELETEACL": _Entry(sharing.delete_acl, _AFTER),
    "GETACL": _Entry(sharing.get_acl, _AFTER),
    "LISTRIGHTS": _Entry(sharing.list_rights, _AFTER),
    "MYRIGHTS": _Entry(sharing.my_rights, _AFTER),
    "GETMETADATA": _Entry(annotating.get_metadata, _AFTER),
    "SETMETADATA": _Entry(annotating.set_metadata, _AFTER),
    "APPEND": _Entry(appending.finish, _AFTER),
    "REPLACE": _Entry(appending.finish, _SELECTED),
    "IDLE": _Entry(idling.idle, _AFTER),
    "NOTIFY": _Entry(notifying.notify, _AFTER),
    "CHECK": _Entry(selecting.noop, _SELECTED),
    "CLOSE": _Entry(selecting.close, _SELECTED),
    "UNSELECT": _Entry(selecting.unselect, _SELECTED),
    "EXPUNGE": _Entry(storing.expunge, _SELECTED),
    "SEARCH": _Entry(searching.search, _SELECTED, expunges=False),
    "SORT": _Entry(searching.search, _SELECTED, expunges=False),
    "THREAD": _Entry(searching.search, _SELECTED, expunges=False),
    "ESEARCH": _Entry(multisearching.esearch, _AFTER, expunges=False),
    "CANCELUPDATE": _Entry(contexts.cancel_update, _SELECTED),
    "FETCH": _Entry(fetching.fetch, _SELECTED, expunges=False),
    "STORE": _Entry(storing.store, _SELECTED, expunges=False),
    "COPY": _Entry(storing.copy, _SELECTED),
    "MOVE": _Entry(storing.move, _SELECTED),
}


_BY_NUMBER = frozenset({"COPY", "FETCH", "MOVE", "REPLACE", "SEARCH", "SORT", "STORE", "THREAD"})
"""Commands that name messages by sequence number when there is no UID before them (RFC 9586 §3.2, §3.8)."""


_PROMPT = frozenset({"COMPRESS", "IDLE", "LOGOUT", "UNAUTHENTICATE"})
"""Commands that write their own last response; nothing may be written after it."""

_LEAVING = frozenset({"CLOSE", "UNSELECT"})
"""Commands that leave the selected mailbox, even if it was deleted."""

_SUCCEEDING = _LEAVING | {"CHECK"}
"""Commands for which there is no NO (RFC 3501 §6.4)."""


def _check(session: "Session", command: Command, state: str) -> None:
    if state == _BEFORE and session.principal is not None:
        raise Refusal("BAD Already authenticated")
    if state in {_AFTER, _SELECTED} and session.principal is None:
        raise Refusal("BAD Log in first")
    if state == _SELECTED and session.selected is None:
        raise Refusal("BAD No mailbox is selected")
    if session.uidonly and command.name in _BY_NUMBER and not command.uid:
        raise Refusal(f"BAD {UID_REQUIRED}")


async def execute(session: "Session", command: Command) -> str | None:
    """Answer a command, and return what follows its tag.

    Raises:
        Refusal, EspError: the command was not carried out.
    """
    entry = _COMMANDS.get(command.name)
    if entry is None:
        raise Refusal(f"BAD {command.name} is not supported")
    _check(session, command, entry.state)
    if entry.state == _SELECTED:
        try:
            if not await session.follow_rights():
                return None
        except NotFoundError:
            if command.name not in _SUCCEEDING:
                raise
            if command.name in _LEAVING:
                session.select(None)
            return f"OK {command.name} completed"
    notification = session.notification
    if notification is not None:
        notification.hush(command)
    patience = (
        0 if entry.state == _BEFORE or command.name in _PROMPT else session.door.settings.progress_interval
    )
    try:
        with Progress(session.connection, command.tag, patience) as session.progress:
            response = await entry.answer(session, command)
    finally:
        if notification is not None:
            await notification.unhush()
        # Whether it succeeded or not, the session is told of its mailbox's changes before the tagged response.
        if response_allowed(session, command) and await session.may_be_told():
            session.tell(expunges=entry.expunges or _may_tell_expunges(command), uid=command.uid)
            if command.name in {"FETCH", "STORE"}:
                fetching.hold_modseq(session)
    return response


def _may_tell_expunges(command: Command) -> bool:
    # RFC 7162 §3.2.10.2: a UID SEARCH may name messages by number all the same.
    arguments = command.arguments
    if isinstance(arguments, SearchArguments | SortArguments | ThreadArguments):
        return command.uid and not arguments.program.numbers
    return command.uid


def response_allowed(session: "Session", command: Command) -> bool:
    """Return whether untagged responses about the selected mailbox may be sent before this command's end."""
    # SELECT's own responses have said all; after CLOSE and UNSELECT nothing is selected.
    return session.selected is not None and command.name not in {"SELECT", "EXAMINE", "LOGOUT"}


async def append_literal(session: "Session", event: AppendLiteral) -> None:
    """Decide whether a literal of a message may come (RFC 3501 §6.3.11)."""
    await appending.literal(session, event)


async def append_octets(session: "Session", event: AppendOctets) -> None:
    """Take octets of a message."""
    await appending.octets(session, event)


async def append_url(session: "Session", event: AppendUrl) -> None:
    """Take a part of another message (RFC 4469)."""
    await appending.url(session, event)


async def end_idle(session: "Session", line: RawLine) -> None:
    """Take the line that ends IDLE."""
    await idling.done(session, line)
