"""Reporting our state to systemd (sd_notify(3), `Type=notify`); without systemd nothing happens."""

import os
import socket
import time


def notify(**state: str | int) -> None:
    """Send `KEY=value` lines, such as `READY=1` or `STATUS=…`."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # the abstract name space
        address = "\0" + address[1:]
    text = "\n".join(f"{key}={value}" for key, value in state.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(text.encode(), address)
    except OSError:
        pass  # systemd is gone


def reloading() -> None:
    """Report that a reload begins; systemd requires the time, to tell it from an earlier reload."""
    notify(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
