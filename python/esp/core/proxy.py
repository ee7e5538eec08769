"""The header of PROXY protocol version 2, by which a balancer tells who really connects.

Binary, so its end is known exactly; version 1 is not read. Specification: haproxy's `doc/proxy-protocol.txt` §2.2.
"""

from ipaddress import IPv4Address, IPv6Address

import msgspec

from esp.core.errors import InvalidError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED_LENGTH = 16
"""Octets of the part that tells how long the rest is."""
LONGEST = 2048
"""Octets of the rest: addresses, and TLV fields that are skipped."""

_TCP4, _TCP6 = 0x11, 0x21


class Proxied(msgspec.Struct, frozen=True):
    """Who connected to the balancer."""

    address: IPv4Address | IPv6Address
    port: int


def remaining(fixed: bytes) -> int:
    """Return how many octets follow the first `FIXED_LENGTH`.

    Raises:
        InvalidError: this is no such header.
    """
    length = int.from_bytes(fixed[14:16], "big")
    if len(fixed) != FIXED_LENGTH or not fixed.startswith(SIGNATURE) or length > LONGEST:
        raise InvalidError("Not a PROXY protocol version 2 header")
    return length


def source(fixed: bytes, rest: bytes) -> Proxied | None:
    """Return who connected; `None` when the balancer connects for itself or does not say.

    Raises:
        InvalidError: the header contradicts itself.
    """
    match fixed[12], fixed[13]:
        case (0x20, _):
            return None
        case (0x21, 0x11) if len(rest) >= 12:
            return Proxied(IPv4Address(rest[0:4]), int.from_bytes(rest[8:10], "big"))
        case (0x21, 0x21) if len(rest) >= 36:
            return Proxied(IPv6Address(rest[0:16]), int.from_bytes(rest[32:34], "big"))
        case (0x21, family) if family not in {_TCP4, _TCP6}:
            # UNSPEC, datagrams, Unix sockets: "the receiver should ignore the address".
            return None
    raise InvalidError("PROXY header with unknown command or short addresses")
