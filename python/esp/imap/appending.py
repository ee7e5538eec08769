"""APPEND: one message, in memory while small, else streamed to the disk where it is to stay (RFC 3501 §6.3.11)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from esp.core.errors import EspError, NotFoundError, OverQuotaError
from esp.core.mailbox import Mailbox
from esp.imap.responses import Refusal, response_for
from esp.imap.storing import target_of
from esp.native import AppendArguments, AppendLiteral, AppendOctets, Command, Spool
from esp.services.dispatch import Incoming, Target
from esp.services.messages import file_errors
from esp.storage import maildir

if TYPE_CHECKING:
    from esp.imap.session import Session

IN_MEMORY = 256 * 1024
"""Octets; a larger message goes to the disk as it comes."""
WRITE_SIZE = 512 * 1024
"""Octets gathered for one write in a thread."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Append:
    """The message that is coming."""

    __slots__ = ("_gathered", "_spool", "flags", "internal_date", "keywords", "mailbox", "tag")

    def __init__(self, session: "Session", literal: AppendLiteral, mailbox: Mailbox) -> None:
        self._gathered = bytearray()
        self._spool: Spool | None = None
        self.tag = literal.tag
        self.mailbox = mailbox
        self.flags = literal.flags
        self.keywords = literal.keywords
        self.internal_date = None if literal.internal_date is None else _moment(literal.internal_date)
        if literal.size > IN_MEMORY:
            self._spool = session.door.spool()

    async def take(self, event: AppendOctets) -> None:
        """Take the next octets.

        Raises:
            StorageFullError, UnavailableError: they could not be written.
        """
        self._gathered += event.octets
        if self._spool is not None and (event.last or len(self._gathered) >= WRITE_SIZE):
            gathered, self._gathered = bytes(self._gathered), bytearray()
            with file_errors():
                await asyncio.to_thread(self._spool.write, gathered)

    def body(self) -> "bytes | Spool":
        """Return what has come."""
        return bytes(self._gathered) if self._spool is None else self._spool

    def close(self) -> None:
        """Forget it; nothing is left on the disk."""
        if self._spool is not None:
            self._spool.close()


def _moment(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        # The grammar has a year 0, and zones that lead out of the year 9999.
        raise Refusal("BAD There is no such date") from error


async def begin(session: "Session", literal: AppendLiteral) -> Append | None:
    """Decide whether the message may come, before its first octet where the client waits."""
    reader = session.connection.reader
    try:
        if session.principal is None:
            raise Refusal("BAD Log in first")
        if literal.position > 0:
            raise Refusal("BAD MULTIAPPEND is not supported")
        if literal.utf8 and not (session.utf8_accept or session.imap4rev2):
            raise Refusal("NO [CANNOT] ENABLE UTF8=ACCEPT comes first")  # RFC 6855 §4
        if literal.binary and not literal.utf8:
            raise Refusal("NO [UNKNOWN-CTE] A literal8 is not supported")
        mailbox = await target_of(session, literal.mailbox)
        quota = await session.door.mailboxes.quota(session.principal)
        if not quota.fits(literal.size):
            raise OverQuotaError("The account has no room for this")
        append = Append(session, literal, mailbox)
    except (Refusal, EspError) as error:
        reader.refuse()
        response = error.response if isinstance(error, Refusal) else response_for(error)
        session.tagged(literal.tag, response)
        return None
    reader.accept()
    if literal.synchronising:
        session.connection.write(b"+ Ready for the message\r\n")
    return append


async def append(session: "Session", command: Command) -> str:
    """APPEND, when all has come."""
    assert isinstance(command.arguments, AppendArguments)
    coming = session.append
    if coming is None:
        raise Refusal("BAD No message was accepted")
    mailbox = coming.mailbox
    target = Target(
        account=mailbox.account,
        mailbox=mailbox.id,
        folder=maildir.folder(mailbox.home, mailbox.directory),
        flags=coming.flags,
        keywords=coming.keywords,
    )
    incoming = Incoming(prefix=b"", body=coming.body(), targets=(target,), internal_date=coming.internal_date)
    try:
        placed = (await session.door.dispatch.deliver(incoming))[0]
    except NotFoundError as error:
        # RFC 9051 §6.3.12: deleted while the message came; the client may make it and try again.
        raise Refusal("NO [TRYCREATE] Mailbox does not exist") from error
    session.door.open_mailboxes.heard(placed.mailbox, placed.modseq)
    if session.selected is not None and session.selected.opened.mailbox == placed.mailbox:
        await session.refresh()
    return f"OK [APPENDUID {placed.uidvalidity} {placed.uid}] APPEND completed"
