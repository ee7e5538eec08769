"""Which process serves a connection, told from /proc."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path


def serving(pids: Sequence[int], client_port: int) -> int | None:
    """Return which of the processes holds the server's end of the connection from `client_port`."""
    inodes = {
        fields[9]
        for name in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{name}").read_text().splitlines()[1:])
        if int(fields[2].rpartition(":")[2], 16) == client_port
    }
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
                    if found is not None and found[1] in inodes:
                        return pid
    return None
