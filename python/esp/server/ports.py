"""Whether the doors can have their ports, and what to do about one that they cannot have."""

import errno
import socket
from collections.abc import Iterable

from esp.server.failure import StartError


def check(doors: Iterable[tuple[str, str, int]]) -> None:
    """Refuse ports on which another process listens: with SO_REUSEPORT two ESP servers would silently share them.

    Raises:
        StartError: names every port that cannot be had, and what to do.
    """
    problems: list[str] = []
    for name, address, port in doors:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
                probe.listen(1)
        except OSError as error:
            problems.append(f"{name} {port} on {address} {_advice(name, port, error)}")
    if problems:
        raise StartError("\n".join(problems))


def _advice(name: str, port: int, error: OSError) -> str:
    variable = "ESP_" + name.replace(".", "__").upper()
    if error.errno == errno.EADDRINUSE:
        return f"is taken by another program (see `ss -ltnp 'sport = :{port}'`); end it, or set {variable}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"needs root or CAP_NET_BIND_SERVICE; grant it, or set {variable} to 1024 or more"
    if error.errno == errno.EADDRNOTAVAIL:
        return "is not an address of this machine"
    return f"cannot be listened to: {error.strerror}"
