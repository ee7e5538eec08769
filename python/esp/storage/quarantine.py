"""The folder for files that belong to nobody: what is in it, and how it is emptied.

Below `<storage.path>/quarantine`, a file keeps its path (`maildir.put_aside`). Blocking: call it in a thread.
"""

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from esp.storage.maildir import QUARANTINE

_REMOVED = "removed-"
"""`maildir.remove_account` begins the name of a folder with this; only a crash leaves one."""


class Held(msgspec.Struct, frozen=True):
    """A file in quarantine."""

    path: str
    """Below the quarantine: the Maildir it was in, and its name."""
    size: int
    since: datetime


def held(root: Path) -> Iterator[Held]:
    """Yield every file in quarantine."""
    home = root / QUARANTINE
    for directory, folders, names in os.walk(home):
        folders[:] = sorted(name for name in folders if not name.startswith(_REMOVED))
        for name in sorted(names):
            path = Path(directory, name)
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            # The time of the renaming; the modification time is that of the message.
            since = datetime.fromtimestamp(int(status.st_ctime), UTC)
            yield Held(str(path.relative_to(home)), status.st_size, since)


def empty(root: Path, older: float) -> int:
    """Remove files that are there for `older` seconds, and folders that are then empty; return the number of files."""
    home, until = root / QUARANTINE, time.time() - older
    count = 0
    for one in list(held(root)):
        if one.since.timestamp() <= until:
            (home / one.path).unlink(missing_ok=True)
            count += 1
    for folder in home.glob(f"{_REMOVED}*"):
        if folder.stat().st_ctime <= until:
            shutil.rmtree(folder, ignore_errors=True)
    for directory, _, _ in os.walk(home, topdown=False):
        if Path(directory) != home and not os.listdir(directory):  # noqa: PTH208
            Path(directory).rmdir()
    return count
