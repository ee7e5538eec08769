"""A disk whose power can be cut: what was not flushed is lost, wholly or in part, as on real hardware.

One file is served through FUSE and becomes a block device through the kernel's loop driver. The driver turns each flush
of the file system above into an fsync of that file, so this process sees what a disk sees: writes, which a cache may
keep, and flushes, after which all earlier writes are durable. At the cut, each sector written since the last flush
is kept or lost by chance, whatever the order of the writes; from then on everything fails.

    with Disk(folder, "ext4") as disk:
        ...                          # work below disk.mount
        disk.cut(random.Random(1), kept=0.5)   # everything fails with EIO; whoever works there has to be stopped
        disk.restore()               # mounted again with what survived

Needs root. The kernel's side of the protocol is described in its uapi/linux/fuse.h.
"""

import ctypes
import errno
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

SECTOR = 512
_SIZE = 1024 * 1024 * 1024
_MOST = 1024 * 1024
"""Octets of one write."""
_HEADER = struct.Struct("<IIQQIIIHH")
_ANSWER = struct.Struct("<IiQ")
_INIT = struct.Struct("<IIIIHHIIHHI7I")
_TRANSFER = struct.Struct("<QQIIQII")
_ATTRIBUTES = struct.Struct("<QIIQQQQQQIIIIIIIIII")
_FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _RELEASE, _FSYNC = 2, 3, 4, 14, 15, 16, 18, 20
_FLUSH, _INITIALISE, _INTERRUPT, _DESTROY, _BATCH_FORGET = 25, 26, 36, 38, 42
_NO_ANSWER = {_FORGET, _INTERRUPT, _BATCH_FORGET}
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22


def available() -> bool:
    """Whether this machine lets such a disk be made."""
    return os.geteuid() == 0 and Path("/dev/fuse").exists() and Path("/dev/loop-control").exists()


class Disk:
    """A file system on such a disk, mounted at `mount` while the context lasts."""

    def __init__(self, folder: Path, kind: str) -> None:
        """`folder` is for its files; `kind` is a file system that has a `mkfs`."""
        self.mount = folder / "disk"
        self._kind = kind
        self._device = folder / "device"
        self._image = folder / "image"
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.mount.mkdir()
        self._device.touch()
        with self._image.open("wb") as image:
            image.truncate(_SIZE)
        subprocess.run([f"mkfs.{self._kind}", "-q", str(self._image)], check=True)
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._unplug()

    def cut(self, chance: random.Random, kept: float) -> None:
        """Cut the power. Of the sectors that were not flushed this share is `kept`, which ones is left to `chance`."""
        assert self._server is not None
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(b"%d %f\n" % (chance.getrandbits(32), kept))
        self._server.stdin.flush()
        if self._server.stdout.readline() != b"cut\n":
            raise RuntimeError("The disk has died")

    def restore(self) -> None:
        """Give power again, and mount what is left, as a start of the machine would.

        Raises:
            subprocess.CalledProcessError: somebody still works there, or the file system cannot be mounted.
        """
        if self._server is not None:
            self._unplug()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.power", str(self._device), str(self._image)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout is not None
        if self._server.stdout.readline() != b"ready\n":
            raise RuntimeError("The disk cannot be made")
        subprocess.run(
            ["mount", "-t", self._kind, "-o", "loop", str(self._device), str(self.mount)], check=True
        )
        self.mount.chmod(0o755)

    def _unplug(self) -> None:
        """Unmount, and let the server go."""
        assert self._server is not None
        # Children of those who were killed may live a moment longer; the loop device lets its file go some time after
        # its file system was unmounted.
        _unmount(self.mount)
        _unmount(self._device)
        self._server.wait(30)
        self._server = None


def _unmount(path: Path) -> None:
    deadline = time.monotonic() + 30
    while (done := subprocess.run(["umount", str(path)], stderr=subprocess.PIPE, check=False)).returncode:
        if time.monotonic() > deadline:
            done.check_returncode()
        time.sleep(0.05)


class _Medium:
    """What the disk holds, and what of it is durable."""

    def __init__(self, image: Path) -> None:
        self._now = image.with_suffix(".now")
        subprocess.run(["cp", "--sparse=always", str(image), str(self._now)], check=True)
        self._durable = os.open(image, os.O_RDWR)
        self._current = os.open(self._now, os.O_RDWR)
        self._unflushed: list[tuple[int, bytes]] = []

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._current, size, offset)

    def write(self, offset: int, octets: bytes) -> None:
        os.pwrite(self._current, octets, offset)
        self._unflushed.append((offset, octets))

    def flush(self) -> None:
        for offset, octets in self._unflushed:
            os.pwrite(self._durable, octets, offset)
        self._unflushed.clear()

    def cut(self, chance: random.Random, kept: float) -> None:
        """Keep a share of the sectors that were not flushed."""
        for offset, octets in self._unflushed:
            for start in range(0, len(octets), SECTOR):
                if chance.random() < kept:
                    os.pwrite(self._durable, octets[start : start + SECTOR], offset + start)
        self._unflushed.clear()

    def close(self) -> None:
        os.close(self._durable)
        os.close(self._current)
        self._now.unlink()


class _RefusedError(Exception):
    """An error number for the kernel."""


class _Server:
    """Answers the kernel."""

    def __init__(self, device: Path, medium: _Medium) -> None:
        self._medium = medium
        self._dead = False
        self._fuse = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._fuse},rootmode=100000,user_id=0,group_id=0".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"esp", os.fsencode(device), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount")
        self._buffer = bytearray(_MOST + 4096)
        self._answers: dict[int, Callable[[memoryview], bytes]] = {
            _INITIALISE: lambda _: _INIT.pack(
                7, 31, _MOST, _BIG_WRITES | _MAX_PAGES, 16, 12, _MOST, 1, _MOST // 4096, 0, 0, *[0] * 7
            ),
            _GETATTR: lambda _: self._attributes(),
            _SETATTR: lambda _: self._attributes(),
            _OPEN: lambda _: struct.pack("<QII", 1, 0, 0),
            _READ: self._read,
            _WRITE: self._write,
            _FSYNC: self._flush,
            _FLUSH: lambda _: b"",
            _RELEASE: lambda _: b"",
            _DESTROY: lambda _: b"",
        }

    def serve(self) -> None:
        """Answer until the file is unmounted."""
        control = sys.stdin.fileno()
        watched = [self._fuse, control]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if control in ready:
                line = os.read(control, 64)
                if line:
                    seed, kept = line.split()
                    self._medium.cut(random.Random(int(seed)), float(kept))
                    self._dead = True
                    os.write(1, b"cut\n")
                else:
                    watched.remove(control)
            if self._fuse in ready and not self._one():
                return

    def _one(self) -> bool:
        """Answer one request; tell whether there will be more."""
        try:
            size = os.readv(self._fuse, [self._buffer])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            if error.errno in {errno.ENOENT, errno.EINTR}:
                return True  # taken back
            raise
        _, operation, unique, *_ = _HEADER.unpack_from(self._buffer)
        if operation in _NO_ANSWER:
            return True
        try:
            answer = self._answers.get(operation, _unknown)(memoryview(self._buffer)[_HEADER.size : size])
            error_number = 0
        except _RefusedError as failure:
            answer, error_number = b"", failure.args[0]
        os.writev(self._fuse, [_ANSWER.pack(_ANSWER.size + len(answer), -error_number, unique), answer])
        return bool(operation != _DESTROY)

    def _alive(self) -> None:
        if self._dead:
            raise _RefusedError(errno.EIO)

    def _read(self, request: memoryview) -> bytes:
        self._alive()
        _, offset, size, *_ = _TRANSFER.unpack_from(request)
        return self._medium.read(offset, size)

    def _write(self, request: memoryview) -> bytes:
        self._alive()
        _, offset, size, *_ = _TRANSFER.unpack_from(request)
        self._medium.write(offset, bytes(request[_TRANSFER.size : _TRANSFER.size + size]))
        return struct.pack("<II", size, 0)

    def _flush(self, _: memoryview) -> bytes:
        self._alive()
        self._medium.flush()
        return b""

    def _attributes(self) -> bytes:
        # Valid for an hour: nobody else changes the file.
        return _ATTRIBUTES.pack(
            3600, 0, 0, 1, _SIZE, _SIZE // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0
        )


def _unknown(_: memoryview) -> bytes:
    raise _RefusedError(errno.ENOSYS)


def _main(device: Path, image: Path) -> None:
    # What the test is interrupted by must not take the disk away from under its feet.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    medium = _Medium(image)
    server = _Server(device, medium)
    os.write(1, b"ready\n")
    server.serve()
    medium.close()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
