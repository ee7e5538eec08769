"""Line ends: mail has CR LF (RFC 5322 §2.1), files of most programs have LF.

A message whose first line ends in CR LF is taken to be as it was sent, and no octet of it is changed; in any other,
every LF without CR becomes CR LF.
"""

import re

_BARE = re.compile(rb"(?<!\r)\n")


def is_wire(octets: bytes) -> bool:
    """Tell whether a message that begins so has the line ends of mail, or no line end at all."""
    first = octets.find(b"\n")
    return first < 0 or octets[max(first - 1, 0) : first] == b"\r"


def to_wire(octets: bytes) -> bytes:
    """Return a message with the line ends of mail."""
    return octets if is_wire(octets) else with_crlf(octets)


def with_crlf(octets: bytes) -> bytes:
    """Return octets with CR LF for every LF."""
    return _BARE.sub(b"\r\n", octets) if b"\r" in octets else octets.replace(b"\n", b"\r\n")


class ToWire:
    """`to_wire` for a message that comes in pieces; the first must hold the first line, if it is not very long."""

    __slots__ = ("_as_it_is", "_last")

    def __init__(self) -> None:
        self._as_it_is: bool | None = None
        self._last = b""

    def feed(self, octets: bytes) -> bytes:
        """Return what a piece becomes."""
        if not octets:
            return octets
        if self._as_it_is is None:
            self._as_it_is = is_wire(octets)
        if self._as_it_is:
            return octets
        # A CR at the end of the last piece belongs to an LF at the beginning of this one.
        made = with_crlf(self._last + octets)[len(self._last) :]
        self._last = b"\r" if octets.endswith(b"\r") else b""
        return made


def from_wire(octets: bytes) -> bytes:
    """Return octets with LF for every CR LF."""
    return octets.replace(b"\r\n", b"\n")


def is_regular(octets: bytes) -> bool:
    """Tell whether `with_crlf` makes these octets again of what `from_wire` makes of them."""
    lines = octets.count(b"\r\n")
    return octets.count(b"\n") == lines == octets.count(b"\r")
