"""The sockets that doors listen on."""

import socket

BACKLOG = 1024
"""Connections that wait to be accepted; the kernel allows at most `net.core.somaxconn`."""


def listener(address: str, port: int) -> socket.socket:
    """Listen on a TCP port, beside other processes that do.

    Args:
        address: of IPv4 or IPv6, or a name of the former; `::` is every address of both families.
        port: 0 for any that is free.

    Returns:
        A socket that does not block.

    Raises:
        OSError: the port is taken or may not be had, or the address is not ours.
    """
    made = socket.create_server(
        (address, port),
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        backlog=BACKLOG,
        reuse_port=True,
        # asyncio's own would take IPv6 only, whatever the address.
        dualstack_ipv6=address == "::",
    )
    made.setblocking(False)
    return made
