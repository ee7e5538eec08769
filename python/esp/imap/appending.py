"""APPEND and REPLACE: messages from literals and from parts of other messages, all of them or none.

RFC 3501 §6.3.11, RFC 3502 (several at once), RFC 3516 (literal8), RFC 4469 (CATENATE), RFC 7889, RFC 8508 (REPLACE).
What can be decided before a message comes is decided before its first octet, while the client waits for that. Only
the mailbox found for the APPEND before is used again without a look; whether it has changed is checked when the
message is stored.
"""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from esp.core.errors import EspError, InvalidError, MailboxChangedError, NotFoundError, OverQuotaError
from esp.core.mailbox import Uid
from esp.core.mailbox_name import canonical
from esp.core.quota import Quota
from esp.core.rights import Rights, allows_keywords, settable_flags
from esp.imap.composing import Composition, UnknownEncodingError
from esp.imap.responses import UID_REQUIRED, Refusal, bad_when, response_for, text
from esp.imap.storing import MAILBOX_MISSING, highest_modseq, target_of, writable
from esp.imap.urls import message_url
from esp.native import (
    AppendHead,
    AppendLiteral,
    AppendOctets,
    AppendUrl,
    Command,
    SequenceSet,
    Spool,
    encode_set,
)
from esp.services.access import Reached
from esp.services.appends import Appended, NewMessage, Replaced, ReplacedGoneError

if TYPE_CHECKING:
    from esp.imap.session import Session

IN_MEMORY = 256 * 1024
"""Octets of one message that are held in memory; a larger message is written to the disk as it comes."""
ALL_IN_MEMORY = 8 * 1024 * 1024
"""Octets of all messages of one command together that are held in memory."""
MOST_MESSAGES = 500
"""Messages in one command: each may need a file of its own until the last one is here."""

_NOT_THERE = "NO [EXPUNGEISSUED] The message to be replaced is not there"


class Append:
    """A command whose messages are coming."""

    __slots__ = ("_quota", "_session", "messages", "remembered", "replaced", "tag", "target")

    def __init__(
        self, session: "Session", tag: str, target: Reached, quota: Quota | None, replaced: Replaced | None
    ) -> None:
        self.tag = tag
        self.target = target
        self.remembered = target is session.appended_to
        """Whether `target` was found for an earlier command."""
        self.messages: list[Composition] = []
        self.replaced = replaced
        self._quota = quota
        self._session = session

    def message(self, head: AppendHead, *, binary: bool) -> Composition:
        """Return the message that a part belongs to.

        Raises:
            InvalidError: its date is invalid.
            Refusal: there are too many messages.
        """
        if head.position == len(self.messages):
            if head.position >= MOST_MESSAGES:
                raise Refusal(f"NO [MESSAGELIMIT {MOST_MESSAGES}] Too many messages at once")  # RFC 9738 §3.1
            door = self._session.door
            held = sum(message.in_memory for message in self.messages)
            self.messages.append(
                Composition(
                    head,
                    binary=binary,
                    limit=door.settings.max_literal,
                    room=min(IN_MEMORY, ALL_IN_MEMORY - held),
                    spool=door.spool,
                )
            )
        return self.messages[-1]

    def check_room(self, octets: int) -> None:
        """Check that the account has room for what has come and for `octets` more.

        REPLACE frees the room of the message it replaces as well. Only the service knows that; it is not judged here.

        Raises:
            OverQuotaError: there is no room.
        """
        if self._quota is None or self.replaced is not None:
            return
        come = sum(message.size for message in self.messages)
        if not self._quota.fits(come + octets, len(self.messages)):
            raise OverQuotaError("The account has no room for this")

    def kept(self, bodies: Sequence[bytes | Spool]) -> list[NewMessage]:
        """Return the messages as they are to be kept."""
        settable = settable_flags(self.target.rights)
        return [
            NewMessage(
                body=body,
                # RFC 4314 §4: flags that may not be set there are left out silently.
                flags=message.flags & settable,
                keywords=message.keywords if allows_keywords(settable) else (),
                internal_date=message.internal_date,
            )
            for message, body in zip(self.messages, bodies, strict=True)
        ]

    def close(self) -> None:
        """Forget all of it; nothing is left on the disk."""
        for message in self.messages:
            message.close()


async def literal(session: "Session", event: AppendLiteral) -> None:
    """Decide whether a literal may come."""

    async def decide() -> None:
        head = event.head
        if event.size == 0 and head.part is None:
            # RFC 3502 §6.3.11: with an empty literal a client cancels the command. Alone it would be no message either.
            raise Refusal("NO A message cannot be empty; nothing was appended")
        if event.utf8 and not (session.utf8_accept or session.imap4rev2):
            raise Refusal("NO [CANNOT] ENABLE UTF8=ACCEPT comes first")  # RFC 6855 §4
        append = await _current(session, head)
        message = append.message(head, binary=event.binary and not event.utf8)
        message.expect(event.size)
        append.check_room(event.size)
        session.connection.reader.accept()
        if event.synchronising:
            session.connection.write(b"+ Ready for the message\r\n")

    await _guarded(session, event.head.tag, decide)


async def url(session: "Session", event: AppendUrl) -> None:
    """Take a part of another message (RFC 4469 §3)."""

    async def take() -> None:
        append = await _current(session, event.head)
        message = append.message(event.head, binary=False)
        try:
            await _take_section(session, append, message, event.url)
        except (InvalidError, NotFoundError) as error:
            raise Refusal(f'NO [BADURL "{_url_text(event.url)}"] {text(error.detail)}') from error

    await _guarded(session, event.head.tag, take)


async def octets(session: "Session", event: AppendOctets) -> None:
    """Take octets of a literal."""
    append = session.append
    if append is None:
        return
    await _guarded(session, append.tag, lambda: append.messages[-1].add(event.octets))


async def finish(session: "Session", command: Command) -> str:
    """APPEND, REPLACE and UID REPLACE, when all octets have come."""
    append = session.append
    if append is None:
        raise Refusal("BAD No message was accepted")
    try:
        bodies = [await message.finish() for message in append.messages]
        append.check_room(0)
        appended = await _added(session, append, bodies)
    except UnknownEncodingError as error:
        raise Refusal(_unknown_encoding(error)) from error
    except ReplacedGoneError as error:
        raise Refusal(_NOT_THERE) from error
    except NotFoundError as error:
        # Deleted while the message came.
        raise Refusal(MAILBOX_MISSING) from error
    session.placed(append.target.mailbox.id, appended.uids)
    for mailbox, modseq in appended.changes:
        session.door.open_mailboxes.heard(mailbox, modseq)
    if session.selected is not None and any(
        mailbox == session.selected.opened.mailbox for mailbox, _ in appended.changes
    ):
        await session.refresh()
    # RFC 9051 §6.3.12: nothing is disclosed of a mailbox that the user may not select.
    selectable = Rights.READ in append.target.rights
    code = f"[APPENDUID {appended.uidvalidity} {encode_set(appended.uids)}] " if selectable else ""
    if append.replaced is None:
        return f"OK {code}APPEND completed"
    # RFC 8508 §4.3: before the EXPUNGE, so that the client knows what has taken the place.
    session.untagged(f"OK {code}Replacement is there")
    session.tell(uid=command.uid, own=True)
    # RFC 8508 §4.5: as with UID EXPUNGE.
    return f"OK {highest_modseq(session)}{'UID ' if command.uid else ''}REPLACE completed"


async def _added(session: "Session", append: Append, bodies: Sequence[bytes | Spool]) -> Appended:
    """Add the messages; a mailbox that was found for an earlier command is looked up only where it has changed."""
    appends = session.door.appends
    if append.remembered:
        if _can_be_tried(append, bodies):
            with suppress(MailboxChangedError):
                return await appends.append_again(append.target.mailbox, append.kept(bodies)[0])
        session.appended_to = None
        append.target = await target_of(session, append.target.name)
    appended = await appends.append(append.target.mailbox, append.kept(bodies), append.replaced)
    # The owner has all rights on it as long as nobody else was given any (`Mailboxes.reach`).
    private = append.target.own and append.target.mailbox.acl_version == 0
    session.appended_to = append.target if private else None
    return appended


def _can_be_tried(append: Append, bodies: Sequence[bytes | Spool]) -> bool:
    """Tell whether trying loses nothing, and leaves nothing behind, if the mailbox turns out to have changed."""
    return (
        len(bodies) == 1
        and append.replaced is None
        and isinstance(bodies[0], bytes)  # a spool can be used only once
        # New keywords are added to a mailbox before it is checked to be the right one.
        and not append.messages[0].keywords
    )


async def _guarded(session: "Session", tag: str, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Take a step; if it fails, answer the command and pass over the rest of it."""
    try:
        await step()
    except (Refusal, EspError) as error:
        session.forget_append()
        session.connection.reader.refuse()
        session.tagged(tag, _response(error))


def _response(error: Refusal | EspError) -> str:
    if isinstance(error, Refusal):
        return error.response
    if isinstance(error, UnknownEncodingError):
        return _unknown_encoding(error)
    if isinstance(error, InvalidError):
        return f"BAD {text(error.detail)}"
    return response_for(error)


def _unknown_encoding(error: UnknownEncodingError) -> str:
    return f"NO [UNKNOWN-CTE] {text(error.detail)}"


async def _current(session: "Session", head: AppendHead) -> Append:
    """Return the command that a part belongs to; the first part begins it.

    Raises:
        Refusal: the command is not allowed.
    """
    if session.append is not None:
        return session.append
    if session.principal is None:
        raise Refusal("BAD Log in first")
    replaced = None if head.replaces is None else await _replaced(session, head.replaces, uid=head.uid)
    target = session.appended_to
    if target is None or target.name != canonical(head.mailbox):
        target = await target_of(session, head.mailbox)
    mailbox = target.mailbox
    quota = await session.door.quotas.of(mailbox.account) if mailbox.limited else None
    session.append = Append(session, head.tag, target, quota, replaced)
    return session.append


async def _replaced(session: "Session", message: SequenceSet, *, uid: bool) -> Replaced:
    if session.selected is None:
        raise Refusal("BAD No mailbox is selected")
    # RFC 8508 §3.1: the replaced message is expunged, as by MOVE.
    selected = writable(session, Rights.DELETE_MESSAGES | Rights.EXPUNGE)
    await session.refresh()
    if session.uidonly and not uid:
        raise Refusal(f"BAD {UID_REQUIRED}")
    with bad_when(ValueError):
        uids = selected.view.uids(message, uid=uid)
    if not uids:
        raise Refusal(_NOT_THERE)
    return Replaced(selected.opened.mailbox, Uid(uids[0]))


async def _take_section(session: "Session", append: Append, message: Composition, given: str) -> None:
    named = message_url(given)
    if named.mailbox is None:
        if session.selected is None:
            raise InvalidError("No mailbox is selected")
        name = session.selected.name
    else:
        name = named.mailbox
    mailbox = (await session.door.mailboxes.reach(session.owner, name, Rights.READ)).mailbox
    if named.uidvalidity is not None and named.uidvalidity != mailbox.uidvalidity:
        raise NotFoundError("The mailbox is not the one that it was")
    section = await session.door.messages.section(mailbox, named.uid, named.section, named.partial)
    append.check_room(section.size)
    await message.add_section(section)


def _url_text(given: str) -> str:
    # url-resp-text = 1*(any TEXT-CHAR except "]") (RFC 4469 §5), here in quotes.
    return text(given).replace("]", "?").replace('"', "?").replace("\\", "?")
