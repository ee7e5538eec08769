"""STORE, COPY, MOVE, EXPUNGE (RFC 3501 §6.4.3, §6.4.6-7; RFC 4315; RFC 6851; RFC 7162 §3.1.3, §3.2)."""

from typing import TYPE_CHECKING, cast

from esp.core.errors import NoPermissionError, NotFoundError, UnavailableError
from esp.core.rights import Rights, allows_keywords, settable_flags
from esp.imap.enabling import enable_condstore
from esp.imap.responses import SOME_EXPUNGED, Refusal, bad_when
from esp.imap.selected import Selected
from esp.native import (
    Command,
    CopyArguments,
    ExpungeArguments,
    SequenceSet,
    StoreArguments,
    StorePlan,
    encode_set,
)
from esp.services.access import Reached
from esp.services.messages import Copied, MessagesGoneError

if TYPE_CHECKING:
    from esp.core.message import StoreMode
    from esp.imap.session import Session

MAILBOX_MISSING = "NO [TRYCREATE] Mailbox does not exist"
_SOME_GONE = "NO [EXPUNGEISSUED] Some of the messages have been deleted; none was copied"


async def store(session: "Session", command: Command) -> str:
    """STORE and UID STORE."""
    arguments = command.arguments
    assert isinstance(arguments, StoreArguments)
    selected = writable(session, Rights.NONE)
    if arguments.unchanged_since is not None:
        enable_condstore(session)
    # Ask the database: a change that another session got its OK for may not have been notified yet.
    await session.refresh(ask=True)
    bits = await _permitted_bits(session, selected, command, arguments)
    plan = _plan(selected, command, arguments, bits)
    modified, numbers = plan.modified, plan.modified_numbers
    own, after = 0, 0
    if plan.changing:
        stored = await session.door.messages.store(
            selected.opened.mailbox,
            plan.changing,
            cast("StoreMode", arguments.mode),
            bits,
            arguments.unchanged_since,
            settable=selected.view.settable,
        )
        own, after = stored.own, stored.after
        selected.opened.heard(stored.modseq)
        await selected.opened.refresh()
        if stored.modified:
            # Another session changed the messages meanwhile; that change is known by now.
            plan = _plan(selected, command, arguments, bits)
            modified, numbers = plan.modified, plan.modified_numbers
    refused = frozenset(modified)
    named = [uid for uid in plan.uids if uid not in refused]
    session.sync(
        selected,
        expunges=command.uid,
        uid=command.uid,
        # RFC 7162 §3.1.3: this shows why it was refused, with .SILENT as well.
        announce=modified if arguments.silent else named + modified,
        silent=named if arguments.silent else (),
        silent_modseq=own,
        silent_after=after,
    )
    name = f"{'UID ' if command.uid else ''}STORE"
    if modified:
        code = f"[MODIFIED {encode_set(modified if command.uid else numbers)}]"
        if plan.vanished:
            return f"NO {code} Some of the messages have been deleted, and conditional {name} failed"
        return f"OK {code} Conditional {name} failed"
    # RFC 2180 §4.2.1: a .SILENT STORE is OK if it was done for the messages that still exist.
    if plan.vanished and not arguments.silent:
        return SOME_EXPUNGED
    return f"OK {name} completed"


async def expunge(session: "Session", command: Command) -> str:
    """EXPUNGE and UID EXPUNGE (RFC 4315 §2.1)."""
    arguments = command.arguments
    selected = writable(session, Rights.EXPUNGE)
    await session.refresh(ask=True)
    wanted = arguments.set if isinstance(arguments, ExpungeArguments) else None
    uids = selected.view.deleted(wanted)
    if uids:
        modseq = await session.door.messages.expunge(selected.opened.mailbox, uids)
        selected.opened.heard(modseq)
        await selected.opened.refresh()
    session.tell(uid=command.uid, own=True)
    return f"OK {highest_modseq(session) if uids else ''}{'UID ' if command.uid else ''}EXPUNGE completed"


async def copy(session: "Session", command: Command) -> str:
    """COPY and UID COPY."""
    arguments = command.arguments
    selected = session.selected
    assert isinstance(arguments, CopyArguments)
    assert selected is not None
    await session.refresh()
    uids = _uids(selected, arguments.set, uid=command.uid)
    limit = session.door.settings.save_limit
    if len(uids) > limit:
        # RFC 9738 §3.1: none is copied; the code says which could be: the last ones.
        raise Refusal(f"NO [MESSAGELIMIT {limit} {uids[-limit]}] Too many messages to copy at once")
    target = await target_of(session, arguments.mailbox)
    if not command.uid and selected.view.has_vanished(arguments.set, uid=False):
        raise Refusal(_SOME_GONE)
    try:
        # RFC 3501 §6.4.7: all or nothing; but UIDs that do not exist are passed over (§6.4.8).
        copied = await session.door.messages.copy(
            selected.opened.mailbox,
            target.mailbox.id,
            uids,
            settable=settable_flags(target.rights),
            whole=not command.uid,
        )
    except MessagesGoneError as error:
        raise Refusal(_SOME_GONE) from error
    session.placed(target.mailbox.id, copied.copies)
    await _refresh_if_possible(selected)
    return f"OK {_copyuid(copied, target)}{'UID ' if command.uid else ''}COPY completed"


async def move(session: "Session", command: Command) -> str:
    """MOVE and UID MOVE (RFC 6851)."""
    arguments = command.arguments
    assert isinstance(arguments, CopyArguments)
    # RFC 6851 §3.3 (as COPY, STORE +FLAGS \Deleted, EXPUNGE): both rights in the source.
    selected = writable(session, Rights.DELETE_MESSAGES | Rights.EXPUNGE)
    await session.refresh()
    uids = _uids(selected, arguments.set, uid=command.uid)
    target = await target_of(session, arguments.mailbox)
    gone: list[int] = []
    limit = session.door.settings.save_limit
    # RFC 6851 §3.3: each message is moved or not, so very many need not be moved in one transaction.
    for first in range(0, len(uids), limit):
        moved = await session.door.messages.move(
            selected.opened.mailbox,
            target.mailbox.id,
            uids[first : first + limit],
            settable=settable_flags(target.rights),
        )
        if moved.sources:
            # RFC 6851 §4.3: COPYUID in an untagged OK, before the EXPUNGE responses.
            session.untagged(f"OK {_copyuid(moved, target)}Moved")
        session.placed(target.mailbox.id, moved.copies)
        gone += moved.sources
    await _refresh_if_possible(selected)
    session.tell(uid=command.uid, own=True)
    return f"OK {highest_modseq(session) if gone else ''}{'UID ' if command.uid else ''}MOVE completed"


async def target_of(session: "Session", name: str) -> Reached:
    """Return the mailbox that messages are to go to; its `settable_flags` say which of their flags are kept.

    Raises:
        Refusal: there is no such mailbox; the client may create it and try again (RFC 3501 §6.3.11, §6.4.7).
        NoPermissionError: nothing may be added to it.
    """
    try:
        return await session.door.mailboxes.reach(session.owner, name, Rights.INSERT)
    except NotFoundError as error:
        raise Refusal(MAILBOX_MISSING) from error


def highest_modseq(session: "Session") -> str:
    """Return the response code of a command that has removed messages (RFC 7162 §3.2.7, §3.2.9; RFC 6851 §4.4).

    It goes behind what was told, so that the client may take it for what it has.
    """
    selected = session.selected
    return f"[HIGHESTMODSEQ {selected.view.told}] " if session.condstore and selected is not None else ""


async def _refresh_if_possible(selected: Selected) -> None:
    try:
        await selected.opened.refresh(ask=True)
    except UnavailableError:
        return  # the command was carried out; the next one reports the changes


async def _permitted_bits(
    session: "Session", selected: Selected, command: Command, arguments: StoreArguments
) -> int:
    """Return those of the named bits that the session may change.

    Raises:
        NoPermissionError: flags were named, and the session may change none of them (RFC 4314 §4).
    """
    settable = selected.view.settable
    bits = arguments.flags
    keywords = bool(arguments.keywords) and allows_keywords(settable)
    if keywords:
        bits |= await _keyword_bits(session, selected, command, arguments)
    # A keyword that no message has ever had has no bit, and removing it is allowed all the same. Flags that `FLAGS (…)`
    # does not name do not count: they must not be lost to a session that may set none of the flags it named.
    if (bits or arguments.keywords) and not (keywords or bits & settable):
        raise NoPermissionError("Permission denied")
    if arguments.mode == "replace" and not settable:
        raise NoPermissionError("Permission denied")
    return bits & settable


async def _keyword_bits(
    session: "Session", selected: Selected, command: Command, arguments: StoreArguments
) -> int:
    bits, unknown = selected.opened.index.keyword_bits(arguments.keywords)
    if unknown and arguments.mode != "remove":
        await session.door.messages.add_keywords(selected.opened.mailbox, unknown)
        await selected.opened.refresh(ask=True)
        # Reported before the flags are changed. A new keyword takes a mod-sequence; unreported, it would look like
        # somebody else's change, and .SILENT would not hold (RFC 3501 §6.4.6).
        session.tell(expunges=command.uid, uid=command.uid)
        bits, _ = selected.opened.index.keyword_bits(arguments.keywords)
    return bits


def _plan(selected: Selected, command: Command, arguments: StoreArguments, bits: int) -> StorePlan:
    with bad_when(ValueError):
        return selected.view.store(
            arguments.set,
            uid=command.uid,
            mode=arguments.mode,
            bits=bits,
            unchanged_since=arguments.unchanged_since,
        )


def _uids(selected: Selected, wanted: SequenceSet, *, uid: bool) -> list[int]:
    with bad_when(ValueError):
        return selected.view.uids(wanted, uid=uid)


def writable(session: "Session", need: Rights) -> Selected:
    """Return the selected mailbox.

    Raises:
        Refusal: the mailbox is read-only.
        NoPermissionError: a right is missing.
    """
    selected = session.selected
    assert selected is not None
    if selected.view.read_only:
        raise Refusal("NO [CANNOT] The mailbox was opened read-only")
    if need not in selected.rights:
        raise NoPermissionError("Permission denied")
    return selected


def _copyuid(copied: Copied, target: Reached) -> str:
    # RFC 4315 §3: not when nothing was copied, as with a UID COPY of messages that are not there. RFC 9051 §6.4.7: nor
    # of a mailbox that the user may not select.
    if not copied.sources or Rights.READ not in target.rights:
        return ""
    return f"[COPYUID {copied.uidvalidity} {encode_set(copied.sources)} {encode_set(copied.copies)}] "
