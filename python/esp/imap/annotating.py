"""GETMETADATA and SETMETADATA (RFC 5464)."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from esp.core import annotation
from esp.native import (
    Annotations,
    Command,
    GetMetadataArguments,
    SetMetadataArguments,
    encode_mailbox,
    encode_string,
)

if TYPE_CHECKING:
    from esp.imap.session import Session
    from esp.services.annotations import Values

_ATOM = re.compile(r"[!#$&'+,./0-9:;<=>?@A-Z^_`a-z|}~\[-]+")


async def get_metadata(session: "Session", command: Command) -> str:
    """GETMETADATA."""
    arguments = command.arguments
    assert isinstance(arguments, GetMetadataArguments)
    found = await session.door.annotations.of(session.owner, arguments.mailbox)
    line, longest = metadata_line(session, found.name, found.values, arguments.annotations)
    session.connection.write(line)
    return f"OK {long_entries(longest)}GETMETADATA completed"


async def set_metadata(session: "Session", command: Command) -> str:
    """SETMETADATA: all values or none (RFC 5464 §4.3)."""
    arguments = command.arguments
    assert isinstance(arguments, SetMetadataArguments)
    await session.door.annotations.set(session.owner, arguments.mailbox, arguments.values)
    return "OK SETMETADATA completed"


def metadata_line(session: "Session", name: str, values: "Values", wanted: Annotations) -> tuple[bytes, int]:
    """Return the response with the annotations wanted, and the length of the longest value left out.

    The response is empty if there is no such annotation. An entry that the client asked for by its own name is answered
    with NIL when it has no value, so that the client need not tell silence from an empty answer.
    """
    parts: list[bytes] = []
    longest = 0
    for entry, value in _picked(values, wanted):
        if value is not None and wanted.max_size is not None and len(value) > wanted.max_size:
            longest = max(longest, len(value))
            continue
        shown = entry.encode() if _ATOM.fullmatch(entry) else encode_string(entry)
        parts.append(shown + b" " + _value(value))
    if not parts:
        return b"", longest
    mailbox = encode_mailbox(name, session.connection.reader.utf8)
    return b"* METADATA " + mailbox + b" (" + b" ".join(parts) + b")\r\n", longest


def long_entries(longest: int) -> str:
    """Return the response code for values that `MAXSIZE` has left out (RFC 5464 §4.2.1)."""
    return f"[METADATA LONGENTRIES {longest}] " if longest else ""


def _picked(values: "Values", wanted: Annotations) -> Iterator[tuple[str, bytes | None]]:
    told: set[str] = set()
    for asked in wanted.entries:
        if wanted.depth == 0 and asked not in values and asked not in told:
            told.add(asked)
            yield asked, None
        for entry, value in values.items():
            if entry not in told and annotation.is_within(entry, asked, wanted.depth):
                told.add(entry)
                yield entry, value


def _value(value: bytes | None) -> bytes:
    if value is not None and b"\0" in value:
        return b"~{%d}\r\n" % len(value) + value  # a literal8 (RFC 5464 §5)
    return encode_string(value)
