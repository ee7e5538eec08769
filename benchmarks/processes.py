"""What a server costs: CPU time and memory of a process and all its descendants, from `/proc` (proc(5))."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

TICK = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Stat(msgspec.Struct, frozen=True):
    """The fields of `/proc/PID/stat` needed here; times in ticks."""

    pid: int
    name: str
    parent: int
    own: int
    """utime + stime: all threads, those that ended too."""
    reaped: int
    """cutime + cstime: children waited for, and what those had waited for."""
    started: int
    """Since boot; with `pid` it names a process for ever."""


def parse_stat(text: str) -> Stat:
    """Read one `/proc/PID/stat`; the name may hold blanks and parentheses, so it ends at the last `)`."""
    head, _, tail = text.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = tail.split()
    utime, stime, cutime, cstime = (int(field) for field in fields[11:15])
    return Stat(
        pid=int(pid),
        name=name,
        parent=int(fields[1]),
        own=utime + stime,
        reaped=cutime + cstime,
        started=int(fields[19]),
    )


def all_processes() -> dict[int, Stat]:
    """Return the processes of this machine by id; one that ends meanwhile is left out."""
    found = {}
    for entry in os.scandir(PROC):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = parse_stat((PROC / entry.name / "stat").read_text(errors="replace"))
                found[stat.pid] = stat
    return found


def proportional_memory(pid: int) -> int:
    """Return the PSS of a process in octets; 0 for one that has ended."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


class ProcessTree:
    """The processes that descend from some roots.

    A process once seen stays a member even when its parent ends and it is given to init. What a process used
    is counted with it while it lives and with the parent that waited for it afterwards, so the sum over the
    members never forgets anything as long as parents wait for their children (all servers measured here do).
    """

    def __init__(self, *roots: int) -> None:
        self._roots = roots
        self._seen: set[tuple[int, int]] = set()

    def members(self) -> list[Stat]:
        """Return the processes that live now."""
        processes = all_processes()
        children: dict[int, list[int]] = {}
        for stat in processes.values():
            children.setdefault(stat.parent, []).append(stat.pid)
        waiting = [pid for pid in self._roots if pid in processes]
        waiting += [
            pid for pid, started in self._seen if pid in processes and processes[pid].started == started
        ]
        found: dict[int, Stat] = {}
        while waiting:
            pid = waiting.pop()
            if pid not in found:
                found[pid] = processes[pid]
                waiting += children.get(pid, ())
        self._seen = {(stat.pid, stat.started) for stat in found.values()}
        return list(found.values())

    def cpu(self) -> float:
        """Return the CPU seconds used since the roots started."""
        return sum(stat.own + stat.reaped for stat in self.members()) * TICK

    def cpu_by_name(self) -> dict[str, float]:
        """Return the CPU seconds of living processes by name, largest first; the reaped ones as `(ended)`."""
        used: dict[str, int] = {}
        for stat in self.members():
            used[stat.name] = used.get(stat.name, 0) + stat.own
            used["(ended)"] = used.get("(ended)", 0) + stat.reaped
        return {name: ticks * TICK for name, ticks in sorted(used.items(), key=lambda item: -item[1])}

    def memory(self, without: frozenset[int] = frozenset()) -> int:
        """Return the PSS in octets, not counting the processes `without`."""
        return sum(proportional_memory(stat.pid) for stat in self.members() if stat.pid not in without)

    def settle(self, limit: float = 60.0, share: float = 0.04, calm: float = 1.5) -> bool:
        """Wait until the tree uses less than `share` of a core for `calm` seconds; `False` at the `limit`."""
        window = 0.25
        deadline = time.monotonic() + limit
        quiet_since = None
        before, since = self.cpu(), time.monotonic()
        while (now := time.monotonic()) < deadline:
            if quiet_since is not None and now - quiet_since >= calm:
                return True
            time.sleep(window)
            used, at = self.cpu(), time.monotonic()
            # A single tick in a window is the clock's grain, not work.
            busy = used - before > max(share * (at - since), TICK * 1.5)
            quiet_since = None if busy else (quiet_since or since)
            before, since = used, at
        return False


@contextlib.contextmanager
def peak_memory(tree: ProcessTree, every: float = 2.0) -> Iterator[list[int]]:
    """Sample the tree's PSS while the block runs; the list holds the samples.

    Rarely, since each sample walks the page tables of the processes it asks about. Dovecot's processes for
    the sessions that watch, there before the block, are the measurement's own and are left out.
    """
    pollers = frozenset(stat.pid for stat in tree.members() if stat.name in {"imap", "imap-login"})
    samples: list[int] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(every):
            samples.append(tree.memory(pollers))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
        samples.append(tree.memory(pollers))
