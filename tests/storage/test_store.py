"""`Store` on real file systems, and on ones that fail: strace makes the kernel answer as a broken disk does."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp.native import DeliverItem, Failure, Spool, Store, Stored, sync_file_system
from esp.storage import maildir
from tests.support import strace

BODY = b"Subject: x\r\n\r\nHello\r\n"
NANOSECONDS = 1_234_567_890_123_456_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root, 4, True, "mx.example.test")


def deliver(store: Store, body: bytes | Spool, *folders: str, prefix: bytes = b"") -> Stored | Failure:
    (result,) = store.deliver([DeliverItem(prefix, body, folders, [None] * len(folders), NANOSECONDS)])
    return result


def stored(result: Stored | Failure) -> Stored:
    assert isinstance(result, Stored), str(result)
    return result


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few messages."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    yield disk
    # A store that a traceback still holds keeps it busy; it goes with the process.
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_the_first_mail_makes_the_folder_and_what_was_sent_is_what_is_read(store: Store, root: Path) -> None:
    result = stored(deliver(store, BODY, "example.test/new user/.A", prefix=b"Received: x\r\n"))

    (path,) = files(root)
    assert str(path.relative_to(root)) == result.paths[0] == f"example.test/new user/.A/new/{result.base}"
    assert path.read_bytes() == b"Received: x\r\n" + BODY
    assert (result.size, result.base.rpartition(",S=")[2]) == (path.stat().st_size, str(path.stat().st_size))
    assert path.stat().st_mtime_ns == NANOSECONDS
    assert store.read("example.test/new user/.A", result.base, None, 10, 5) == b"x\r\nSu"


@pytest.mark.parametrize("prefix", [b"", b"Received: x\r\n"])
def test_a_spool_becomes_a_message_and_leaves_nothing_when_dropped(
    store: Store, root: Path, prefix: bytes
) -> None:
    spool, dropped = store.spool(), store.spool()
    for _ in range(100):
        spool.write(BODY * 100)
        dropped.write(BODY)
    dropped.close()
    size = spool.size

    result = stored(deliver(store, spool, "a/b", "a/c", prefix=prefix))

    assert result.size == size + len(prefix)
    found = files(root)
    assert len(found) == 2
    assert found[0].stat().st_ino == found[1].stat().st_ino
    assert found[0].read_bytes() == prefix + BODY * 10_000
    with pytest.raises(ValueError, match="delivered"):
        spool.write(b"x")


def test_a_file_renamed_by_another_program_is_read_renamed_linked_and_removed(
    store: Store, root: Path
) -> None:
    result = stored(deliver(store, BODY, "a/b"))
    (root / "a/b/new" / result.base).rename(root / "a/b/cur" / f"{result.base}:2,FS")

    assert store.read("a/b", result.base, None) == BODY
    copy, other = store.names([len(BODY)] * 2)
    assert len({copy, other, result.base}) == 3
    assert store.link(result.paths, "a/b/.Copy", [copy], ["S"]) == [True]
    assert store.rename("a/b", [(result.base, None, "T")]) == [None]
    assert store.unlink([f"a/b/cur/{result.base}:2,X", "a/b/new/gone", "a/gone/new/gone"]) == []
    assert [str(path.relative_to(root)) for path in files(root)] == [f"a/b/.Copy/cur/{copy}:2,S"]
    assert store.link(result.paths, "a/b/.Copy", [other], [None]) == [False]


@pytest.mark.parametrize("folder", ["../out", "a/../../out", "/etc", "", "a//b", "a\0b"])
def test_no_folder_is_outside_the_root(store: Store, root: Path, folder: str) -> None:
    result = deliver(store, BODY, "a/b", folder)
    assert isinstance(result, Failure)
    assert "(os error 0)" not in str(result)
    assert not files(root.parent)
    with pytest.raises((ValueError, OSError)):
        store.make_folder(folder)


def test_a_full_disk_takes_what_fits_and_says_so_for_the_rest(small_disk: Path) -> None:
    store = Store(small_disk, 4, True, "mx")

    results = store.deliver([DeliverItem(b"", b"x" * 8000, ["a/b"], [None], 0) for _ in range(20)])

    kept = [result for result in results if isinstance(result, Stored)]
    failed = [result for result in results if isinstance(result, Failure)]
    assert kept
    assert {(result.reason, result.errno) for result in failed} == {("full", errno.ENOSPC)}
    assert sorted(path for result in kept for path in result.paths) == [
        str(path.relative_to(small_disk)) for path in files(small_disk)
    ]
    assert not store.poisoned
    spool = store.spool()
    with pytest.raises(OSError, match="space") as caught:
        spool.write(b"x" * 65536)
    assert caught.value.errno == errno.ENOSPC


def test_a_recipient_on_another_disk_gets_a_copy(small_disk: Path) -> None:
    root = small_disk.parent
    store = Store(root, 4, True, "mx")

    result = stored(deliver(store, BODY, "mail/a", "disk/b", "mail/c"))

    contents = [(root / path).read_bytes() for path in result.paths]
    assert contents == [BODY] * 3
    assert (root / result.paths[0]).stat().st_ino == (root / result.paths[2]).stat().st_ino
    assert (root / result.paths[1]).stat().st_mtime_ns == NANOSECONDS
    assert not list(small_disk.glob("b/tmp/*"))


SCRIPT = """
import sys
from esp.native import DeliverItem, Failure, Store
store = Store(sys.argv[1], 1, True, "mx")
for size in map(int, sys.argv[2:]):
    for result in store.deliver([DeliverItem(b"", b"x", ["a/b", "a/c"], [None, "S"], 0) for _ in range(size)]):
        print(result.reason if isinstance(result, Failure) else "stored")
"""


def run_with_faults(root: Path, *faults: str, batches: list[int], below: Path | None = None) -> list[str]:
    """Deliver batches of so many messages while the kernel answers as `faults` say; return what became of each."""
    options = ["-o", "/dev/null"]
    if below:
        options += ["-P", str(below)]
    for fault in faults:
        options += ["-e", f"inject={fault}"]
    return strace.run(SCRIPT, root, *batches, options=options).split()


def test_after_a_failed_sync_nothing_is_accepted_and_nothing_is_left(root: Path) -> None:
    # The first batch is too small for syncfs: a first one that succeeds may be slow, and then there is no second.
    results = run_with_faults(root, "syncfs:error=EIO:when=1", batches=[3, 4, 4])

    assert results == ["stored"] * 3 + ["poisoned"] * 8
    assert len(files(root)) == 3 * 2


LINK = """
import sys
from esp.native import DeliverItem, Store

store = Store(sys.argv[1], 1, True, "mx")
(first,) = store.deliver([DeliverItem(b"", b"x", ["a/b"], [None], 0)])
failed = store.deliver([DeliverItem(b"", b"x", ["a/b"], [None], 0) for _ in range(4)])
again = store.deliver([DeliverItem(b"", b"x", ["a/b"], [None], 0)])
print(*{str(failure) for failure in [*failed, *again]}, sep="\\n")
try:
    store.link(first.paths, "a/c", store.names([1]), [None])
except OSError as error:
    print(error.errno, error.filename)
"""


def test_after_a_failed_sync_nothing_is_linked_either(root: Path) -> None:
    told = strace.run(LINK, root, options=["-o", "/dev/null", "-e", "inject=syncfs:error=EIO"])

    assert told.splitlines() == ["sync .: Input/output error (os error 5)", f"{errno.EIO} a/c"]


SYNC = """
import sys
from esp.native import sync_file_system

try:
    sync_file_system(sys.argv[1])
except OSError as error:
    print(error.errno, error.filename)
"""


def test_a_file_system_that_cannot_be_synced_is_told(root: Path) -> None:
    sync_file_system(root)
    with pytest.raises(FileNotFoundError):
        sync_file_system(root / "nothing")

    told = strace.run(SYNC, root, options=["-o", "/dev/null", "-e", "inject=syncfs:error=EIO"])

    assert told.split() == [str(errno.EIO), str(root)]


def test_a_slow_disk_is_synced_file_by_file_and_a_failure_there_ends_it_too(root: Path) -> None:
    (root / "a").mkdir()
    for folder in ("b", "c"):
        for part in ("tmp", "new", "cur"):
            (root / "a" / folder / part).mkdir(parents=True)

    results = run_with_faults(
        root, "syncfs:delay_exit=400000:when=1", "fsync:error=EIO:when=2", batches=[4, 4, 4]
    )

    # The second batch is synced file by file: all but its second are safe.
    assert results == ["stored"] * 5 + ["poisoned"] + ["stored"] * 2 + ["poisoned"] * 4
    assert len(files(root)) == 7 * 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("write:error=ENOSPC:when=1", "full"),
        ("write:error=EDQUOT:when=1", "full"),
        ("linkat:error=EIO:when=2", "failed"),
        ("utimensat:error=EIO:when=1", "failed"),
        ("mkdirat:error=ENOSPC:when=2", "full"),
    ],
)
def test_a_message_that_cannot_be_written_is_nowhere_and_the_next_one_is_fine(
    root: Path, fault: str, reason: str
) -> None:
    results = run_with_faults(root, fault, batches=[4, 4])

    assert results == [reason, *["stored"] * 7]
    assert len(files(root)) == 7 * 2


def test_a_file_system_without_nameless_files_is_good_enough(root: Path) -> None:
    # The first file opened below the root; -P keeps the fault away from Python's own.
    results = run_with_faults(root, "openat:error=EOPNOTSUPP:when=1", batches=[4, 4], below=root)

    assert results == ["stored"] * 8
    found = files(root)
    assert len(found) == 8 * 2
    assert len({path.stat().st_ino for path in found}) == 8
    assert {path.parent.name for path in found} == {"new", "cur"}


@given(
    name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=300)
)
def test_any_mailbox_name_has_a_folder_that_a_path_can_hold(name: str) -> None:
    directory = maildir.directory_for(name)

    assert directory.startswith(".") or directory == "."
    assert len(directory.encode()) <= 250
    assert "/" not in directory
    assert directory.count(".") == 1
    if len(directory) < 200:
        assert maildir.name_of(directory) == name


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_an_account_is_found_again_from_its_folder(name: str) -> None:
    folder = maildir.account_folder("example.test", name)

    assert folder.count("/") == 1
    assert not folder.partition("/")[2].startswith(".")
    assert maildir.address_of(folder) == ("example.test", name)


@given(flags=st.integers(0, 2**63 - 1))
def test_letters_say_the_system_flags_and_nothing_else(flags: int) -> None:
    assert maildir.flags_of(maildir.flag_letters(flags)) == flags & 31


def test_names_tell_the_order_of_a_batch(tmp_path: Path) -> None:
    store = Store(tmp_path, 4, True, "host.test")
    for _ in range(20):
        items = [DeliverItem(b"", b"x" * 5000, ["a"], [None], 0) for _ in range(30)]
        made = [maildir.received_at(stored(result).base) or () for result in store.deliver(items)]
        # By second and microsecond alone: mbsync looks at nothing else.
        times = [time[:2] for time in made]
        assert times == sorted(set(times))
