"""Networks that the settings name: who is among them (RFC 4632, RFC 4291)."""

import ipaddress
from collections.abc import Iterable

import msgspec

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Networks(msgspec.Struct, frozen=True):
    """Some networks; `address in networks` for an address, or a peer as a socket names it."""

    members: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Networks":
        """Return the networks that the texts name.

        Raises:
            ValueError: one of them names none.
        """
        return cls(tuple(ipaddress.ip_network(text, strict=False) for text in texts))

    def __contains__(self, address: "Address | str") -> bool:
        """Whether one of the networks has the address; a peer that has none (a Unix socket) is nowhere."""
        if not self.members:
            return False
        if isinstance(address, str):
            try:
                address = ipaddress.ip_address(address.partition("%")[0])
            except ValueError:
                return False
        # RFC 4291 §2.5.5.2: a socket for both families names IPv4 peers so.
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.members)
