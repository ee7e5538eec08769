"""Clients that are gone at once."""

import asyncio
import socket
import struct


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection, so that the server learns of it at once."""
    make_resetting(writer.get_extra_info("socket"))
    writer.transport.abort()


def make_resetting(connection: socket.socket) -> None:
    """Have the connection reset when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
