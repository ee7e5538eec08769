"""The process that all roles are forked from, so that they share the memory of what it imported.

The supervisor, which itself imports little, starts it as a new program. Over a socket pair, with one message for each
packet, it gets orders to start a role (with a pipe for the role's reports), and sends process ids and exits. No thread
and no event loop runs here, so forking is safe. When the supervisor dies, this process dies too, and so does every
role (`die_with_parent`).
"""

import asyncio
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from esp.config.sections import Settings
from esp.server.roles import Role
from esp.server.unprivileged import die_with_parent

_PACKET = 1 << 16


class Order(msgspec.Struct, frozen=True, tag=True):
    """Start a process; with the role `prepare`, it only prepares the stores."""

    ticket: int
    role: str
    number: int
    settings: bytes
    demo: str | None = None


class Started(msgspec.Struct, frozen=True, tag=True):
    """The order was carried out."""

    ticket: int
    pid: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A process ended, with an exit code or minus a signal's number."""

    pid: int
    code: int


_orders = msgspec.msgpack.Decoder(Order)
_news = msgspec.msgpack.Decoder(Started | Ended)


class Child:
    """A forked process, as the supervisor sees it."""

    def __init__(self, pid: int, status: int, loop: asyncio.AbstractEventLoop) -> None:
        self.pid = pid
        self.ready = asyncio.Event()
        self.failure: str | None = None
        """Why it could not serve, as it reported."""
        self.ended: asyncio.Future[int] = loop.create_future()
        self._status = status
        self._loop = loop
        self._text = b""
        loop.add_reader(status, self._told)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def finish(self, code: int) -> None:
        """Note that the process has ended."""
        if not self.ended.done():
            self._told()
            self._close()
            self.ended.set_result(code)

    def _told(self) -> None:
        if self._status < 0:
            return
        try:
            text = os.read(self._status, _PACKET)
        except BlockingIOError:
            return
        if not text:
            self._close()
        *lines, self._text = (self._text + text).split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "ready":
                self.ready.set()
            elif word == "failed":
                self.failure = rest

    def _close(self) -> None:
        if self._status >= 0:
            self._loop.remove_reader(self._status)
            os.close(self._status)
            self._status = -1


class ForkServer:
    """The fork server, as the supervisor sees it."""

    def __init__(self, run_path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._socket = ours
        self._children: dict[int, Child] = {}
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._early: dict[int, int] = {}
        self._tickets = 0
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "esp.server.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Out of the terminal's foreground group, so that Ctrl-C reaches the supervisor alone.
                process_group=0,
                env={
                    **os.environ,
                    "PROMETHEUS_MULTIPROC_DIR": str(run_path / "metrics"),
                    # glibc gives every thread its own arena; the threads of a role only move files.
                    "MALLOC_ARENA_MAX": "2",
                    # On its own, glibc would raise both after the first password check and keep its 19 MiB for ever.
                    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
                    "MALLOC_TRIM_THRESHOLD_": str(4 << 20),
                },
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no threads yet
            )
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(ours.fileno(), self._heard)

    @property
    def pid(self) -> int:
        """The fork server's process id."""
        return self._process.pid

    async def start(self, role: str, number: int, settings: Settings, demo: str | None = None) -> Child:
        """Fork a process.

        Raises:
            ConnectionError: the fork server is gone.
        """
        if self.ended.done():
            raise ConnectionError("the fork server ended")
        self._tickets += 1
        ticket = self._tickets
        order = Order(ticket, role, number, msgspec.msgpack.encode(settings, enc_hook=str), demo)
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        answer = self._waiting[ticket] = self._loop.create_future()
        try:
            socket.send_fds(self._socket, [msgspec.msgpack.encode(order)], [writer])
            pid = await answer
        except OSError as error:
            os.close(reader)
            raise ConnectionError("the fork server ended") from error
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
            self._waiting.pop(ticket, None)
        child = self._children[pid] = Child(pid, reader, self._loop)
        if pid in self._early:
            self._end(pid, self._early.pop(pid))
        return child

    async def close(self) -> None:
        """End the fork server; every child must have ended."""
        if not self.ended.done():
            self._socket.shutdown(socket.SHUT_WR)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await asyncio.shield(self.ended)
        if self._process.poll() is None:
            self._process.kill()
        self._gone()
        await asyncio.to_thread(self._process.wait)

    def _heard(self) -> None:
        while True:
            try:
                packet = self._socket.recv(_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._gone()
                return
            match _news.decode(packet):
                case Started(ticket, pid):
                    answer = self._waiting.get(ticket)
                    if answer is not None and not answer.done():
                        answer.set_result(pid)
                    else:  # the caller of `start` has given up meanwhile
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                case Ended(pid, code):
                    self._end(pid, code)

    def _end(self, pid: int, code: int) -> None:
        child = self._children.pop(pid, None)
        if child is None:
            self._early[pid] = code  # it ended before `start` could note it
        else:
            child.finish(code)

    def _gone(self) -> None:
        if self.ended.done():
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self.ended.set_result(None)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the fork server ended"))
        for pid in list(self._children):
            self._end(pid, -signal.SIGKILL)


def main(descriptor: int) -> None:
    """Import everything, then fork on demand until the supervisor hangs up."""
    channel = socket.socket(fileno=descriptor)
    parent = os.getppid()
    die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        return
    wakeup, alarm = os.pipe()
    for end in (wakeup, alarm):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(alarm)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)

    from esp.server import process  # noqa: PLC0415 - here, so that the supervisor does not import it

    # What exists now is never collected again: a garbage collector would copy every page in which it marks objects.
    gc.collect()
    gc.freeze()
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    hung_up = False
    while True:
        for ready, _ in poll.poll():
            if ready == wakeup:
                with contextlib.suppress(BlockingIOError):
                    os.read(wakeup, _PACKET)
            else:
                packet, descriptors, _, _ = socket.recv_fds(channel, _PACKET, 1)
                if not packet:
                    hung_up = True
                    poll.unregister(channel)
                    continue
                _fork(process, _orders.decode(packet), descriptors[0], channel, (wakeup, alarm))
        if not _reap(channel) and hung_up:
            return


def _fork(process: Any, order: Order, status: int, channel: socket.socket, ends: tuple[int, int]) -> None:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(status)
        _send(channel, Started(order.ticket, pid))
        return
    code = 1
    try:
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        channel.close()
        for end in ends:
            os.close(end)
        _name(f"esp-{order.role}-{order.number}")
        settings = msgspec.msgpack.decode(order.settings, type=Settings, dec_hook=_path)
        if order.role == "prepare":
            code = process.prepare(settings, order.demo, status)
        else:
            code = process.main(Role(order.role), order.number, settings, status)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not `sys.exit`: the frames of the fork server are still on the stack.
        os._exit(code)


def _reap(channel: socket.socket) -> bool:
    """Report children that have ended; tell whether any are left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        _send(channel, Ended(pid, os.waitstatus_to_exitcode(status)))


def _send(channel: socket.socket, news: Started | Ended) -> None:
    with contextlib.suppress(OSError):
        channel.send(msgspec.msgpack.encode(news))


def _name(name: str) -> None:
    """Name this process for ps and top (Linux shows fifteen characters)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name[:15])


def _path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind)


if __name__ == "__main__":
    # Imported under its own name, or the classes of this module would exist twice.
    importlib.import_module("esp.server.forkserver").main(int(sys.argv[1]))
