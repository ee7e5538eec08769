"""A client that changes its mailboxes, and notes what the server said OK to and what it cannot know.

While a command is under way its messages are in doubt: if the connection ends before the reply, both are right.
"""

import contextlib
import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.support.instance import Instance
from tests.support.wire import ClosedError, Response, Wire, literal, numbers

MAILBOXES = ("Diary", "Diary/Old")
_LARGE = 400 * 1024
"""Octets; more than APPEND keeps in memory."""


def entry(number: int) -> bytes:
    """Return the message of that number: small ones mostly, some that are kept in a file on their way."""
    text = b"\r\n".join([hashlib.sha256(b"%d" % number).hexdigest().encode()] * 60)
    wanted = _LARGE if number % 40 == 7 else 200 + number * 977 % 20_000
    return b"Subject: entry %d\r\n\r\n" % number + (text * (wanted // len(text) + 1))[:wanted] + b"\r\n"


@dataclass
class Box:
    """What is known of a mailbox."""

    validity: str = ""
    entries: dict[int, int] = field(default_factory=dict)
    """Numbers of messages that are there, by UID."""
    flagged: dict[int, bool] = field(default_factory=dict)
    """Whether they have `\\Flagged`, by UID; not here: not known."""
    gone: set[int] = field(default_factory=set)
    """UIDs that were removed."""
    highest_uid: int = 0
    highest_modseq: int = 0


class Diary:
    """The client and its notes, which outlive its connections."""

    def __init__(self, user: str, chance: random.Random) -> None:
        self.boxes = {name: Box() for name in MAILBOXES}
        self.doubtful: set[int] = set()
        """Numbers of messages that may be there or not, in either mailbox."""
        self.promised = 0
        """Commands answered OK."""
        self._user = user
        self._chance = chance
        self._next = 1

    async def write(self, instance: Instance) -> None:
        """Change things until the connection ends."""
        wire = await self._connect(instance)
        for name in MAILBOXES:
            await wire.command(f"CREATE {name}".encode())
        await wire.ok(b"ENABLE CONDSTORE")
        selected = ""
        with contextlib.suppress(OSError, ClosedError, TimeoutError, _RefusedError):
            while True:
                wanted = self._chance.choice(MAILBOXES)
                if wanted != selected:
                    await _ok(wire, f"SELECT {wanted}".encode())
                    selected = wanted
                step = self._chance.choice((self._append, self._append, self._flag, self._remove, self._move))
                await step(wire, selected)

    async def verify(self, instance: Instance) -> None:
        """Compare the notes with what is there, and resolve all doubts."""
        wire = await self._connect(instance)
        found: Counter[int] = Counter()
        for name, box in self.boxes.items():
            if not box.validity:
                continue
            opened = await wire.ok(f"SELECT {name} (CONDSTORE)".encode())
            codes = {response.code: response.argument for response in opened}
            assert codes["UIDVALIDITY"] == box.validity
            assert int(codes["UIDNEXT"]) > box.highest_uid, "a UID that was told would be given again"
            assert int(codes["HIGHESTMODSEQ"]) >= box.highest_modseq, "mod-sequences went back"
            there: dict[int, int] = {}
            for response in await wire.ok(b"UID FETCH 1:* (FLAGS BODY.PEEK[])"):
                if response.name != "FETCH":
                    continue
                items = response.items
                uid, flags, body = int(str(items["UID"])), items["FLAGS"], items["BODY[]"]
                assert isinstance(body, bytes)
                assert isinstance(flags, list)
                number = int(body.split(b"\r\n", 1)[0].rpartition(b" ")[2])
                assert body == entry(number), f"{name} {uid} is not entry {number} as it was appended"
                there[uid] = number
                if uid in box.flagged:
                    assert ("\\Flagged" in flags) == box.flagged[uid], f"{name} {uid}"
            assert not there.keys() & box.gone, "what was expunged is back"
            lost = {uid for uid, number in box.entries.items() if there.get(uid) != number} - {
                uid for uid, number in box.entries.items() if number in self.doubtful
            }
            assert not lost, f"{name} lost {sorted(lost)}"
            invented = {n for uid, n in there.items() if uid not in box.entries} - self.doubtful
            assert not invented, f"{name} has {sorted(invented)} besides"
            found.update(there.values())
            box.entries = there
            box.flagged = {uid: flagged for uid, flagged in box.flagged.items() if uid in there}
        assert not [number for number, times in found.items() if times > 1], "a message is there twice"
        self.doubtful.clear()
        await wire.close()

    async def _connect(self, instance: Instance) -> Wire:
        wire = await Wire.connect(instance.ports["imap"])
        await wire.ok(f"LOGIN {self._user} {instance.passwords[self._user]}".encode())
        return wire

    async def _append(self, wire: Wire, selected: str) -> None:
        name = self._chance.choice(MAILBOXES)
        number, self._next = self._next, self._next + 1
        self.doubtful.add(number)
        code, argument = await self._done(wire, f"APPEND {name} ".encode() + literal(entry(number)))
        assert code == "APPENDUID"
        validity, uid = argument.split(" ")
        self._add(name, validity, uid, [number])

    async def _flag(self, wire: Wire, selected: str) -> None:
        box = self.boxes[selected]
        if uids := self._some(box):
            for uid in uids:
                box.flagged.pop(uid, None)
            on = self._chance.random() < 0.5
            # RFC 4551 §3.2: the mod-sequences come in FETCH responses.
            for response in await _ok(
                wire, b"UID STORE %b %bFLAGS (\\Flagged)" % (_set(uids), b"+" if on else b"-")
            ):
                if response.name == "FETCH" and isinstance(modseq := response.items.get("MODSEQ"), list):
                    box.highest_modseq = max(box.highest_modseq, int(str(modseq[0])))
            self.promised += 1
            box.flagged |= dict.fromkeys(uids, on)

    async def _remove(self, wire: Wire, selected: str) -> None:
        box = self.boxes[selected]
        if len(box.entries) > 150 and (uids := self._some(box)):
            self.doubtful |= {box.entries[uid] for uid in uids}
            await _ok(wire, b"UID STORE %b +FLAGS.SILENT (\\Deleted)" % _set(uids))
            await self._done(wire, b"UID EXPUNGE %b" % _set(uids))
            self._take(box, uids)

    async def _move(self, wire: Wire, selected: str) -> None:
        box = self.boxes[selected]
        target = MAILBOXES[1 - MAILBOXES.index(selected)]
        uids = self._some(box)
        if self._chance.random() < 0.05:
            uids = sorted(uid for uid, number in box.entries.items() if number not in self.doubtful)
        if uids:
            self.doubtful |= {box.entries[uid] for uid in uids}
            tag = wire.begin(b"UID MOVE %b %b" % (_set(uids), target.encode()))
            argument = ""
            async for response in wire.responses(tag):
                argument = response.argument if response.code == "COPYUID" else argument
                if response.tag == tag and response.name != "OK":
                    raise _RefusedError(response.raw)
            self.promised += 1
            validity, source, copies = argument.split(" ")
            moved = [box.entries[uid] for uid in numbers(source)]
            self._take(box, numbers(source))
            self._add(target, validity, copies, moved)

    async def _done(self, wire: Wire, command: bytes) -> tuple[str, str]:
        last = (await _ok(wire, command))[-1]
        self.promised += 1
        return last.code, last.argument

    def _add(self, name: str, validity: str, uids: str, messages: list[int]) -> None:
        box = self.boxes[name]
        assert box.validity in {"", validity}
        box.validity = validity
        for uid, number in zip(numbers(uids), messages, strict=True):
            assert uid > box.highest_uid
            box.highest_uid = uid
            box.entries[uid] = number
            self.doubtful.discard(number)

    def _take(self, box: Box, uids: list[int]) -> None:
        for uid in uids:
            self.doubtful.discard(box.entries.pop(uid))
            box.flagged.pop(uid, None)
            box.gone.add(uid)

    def _some(self, box: Box) -> list[int]:
        """Return up to five UIDs of messages that are there for certain."""
        known = [uid for uid, number in box.entries.items() if number not in self.doubtful]
        return sorted(self._chance.sample(known, min(len(known), self._chance.randint(1, 5))))


class _RefusedError(Exception):
    """NO: the server is in trouble, and so is what was under way."""


async def _ok(wire: Wire, command: bytes) -> list[Response]:
    responses = await wire.command(command)
    if responses[-1].name != "OK":
        raise _RefusedError(responses[-1].raw)
    return responses


def _set(uids: list[int]) -> bytes:
    return ",".join(map(str, uids)).encode()
