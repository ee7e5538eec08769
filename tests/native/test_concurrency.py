"""One index, many threads: each session reads on while deliveries, flags and expunges come in."""

import random
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from esp import native
from tests.support import rows

READERS = 4
CHANGES = 150
NEEDLE = "zeppelin"


def message(number: int) -> bytes:
    """Return a message; every third has the needle, and its length tells which it is."""
    found = NEEDLE if number % 3 == 0 else "balloon"
    text = f"Message-ID: <{number}@example.org>\r\nSubject: n{number}\r\n\r\nBy {found}.\r\n".encode()
    return text + b"x" * number + b"\r\n"


class ChangingMailbox(rows.Mailbox):
    """A mailbox that remembers, before the index hears of it, what is expunged."""

    def __post_init__(self) -> None:
        self.expunged: set[int] = set()
        super().__post_init__()


class Reader:
    """A session as its client sees it: numbers count, and what was announced is there."""

    def __init__(self, mailbox: ChangingMailbox) -> None:
        self._mailbox = mailbox
        self._view = native.View(mailbox.index, read_only=True)
        self._uids: list[int] = []
        self.rounds = 0
        opening = self._view.opening()
        exists = re.search(rb"\* (\d+) EXISTS", opening)
        assert exists, opening
        self._exists = int(exists[1])

    def round(self) -> None:
        """Hear what is new, then read all of it in three ways."""
        self._hear()
        self._read_flags()
        self._read_bodies()
        self._search()
        self.rounds += 1

    def _hear(self) -> None:
        answer = self._view.sync(expunges=True)
        for number, word in re.findall(rb"\* (\d+) (EXPUNGE|EXISTS)\r\n", answer):
            if word == b"EXISTS":
                assert int(number) >= self._exists
                self._exists = int(number)
            else:
                assert 1 <= int(number) <= self._exists
                self._exists -= 1
                del self._uids[int(number) - 1 : int(number)]

    def _read_flags(self) -> None:
        answer = self._mailbox.fetch(self._view, "1:*", "(UID FLAGS)", step=2_048)
        found = [(int(n), int(uid)) for n, uid in re.findall(rb"\* (\d+) FETCH \(UID (\d+) FLAGS", answer)]
        # Nothing is left out: what is expunged meanwhile stays until the client is told (RFC 3501 §7.4.1).
        assert [number for number, _ in found] == list(range(1, self._exists + 1))
        uids = [uid for _, uid in found]
        assert uids == sorted(set(uids))
        assert uids[: len(self._uids)] == self._uids
        self._uids = uids

    def _read_bodies(self) -> None:
        first = max(1, self._exists - 20)
        answer = self._mailbox.fetch(self._view, f"{first}:*", "(UID BODY.PEEK[])", step=1_024)
        while answer:
            match = re.match(rb"\* (\d+) FETCH \(UID (\d+) BODY\[\] \{(\d+)\}\r\n", answer)
            assert match, answer[:100]
            number, uid, size = map(int, match.groups())
            assert self._uids[number - 1] == uid
            assert answer[match.end() : match.end() + size] == message(uid)
            answer = answer[match.end() + size + 3 :]

    def _search(self) -> None:
        found = self._mailbox.search(self._view, f"TEXT {NEEDLE}", indexed=self.rounds % 2 == 0)
        expected = {uid for uid in self._uids if uid % 3 == 0}
        # Only what was expunged may be missing.
        assert set(found) <= expected
        assert expected - set(found) <= self._mailbox.expunged


def test_sessions_read_on_while_their_mailbox_changes(tmp_path: Path) -> None:
    mailbox = ChangingMailbox(tmp_path / "mailbox")
    mailbox.add(*(message(uid) for uid in range(1, 201)))
    finished = threading.Event()
    readers = [Reader(mailbox) for _ in range(READERS)]

    def read(reader: Reader) -> None:
        while not finished.is_set():
            reader.round()
        reader.round()

    with ThreadPoolExecutor(READERS) as pool:
        running = [pool.submit(read, reader) for reader in readers]
        try:
            _change(mailbox, random.Random(1), keep_on=lambda: not any(each.done() for each in running))
        finally:
            finished.set()
        for each in running:
            each.result(60)
    assert all(reader.rounds > 1 for reader in readers)


def _change(mailbox: ChangingMailbox, chance: random.Random, keep_on: Callable[[], bool]) -> None:
    here = list(range(1, 201))
    for _ in range(CHANGES):
        if not keep_on():
            return
        match chance.randrange(3):
            case 0:
                new = list(range(mailbox.uidnext, mailbox.uidnext + chance.randrange(1, 4)))
                mailbox.add(*map(message, new))
                here += new
            case 1:
                mailbox.change({uid: chance.randrange(32) for uid in chance.sample(here, 10)})
            case _:
                gone = chance.sample(here, 2)
                here = [uid for uid in here if uid not in gone]
                mailbox.expunged.update(gone)
                mailbox.change(expunged=gone)
