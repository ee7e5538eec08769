"""One ESP for each run folder: a second start is refused, and told which process was first."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from esp.server import state
from esp.server.failure import StartError


@contextlib.contextmanager
def only_one(run_path: Path) -> Iterator[None]:
    """Hold the lock of this run folder, with our process id in it.

    Raises:
        StartError: another ESP holds it.
    """
    path = run_path / state.PID_FILE
    with path.open("a+") as file:
        _lock(file, run_path)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        # Emptied, not removed: another starting process may have it open already.
        file.seek(0)
        file.truncate()


def _lock(file: IO[str], run_path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = file.read().strip() or "?"
        raise StartError(
            f"ESP is already running here (process {pid}); stop it with `kill {pid}`, "
            f"or give this one another server.run_path than {run_path}"
        ) from None
