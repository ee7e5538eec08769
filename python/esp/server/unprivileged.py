"""Running the stores as another user when we are root: PostgreSQL refuses to run as root.

The data folder may be below one that only root may enter (`/root`, a folder of `mktemp -d`). No permissions are
widened for that: a child gets its folders as open descriptors and names them `/proc/self/fd/N`, which needs no
permissions on the way. Programs cannot be named like this (they ask for their real path), so they are copied to a cache
when the user cannot reach them.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from esp.server.failure import StartError

CANDIDATES = ("esp", "postgres", "nobody")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class User:
    """The user that the stores run as; our own user unless we are root."""

    def __init__(self, name: str, uid: int, gid: int) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.other = uid != os.geteuid()
        """Whether this is another user than our own."""

    @classmethod
    def choose(cls, wanted: str = "") -> "User":
        """Return the user `wanted`, or if none is given, for root the first of esp, postgres and nobody, else our own.

        Raises:
            StartError: there is no such user, or our own user has no name (PostgreSQL needs one).
        """
        if os.geteuid() != 0:
            try:
                entry = pwd.getpwuid(os.geteuid())
            except KeyError:
                raise StartError(
                    f"user id {os.geteuid()} has no name, which PostgreSQL needs; as root run: "
                    f"useradd --system --uid {os.geteuid()} esp"
                ) from None
            return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)
        for name in (wanted,) if wanted else CANDIDATES:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            if entry.pw_uid != 0:
                return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)
        tried = wanted or ", ".join(CANDIDATES)
        raise StartError(
            f"PostgreSQL does not run as root, and there is no user {tried}; run: useradd --system esp"
        )

    def make_folder(self, path: Path) -> None:
        """Make a folder that only this user can use."""
        path.mkdir(parents=True, exist_ok=True)
        if self.other:
            os.chown(path, self.uid, self.gid)
        path.chmod(0o700)

    def own(self, path: Path) -> None:
        """Give a file to this user."""
        if self.other:
            os.chown(path, self.uid, self.gid)

    def start(
        self,
        arguments: Callable[[Sequence[str]], Sequence[str]],
        folders: Sequence[Path],
        output: IO[Any] | int,
        stdin: int = subprocess.DEVNULL,
        *,
        dies_with_us: signal.Signals = signal.SIGKILL,
    ) -> "subprocess.Popen[bytes]":
        """Start a program; `arguments` gets the names by which the program can reach `folders`.

        When we die, it gets the signal `dies_with_us` (Linux).
        """
        descriptors = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in folders]
        try:
            if self.other and sys.platform == "linux":
                names = [f"/proc/self/fd/{descriptor}" for descriptor in descriptors]
            else:
                names = [str(folder) for folder in folders]
            return subprocess.Popen(  # noqa: S603 - our own programs, no shell
                arguments(names),
                stdin=stdin,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                user=self.uid if self.other else None,
                group=self.gid if self.other else None,
                extra_groups=[] if self.other else None,
                pass_fds=descriptors,
                # A terminal's Ctrl-C goes to the foreground group, and the stores must outlive the roles.
                process_group=0,
                # Popen runs this after the change of user, which would clear the setting.
                preexec_fn=lambda: die_with_parent(dies_with_us),  # noqa: PLW1509 - the supervisor has no threads
            )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def can_run(self, program: Path) -> bool:
        """Tell whether this user can reach and run `program`."""
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                [program, "--version"],
                capture_output=True,
                cwd="/",
                user=self.uid if self.other else None,
                group=self.gid if self.other else None,
                extra_groups=[] if self.other else None,
                timeout=30,
                check=False,
            )
        except OSError:
            return False
        return done.returncode == 0


def die_with_parent(number: int) -> None:
    """Ask Linux to send us a signal when our parent dies; elsewhere do nothing."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def reachable_copy(sources: Sequence[Path], name: str) -> Path:
    """Copy folders or files side by side to a place where everyone can read them, once, and return that folder."""
    for base in (Path("/var/cache"), Path(tempfile.gettempdir())):
        target = base / "esp" / name if base.name == "cache" else base / f"esp-{name}"
        if target.is_dir() and target.stat().st_uid == os.geteuid():
            return target
        part = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            part.mkdir(parents=True)
            for source in sources:
                if source.is_dir():
                    shutil.copytree(source, part / source.name, symlinks=True)
                else:
                    shutil.copy2(source, part / source.name)
            for path in (part.parent, part, *part.rglob("*")):
                if not path.is_symlink() and base != path:
                    path.chmod(
                        path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444)
                    )
            part.rename(target)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            if target.is_dir() and target.stat().st_uid == os.geteuid():
                return target  # another process was quicker
            continue
        return target
    raise StartError(f"no place to copy the stores' programs to ({', '.join(map(str, sources))})")
