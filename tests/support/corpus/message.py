"""A message of the corpus, and lines as messages have them."""

import re
from dataclasses import dataclass

_BARE_LF = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True)
class Message:
    """A message and where it comes from."""

    name: str
    octets: bytes

    @property
    def canonical(self) -> bytes:
        """The message with CRLF for each bare LF, as SMTP and APPEND carry it."""
        return _BARE_LF.sub(b"\r\n", self.octets)


def lines(*each: str | bytes) -> bytes:
    """Return lines, each with its CRLF."""
    return b"".join((line.encode() if isinstance(line, str) else line) + b"\r\n" for line in each)
