"""PostgreSQL's data folder: made whole or not at all, and free of what an earlier start left running in it.

In: the folder. Out: one that a server may be started on. A cluster is made in a folder of its own inside, for initdb
writes `PG_VERSION` long before it is done, and then moved up, `PG_VERSION` last: a folder that has it is complete,
whenever the maker was killed. Nothing leaves the folder itself, so it may be a mount point.
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
"""A server that was asked to end writes a checkpoint first."""
_POLL = 0.02
_VERSION = "PG_VERSION"
_PART = "initdb-"
"""How the folders begin that clusters are made in."""
_OURS = re.compile(
    rf"{_PART}.*|base|global|pg_[a-z_]+(\.conf)?|postgresql(\.auto)?\.conf|{_VERSION}|postmaster\..*"
)
"""What a first start that was cut off can have left."""


def major(data: Path) -> str | None:
    """Return the major version that made the cluster, or `None` when there is none yet."""
    try:
        return (data / _VERSION).read_text().strip()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def making(data: Path, make_folder: Callable[[Path], None]) -> Iterator[Path]:
    """Give the empty folder, made by `make_folder`, in which to make a cluster; it becomes that of `data`.

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
        # The cause is what to tell of, and the next start clears again.
        shutil.rmtree(part, ignore_errors=True)
        raise


def end_leftovers(data: Path) -> None:
    """End the server, and the makers of a cluster, that a killed supervisor left here.

    `postmaster.pid` is removed then: PostgreSQL can be misled by its old process id now being another's.

    Raises:
        StartError: one does not end.
    """
    if sys.platform != "linux":
        return  # PostgreSQL itself refuses to run twice
    folders = [data, *data.glob(f"{_PART}*")]
    for folder in folders:
        _ask_to_end(folder)
    deadline = time.monotonic() + END_TIMEOUT
    # Not only those asked: what a killed server forked ends by itself, but until then it writes to the data.
    while running := [pid for pid in _processes() if any(_is_postgres_in(pid, folder) for folder in folders)]:
        if time.monotonic() > deadline:
            raise StartError(
                f"another PostgreSQL (process {running[0]}) uses {data} and does not end; end it"
            )
        time.sleep(_POLL)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _ask_to_end(folder: Path) -> None:
    """Ask for a fast shutdown of the server that `postmaster.pid` names, and of no other process."""
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
            _sync(data)  # it speaks for all others, after a loss of power too
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
    """Tell whether the process is one of PostgreSQL, all of which work in their data folder."""
    try:
        there = Path(f"/proc/{pid}/cwd").samefile(folder)
        return there and Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)") == "postgres"
    except OSError:
        return False  # it ended, or is somebody else's
