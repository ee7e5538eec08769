"""The sockets that doors listen on."""

import socket

BACKLOG = 1024
"""Connections that wait to be accepted; the kernel allows at most `net.core.somaxconn`."""


def listener(address: str, port: int) -> socket.socket:
    """Listen on a TCP port; other processes may listen on it, too.

    Args:
        address: of IPv4 or IPv6, or a name of an IPv4 address; `::` is every address of both families.
        port: 0 for any that is free.

    Returns:
        A socket that does not block.

    Raises:
        OSError: the port is taken or not permitted, or the address is not one of this machine.
    """
    made = socket.create_server(
        (address, port),
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        backlog=BACKLOG,
        reuse_port=True,
        # The socket that asyncio would make takes IPv6 only, whatever the address.
        dualstack_ipv6=address == "::",
    )
    made.setblocking(False)
    return made
