"""The journal of small messages: what it saves, what it promises, and what is found in it afterwards."""

import errno
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from esp.native import DeliverItem, Failure, Store, Stored
from tests.support import strace

SCRIPT = """
import os, sys, time
from pathlib import Path
from esp.native import DeliverItem, Store

def deliver(*sizes):
    items = [DeliverItem(b"P: 1\\r\\n", bytes([97 + n]) * size, ["d/a", "d/b"], [None, "S"], 5 * 10**9)
             for n, size in enumerate(sizes)]
    return [getattr(result, "reason", "stored") for result in store.deliver(items)]

def journal():
    return next((path for path in folder.glob("*") if path.name != "lock"), None)

def wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline and not store.journal_failure, store.journal_failure
        time.sleep(0.001)

def nothing_waits():
    return journal() is not None and journal().stat().st_atime == 0

folder = Path(sys.argv[1]) / ".journal"
store = Store(sys.argv[1], 2, True, "mx", journal=True)
deliver(10)
wait(nothing_waits)  # which is marked as soon as there is a journal
"""
KILLED = "\nos._exit(0)"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


def run(root: Path, script: str) -> str:
    """Run a process that has a journal and ends as `script` ends."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + script, str(root)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=ENVIRONMENT,
    )
    return done.stdout


def reader(root: Path) -> Store:
    return Store(root, 2, True, "other")


def messages(root: Path) -> list[Path]:
    return sorted(root.glob("d/*/*/*"))


def number(path: Path) -> int:
    """Say which of its process's messages it is."""
    return int(re.findall(r"Q(\d+)\.", path.name)[0])


def journals(root: Path) -> list[Path]:
    return [path for path in (root / ".journal").glob("*") if path.name != "lock"]


def syncs(root: Path, script: str) -> list[str]:
    """Return the syncs that a process makes after `script` wrote BEGIN."""
    trace = root.parent / "trace"
    strace.run(
        SCRIPT + 'os.write(2, b"BEGIN")\n' + script,
        root,
        options=["-o", str(trace), "-e", "trace=write,fsync,fdatasync,syncfs"],
    )
    calls = re.findall(r"\b(write|fsync|fdatasync|syncfs)\((.*)", trace.read_text())
    begin = next(n for n, (call, rest) in enumerate(calls) if call == "write" and "BEGIN" in rest)
    return [call for call, _ in calls[begin:] if call != "write"]


def test_a_batch_of_small_messages_is_durable_by_one_write(root: Path) -> None:
    calls = syncs(root, "deliver(10); deliver(*[4000] * 20); deliver(32_000); os._exit(0)")

    assert calls == ["fdatasync"] * 3
    # Since when its files wait: whoever copies them looks at that.
    assert time.time() - 60 < journals(root)[0].stat().st_atime < time.time()
    assert len(messages(root)) == 23 * 2


def test_a_large_message_and_its_batch_are_synced_at_once(root: Path) -> None:
    calls = syncs(root, "deliver(40_000); deliver(10, 10, 10, 10, 40_000); os._exit(0)")

    assert Counter(calls) == {"fsync": 3, "syncfs": 1}


def test_files_are_synced_when_the_store_is_closed_and_nothing_is_left(root: Path) -> None:
    script = "deliver(10); store.close(); deliver(10); os._exit(0)"

    assert Counter(syncs(root, script)) == {"fdatasync": 1, "syncfs": 1, "fsync": 3}
    assert journals(root) == []
    assert len(messages(root)) == 3 * 2


def test_files_are_synced_after_some_seconds(root: Path) -> None:
    calls = syncs(root, "deliver(10); assert not nothing_waits(); wait(nothing_waits); os._exit(0)")

    assert calls == ["fdatasync", "syncfs"]
    assert journals(root)[0].stat().st_atime == 0
    for path in messages(root):
        path.unlink()
    left = reader(root).left_journals()
    assert (left.count, left.missing(0)) == (1, [])


def test_what_is_copied_a_moment_later_is_synced_with_its_copy(root: Path) -> None:
    one = 'store.link([deliver_one()], "d/c", store.names([10]), [None])\n'
    many = 'store.link([deliver_one() for _ in range(4)], "d/c", store.names([10] * 4), [None] * 4)\n'
    begun = (
        "def deliver_one():\n"
        '    return store.deliver([DeliverItem(b"", b"x" * 10, ["d/a"], [None], 0)])[0].paths[0]\n'
        'store.make_folder("d/c")\n'
        'os.write(2, b"BEGIN")\n'
    )

    calls = syncs(root, begun + one + many + "os._exit(0)")

    made = calls.index("fdatasync")  # the folder's syncs are before
    assert calls[made:] == ["fdatasync", "fsync", "fsync", *["fdatasync"] * 4, "syncfs"]


def test_what_is_copied_to_another_file_system_is_synced_there(root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can mount a small disk")
    (root / "d/c").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", root / "d/c"], check=True)
    try:
        calls = syncs(
            root,
            "paths = [r.paths[0] for r in store.deliver("
            '[DeliverItem(b"", b"x", ["d/a"], [None], 0) for _ in range(4)])]\n'
            'store.make_folder("d/c")\n'
            'store.link(paths, "d/c", store.names([1] * 4), [None] * 4)\n'
            "os._exit(0)",
        )
    finally:
        subprocess.run(["umount", "--lazy", root / "d/c"], check=True)

    # Each source and its copy, and the folder, which a sync of the root's file system would not do.
    assert calls[-9:] == ["fsync"] * 9


def test_epochs_begin_at_random(root: Path) -> None:
    """Or a message could have what passes for a record, where a later one has not covered it."""
    epochs = set()
    for _ in range(2):
        run(root, "deliver(10)" + KILLED)
        (journal,) = journals(root)
        epochs.add(int.from_bytes(journal.read_bytes()[4096 + 8 : 4096 + 16], "little") >> 32)
        journal.unlink()

    assert len(epochs - {0}) == 2


def test_what_a_killed_process_left_is_whole_and_is_forgotten(root: Path) -> None:
    run(root, "deliver(10, 20); deliver(30)" + KILLED)
    store = reader(root)

    left = store.left_journals()

    assert left.count == 1
    assert left.missing(0) == []
    left.forget()
    assert journals(root) == []
    del left
    assert store.left_journals().count == 0


def test_missing_and_torn_files_are_found_and_written_again(root: Path) -> None:
    run(root, "deliver(100, 200); deliver(300)" + KILLED)
    by_size = {path.stat().st_size - 6: path for path in messages(root) if path.parent.parent.name == "a"}
    twins = {path.stat().st_size - 6: path for path in messages(root) if path.parent.parent.name == "b"}
    by_size[100].unlink()
    twins[100].unlink()
    by_size[200].write_bytes(b"P: 1\r\n" + bytes(200))  # zeros, as after a power cut
    whole, renamed = by_size[300], twins[300].with_name(twins[300].name.replace(":2,S", ":2,FS"))
    twins[300].rename(renamed)
    store = reader(root)
    left = store.left_journals()

    first, second = left.missing(0)

    assert first.paths == [str(by_size[100].relative_to(root)), str(twins[100].relative_to(root))]
    # One inode, so both names are torn.
    assert second.paths == [str(by_size[200].relative_to(root)), str(twins[200].relative_to(root))]
    assert not by_size[200].exists()
    other_name = first.paths[1].replace(":2,S", ":2,RS")
    left.restore(first, [first.paths[0], other_name])
    left.restore(second, second.paths)
    left.forget()
    assert by_size[100].read_bytes() == (root / other_name).read_bytes() == b"P: 1\r\n" + b"a" * 100
    assert by_size[100].stat().st_ino == (root / other_name).stat().st_ino
    assert by_size[200].read_bytes() == twins[200].read_bytes() == b"P: 1\r\n" + b"b" * 200
    assert by_size[200].stat().st_mtime == 5
    assert whole.exists()
    assert renamed.exists()
    assert journals(root) == []


def test_files_that_get_other_names_meanwhile_are_not_missing(root: Path) -> None:
    """A process was killed, the others live on."""
    run(root, "for _ in range(30): deliver(*[10] * 20)" + KILLED)
    _, first, *others = sorted((root / "d/a/new").iterdir(), key=number)  # one is of before the journal
    left = reader(root).left_journals()

    def rename(file: Path) -> Path:
        return file.rename(root / "d/a/cur" / f"{file.name}:2,S")

    # Its folder is looked through for it, and then it is removed, which tells us so.
    torn = rename(first)
    torn.write_bytes(b"torn")
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(left.missing, 0)
        while torn.exists() and not looking.done():
            pass
        for file in reversed(others):
            rename(file)
        (missing,) = looking.result()

    assert [Path(path).name.partition(":")[0] for path in missing.paths] == [first.name] * 2


def test_a_name_that_is_taken_is_refused_and_the_journal_stays(root: Path) -> None:
    run(root, "deliver(100)" + KILLED)
    path = next(path for path in messages(root) if path.stat().st_size == 106)
    path.unlink()
    left = reader(root).left_journals()
    (missing,) = left.missing(0)
    path.write_bytes(b"somebody else's")

    with pytest.raises(FileExistsError):
        left.restore(missing, missing.paths)
    with pytest.raises(ValueError, match="refused"):
        left.restore(missing, [missing.paths[0], "d/a/new/another"])
    del left

    assert path.read_bytes() == b"somebody else's"
    assert reader(root).left_journals().count == 1


def test_a_journal_in_use_is_nobody_elses(root: Path) -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            SCRIPT + 'print("ready", flush=True)\nsys.stdin.read()\nstore.close()',
            str(root),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert len(journals(root)) == 1
        assert reader(root).left_journals().count == 0
    assert child.returncode == 0
    assert journals(root) == []


def test_a_full_journal_begins_anew_and_has_what_is_not_synced_yet(root: Path) -> None:
    """More than three halves of it."""
    script = """
def long(at):
    with journal().open("rb") as file:
        file.seek(at)
        return int.from_bytes(file.read(8), "little")

def one_half_is_free():
    epochs = [long(half + 8) for half in (4096, 4096 + 2**24)]
    return 0 in epochs or long(8) >= max(epochs)

for _ in range(60):
    deliver(*[30_000] * 32)
    wait(one_half_is_free)
"""
    run(root, script + KILLED)
    for path in messages(root):
        path.unlink()

    missing = reader(root).left_journals().missing(0)

    assert 0 < len(missing) < 60 * 32
    names = [number(Path(message.paths[0])) for message in missing]
    assert len(set(names)) == len(names)
    # None that came after the first of these was forgotten, and the last is there, if it came to the journal.
    assert max(names) - min(names) < len(names) + 2 * 32


@pytest.mark.parametrize(
    ("fault", "results"),
    [
        ("fdatasync:error=EIO:when=1", "['poisoned', 'poisoned'] ['poisoned']"),
        ("fdatasync:error=ENOSPC:when=1", "['full', 'full'] ['stored']"),
        ("pwrite64:error=EIO:when=1", "['poisoned', 'poisoned'] ['poisoned']"),
    ],
)
def test_what_the_journal_cannot_take_is_nowhere(root: Path, fault: str, results: str) -> None:
    told = strace.run(
        SCRIPT + "print(deliver(10, 10), deliver(10)); sys.stdout.flush(); os._exit(0)",
        root,
        options=["-o", "/dev/null", "-e", f"inject={fault}"],
    )

    assert told.strip() == results
    assert len(messages(root)) == 2 * (1 + results.count("stored"))


def test_a_failed_sync_of_its_files_ends_the_process_and_leaves_the_journal(root: Path) -> None:
    told = strace.run(
        SCRIPT
        + "deliver(10); store.close(); print(store.poisoned, store.journal_failure.reason, deliver(10))",
        root,
        options=["-o", "/dev/null", "-e", "inject=syncfs:error=EIO:when=1"],
    )

    assert told.split() == ["True", "poisoned", "['poisoned']"]
    for path in messages(root):
        path.unlink()
    assert len(reader(root).left_journals().missing(0)) == 1


def test_a_journal_that_lost_its_name_is_not_relied_on(root: Path) -> None:
    told = run(root, "deliver(10); journal().unlink(); store.close(); print(store.poisoned)")

    assert told.strip() == "True"


def test_a_disk_with_little_room_has_none(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "none", tmp_path], check=True)
    try:
        store = Store(tmp_path, 2, True, "mx", journal=True)
        deadline = time.monotonic() + 10
        while store.journal_failure is None:
            (result,) = store.deliver([DeliverItem(b"", b"x", ["a"], [None], 0)])
            assert isinstance(result, Stored)
            assert time.monotonic() < deadline
        assert (store.journal_failure.reason, store.journal_failure.errno) == ("full", errno.ENOSPC)
        store.close()
        del store
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def _cut_short(chance: random.Random, octets: bytearray) -> None:
    del octets[chance.randrange(200_000) :]


def _flipped(chance: random.Random, octets: bytearray) -> None:
    for _ in range(chance.randint(1, 20)):
        octets[chance.randrange(min(len(octets), 30_000))] ^= 1 << chance.randrange(8)


def _noise(chance: random.Random, octets: bytearray) -> None:
    start = chance.randrange(30_000)
    octets[start : start + 9000] = chance.randbytes(9000)


@pytest.mark.parametrize("damage", [_cut_short, _flipped, _noise])
def test_of_a_damaged_journal_what_is_whole_is_found_and_nothing_invented(
    root: Path, damage: Callable[[random.Random, bytearray], None]
) -> None:
    run(root, "for size in range(100, 130): deliver(size, 1000 + size)" + KILLED)
    sent = {path.read_bytes() for path in messages(root)}
    for path in messages(root):
        path.unlink()
    (journal,) = journals(root)
    whole = journal.read_bytes()
    store = reader(root)
    numbers: list[int] = []
    for seed in range(100):
        octets = bytearray(whole)
        damage(random.Random(seed), octets)
        journal.write_bytes(octets)
        left = store.left_journals()
        missing = left.missing(0)
        numbers.append(len(missing))
        for message in missing:
            left.restore(message, message.paths)
            assert {(root / path).read_bytes() for path in message.paths} <= sent
        del left  # whoever has it keeps others waiting
        shutil.rmtree(root / "d", ignore_errors=True)
    assert max(numbers) <= 60
    assert len(set(numbers)) > 1


def test_without_a_journal_nothing_changes(root: Path) -> None:
    store = reader(root)
    assert store.left_journals().count == 0
    (result,) = store.deliver([DeliverItem(b"", b"x", ["a"], [None], 0)])
    assert not isinstance(result, Failure)
    store.close()

    assert not (root / ".journal").exists()
    assert store.journal_failure is None
