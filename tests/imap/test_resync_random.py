"""A client that believes what it is told, and loses its connection now and then, knows the mailbox all the same."""

import random
import re

import pytest

from esp.services import open_mailboxes
from tests.imap.client import Client
from tests.imap.world import Imap, World

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "$One", "$Two")
STEPS = 120


def uids_of(text: str) -> list[int]:
    """Return the numbers of a set."""
    ranges = [part.split(":") for part in text.split(",")]
    return [uid for first, *last in ranges for uid in range(int(first), int(last[0] if last else first) + 1)]


def flags_of(text: str) -> frozenset[str]:
    """Return a flag list without `\\Recent`."""
    return frozenset(text.split()) - {"\\Recent"}


class Believer:
    """Keeps what it was told of INBOX, and resumes from there (RFC 7162 §3.2.5)."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.flags: dict[int, frozenset[str]] = {}
        self.numbers: list[int] = []
        """UIDs by sequence number; what EXISTS adds is not known by UID at first: 0."""
        self.validity = 0
        self.modseq = 0

    async def connect(self, door: Imap, address: str) -> None:
        """Begin, or resume."""
        self.client = await door.login(address)
        await self.client.ok("ENABLE QRESYNC")
        known = ",".join(map(str, sorted(self.flags)))
        resume = (
            f" (QRESYNC ({self.validity} {self.modseq}{' ' + known if known else ''}))" if self.modseq else ""
        )
        self.numbers = []
        lines = await self.client.ok(f"SELECT INBOX{resume}")
        self.hear(lines, whole=True)
        await self.learn()

    def lose(self) -> None:
        """The connection breaks."""
        assert self.client is not None
        self.client.writer.transport.abort()

    async def do(self, command: str, *, whole: bool) -> list[str]:
        """Send a command; `whole`: an expunge could be told with it."""
        assert self.client is not None
        lines = await self.client.command(command)
        assert lines[-1].startswith(("OK", "NO [EXPUNGEISSUED]")), lines
        self.hear(lines, whole=whole)
        return lines

    def hear(self, lines: list[str], *, whole: bool) -> None:
        """Believe."""
        highest = self.modseq
        for line in lines:
            if found := re.match(r"\* VANISHED (\(EARLIER\) )?(\S+)$", line):
                gone = uids_of(found[2])
                for uid in gone:
                    self.flags.pop(uid, None)
                if not found[1]:
                    # What it was not told the UID of stands behind all it was.
                    unknown = len(set(gone) - set(self.numbers))
                    assert self.numbers.count(0) >= unknown, line
                    self.numbers = [uid for uid in self.numbers if uid not in gone]
                    self.numbers = self.numbers[: len(self.numbers) - unknown]
            elif found := re.match(r"\* (\d+) EXISTS$", line):
                count = int(found[1])
                assert count >= len(self.numbers), line
                self.numbers += [0] * (count - len(self.numbers))
            elif found := re.match(r"\* (\d+) FETCH \((.*)\)$", line):
                number, uid = int(found[1]), int(re.search(r"UID (\d+)", found[2])[1])  # type: ignore[index]
                assert self.numbers[number - 1] in {0, uid}, (line, self.numbers)
                self.numbers[number - 1] = uid
                if told := re.search(r"FLAGS \(([^)]*)\)", found[2]):
                    self.flags[uid] = flags_of(told[1])
                highest = max(highest, int((re.search(r"MODSEQ \((\d+)\)", found[2]) or [0, 0])[1]))
            elif found := re.search(r"\[HIGHESTMODSEQ (\d+)\]", line):
                highest = max(highest, int(found[1]))
            elif found := re.search(r"\[UIDVALIDITY (\d+)\]", line):
                self.validity = int(found[1])
            assert " EXPUNGE" not in line or "OK" in line, line
        if whole:
            self.modseq = highest

    async def learn(self) -> None:
        """Ask for what is new, in a way that keeps UIDs and numbers together."""
        for _ in range(5):  # meanwhile more may come
            if 0 not in self.numbers:
                return
            lines = await self.do("UID FETCH 1:* (FLAGS)", whole=True)
        raise AssertionError(f"{self.numbers} after {lines}")


async def truth(door: Imap, address: str) -> dict[int, frozenset[str]]:
    """Return what a new session sees."""
    client = await door.login(address)
    await client.ok("SELECT INBOX")
    lines = await client.ok("UID FETCH 1:* (FLAGS)")
    await client.close()
    found = (re.match(r"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\)\)", line) for line in lines)
    return {int(one[1]): flags_of(one[2]) for one in found if one}


async def write(chance: random.Random, writer: Client) -> None:
    """Do something to INBOX."""
    match chance.randrange(5):
        case 0 | 1:
            await writer.append("INBOX", b"x")
        case 2 | 3:
            sign = chance.choice(("+", "-", ""))
            await writer.command(
                f"UID STORE {chance.randrange(1, 30)}:* {sign}FLAGS ({chance.choice(FLAGS)})"
            )
        case _:
            first = chance.randrange(1, 60)
            await writer.command(f"UID STORE {first}:{first + 2} +FLAGS.SILENT (\\Deleted)")
            await writer.ok(chance.choice((f"UID EXPUNGE {first}:{first + 2}", "EXPUNGE")))


@pytest.mark.parametrize(("seed", "kept"), [(1, False), (2, False), (3, True), (4, True)])
async def test_who_resumes_knows_the_mailbox(
    seed: int, kept: bool, world: World, imap: Imap, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kept:  # new processes begin with an index that others have left
        monkeypatch.setattr(open_mailboxes, "WORTH_KEEPING", 1)
        monkeypatch.setattr(open_mailboxes, "KEEP_AFTER", 0.0)
    chance = random.Random(seed)
    address = await world.account()
    other = await world.open_door()
    writers = [await door.login(address) for door in (imap, other)]
    for writer in writers:
        await writer.append("INBOX", b"x")
        await writer.ok("SELECT INBOX")
    believer = Believer()
    fresh: list[Imap] = []
    await believer.connect(chance.choice((imap, other)), address)
    for _ in range(STEPS):
        match chance.randrange(9):
            case 0 | 1 | 2 | 3 | 4:
                await write(chance, chance.choice(writers))
            case 5:
                await believer.do("NOOP", whole=True)
                await believer.learn()
            case 6 if believer.numbers:
                # Numbers hold, and nothing is told that would hide an expunge.
                number = chance.randrange(1, len(believer.numbers) + 1)
                await believer.do(f"FETCH {number} (UID)", whole=False)
                await believer.do("SEARCH ALL", whole=False)
            case 7 if believer.numbers:
                await believer.do(
                    f"UID STORE {chance.choice(believer.numbers) or 1} +FLAGS ($Mine)", whole=True
                )
            case _ if chance.random() < 0.5:
                believer.lose()
                if kept:
                    fresh.append(await world.open_door())
                await believer.connect(fresh[-1] if kept else chance.choice((imap, other)), address)
    await believer.do("NOOP", whole=True)
    await believer.learn()
    assert believer.flags == await truth(other, address)
    assert believer.numbers == sorted(believer.flags)
    believer.lose()
    for writer in writers:
        await writer.close()
    for door in (other, *fresh):
        await world.close_door(door)
