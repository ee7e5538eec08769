"""Flags of a message as a bit set (RFC 3501 §2.3.2), the same in PostgreSQL, Rust and Python."""

from enum import IntFlag
from typing import Literal

StoreMode = Literal["replace", "add", "remove"]
"""What STORE does to flags (RFC 3501 §6.4.6)."""


class SystemFlag(IntFlag):
    """The system flags; `\\Recent` is a property of a session and has no bit."""

    ANSWERED = 1
    FLAGGED = 2
    DELETED = 4
    SEEN = 8
    DRAFT = 16


FIRST_KEYWORD_BIT = 8
MAX_KEYWORDS = 55
"""A signed 64-bit column holds eight system bits and this many keywords for each mailbox."""

FLAG_NAMES: dict[SystemFlag, str] = {
    SystemFlag.ANSWERED: "\\Answered",
    SystemFlag.FLAGGED: "\\Flagged",
    SystemFlag.DELETED: "\\Deleted",
    SystemFlag.SEEN: "\\Seen",
    SystemFlag.DRAFT: "\\Draft",
}
