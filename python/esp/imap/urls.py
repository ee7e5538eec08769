"""IMAP URLs that name a message of the same server, or a part of one (RFC 5092 §6, for RFC 4469)."""

import re
from urllib.parse import unquote_to_bytes

import msgspec

from esp.core.errors import InvalidError
from esp.core.mailbox import Uid

_MESSAGE = re.compile(
    r"""
    (?: / (?P<mailbox> [^;/][^;]*? ) )?                 # none: the mailbox that is selected
    (?: ;UIDVALIDITY= (?P<uidvalidity> [1-9]\d{0,9} ) )?
    /? ;UID= (?P<uid> [1-9]\d{0,9} )
    (?: /;SECTION= (?P<section> [^;]+? ) )?
    (?: /;PARTIAL= (?P<origin> \d{1,10} ) (?: \. (?P<length> [1-9]\d{0,9} ) )? )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_WHOLE_REST = 2**63


class MessageUrl(msgspec.Struct, frozen=True):
    """A message, or octets of it, that a client asks the server to take."""

    mailbox: str | None
    """Unicode; `None` is the mailbox that is selected."""
    uidvalidity: int | None
    uid: Uid
    section: str
    """As in `BODY[…]`; empty for the whole message."""
    partial: tuple[int, int] | None
    """First octet, and the largest number of octets."""


def message_url(url: str) -> MessageUrl:
    """Return what a relative IMAP URL names.

    `imessagepart = enc-mailbox [uidvalidity] iuid [isection] [ipartial]` behind a slash, or without the mailbox and
    the slash. Absolute URLs, and those with URLAUTH, are for other servers.

    Raises:
        InvalidError: this is no such URL.
    """
    found = _MESSAGE.fullmatch(url)
    if found is None:
        raise InvalidError("This is no URL of a message here")
    origin, length = found["origin"], found["length"]
    return MessageUrl(
        mailbox=None if found["mailbox"] is None else _decoded(found["mailbox"]),
        uidvalidity=None if found["uidvalidity"] is None else int(found["uidvalidity"]),
        uid=Uid(int(found["uid"])),
        section=_decoded(found["section"] or ""),
        partial=None if origin is None else (int(origin), int(length or _WHOLE_REST)),
    )


def _decoded(text: str) -> str:
    """Undo percent-encoding; names are UTF-8 (RFC 5092 §8) without NUL, which no name has (RFC 3501 §9)."""
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise InvalidError("This URL is not UTF-8") from error
    if "\0" in decoded:
        raise InvalidError("This URL has a NUL")
    return decoded
