"""PostgreSQL's data folder: made completely or not at all, and free of processes that an earlier start left.

In: the folder. Out: a folder that a server may be started on. `initdb` writes `PG_VERSION` long before it is done.
Therefore a cluster is made in a folder of its own inside and then moved up, `PG_VERSION` last: a folder that has this
file is complete, whenever the process was killed. Nothing outside the folder is touched, so it may be a mount point.
"""

import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from esp.server.failure import StartError

END_TIMEOUT = 60.0
"""Seconds; a server that is told to end first writes a checkpoint."""
_POLL = 0.02
_VERSION = "PG_VERSION"
_PART = "initdb-"
"""The beginning of the names of folders in which clusters are made."""
_OURS = re.compile(
    rf"{_PART}.*|base|global|pg_[a-z_]+(\.conf)?|postgresql(\.auto)?\.conf|{_VERSION}|postmaster\..*"
)
"""What a first start can have left when it was cut off."""


def major(data: Path) -> str | None:
    """Return the major version that made the cluster, or `None` if there is none yet."""
    try:
        return (data / _VERSION).read_text().strip()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def making(data: Path, make_folder: Callable[[Path], None]) -> Iterator[Path]:
    """Yield an empty folder, made by `make_folder`, in which to make a cluster; then move the cluster to `data`.

    Raises:
        StartError: `data` has files that are not PostgreSQL's.
    """
    # Nothing is lost: without PG_VERSION no server has ever run here.
    _clear(data)
    part = Path(tempfile.mkdtemp(prefix=_PART, dir=data))
    try:
        make_folder(part)
        yield part
        _move_up(part, data)
    except BaseException:
        # The first error is the one to report, and the next start clears again.
        shutil.rmtree(part, ignore_errors=True)
        raise


def end_leftovers(data: Path) -> None:
    """End the server, and the `initdb` processes, that a killed supervisor left here.

    Then `postmaster.pid` is removed: another process may have its process id now, which can mislead PostgreSQL.

    Raises:
        StartError: a process does not end.
    """
    if sys.platform != "linux":
        return  # PostgreSQL itself refuses to run twice in one folder
    folders = [data, *data.glob(f"{_PART}*")]
    for folder in folders:
        _ask_to_end(folder)
    deadline = time.monotonic() + END_TIMEOUT
    # Not only the servers asked: processes that a killed server forked end by themselves, but write until then.
    while running := [pid for pid in _processes() if any(_is_postgres_in(pid, folder) for folder in folders)]:
        if time.monotonic() > deadline:
            raise StartError(
                f"another PostgreSQL (process {running[0]}) uses {data} and does not end; end it"
            )
        time.sleep(_POLL)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _ask_to_end(folder: Path) -> None:
    """Ask the server that `postmaster.pid` names for a fast shutdown, but no other process."""
    try:
        pid = int((folder / "postmaster.pid").read_text().split(maxsplit=1)[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    if _is_postgres_in(pid, folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)


def _clear(data: Path) -> None:
    found = [entry for entry in data.iterdir() if entry.name != "lost+found"]
    foreign = sorted(entry.name for entry in found if not _OURS.fullmatch(entry.name))
    if foreign:
        raise StartError(
            f"{data} has no PostgreSQL but other files ({', '.join(foreign[:3])}); "
            f"set database.path to a folder that is empty or not there"
        )
    for entry in found:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _move_up(part: Path, data: Path) -> None:
    for entry in sorted(part.iterdir(), key=lambda entry: entry.name == _VERSION):
        if entry.name == _VERSION:
            _sync(data)  # it vouches for all other files, also after a loss of power
        entry.rename(data / entry.name)
    _sync(data)
    part.rmdir()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _is_postgres_in(pid: int, folder: Path) -> bool:
    """Tell whether the process is one of PostgreSQL's, which all work in their data folder."""
    try:
        there = Path(f"/proc/{pid}/cwd").samefile(folder)
        return there and Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)") == "postgres"
    except OSError:
        return False  # it ended, or belongs to another user
