"""Several clients on two mailboxes: what they do at random, what must come of it, and who has to know of it.

`Story` keeps the truth, which is what the server has answered OK, and compares it with every client's view.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.support.view import Cache, Known, Request, View, ViolationError
from tests.support.wire import PATIENCE, Response, Wire, literal, numbers

Change = Callable[[frozenset[str]], frozenset[str]]
"""What STORE does with flags."""
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "\\Draft", "$Work", "$Label1", "later")
MANY = 60
"""Messages in a mailbox from which on more is removed than added."""


@dataclass
class Message:
    """As all are to see it."""

    flags: frozenset[str]
    token: str
    """Its subject."""


@dataclass(eq=False)
class Box:
    """A mailbox."""

    name: str
    messages: dict[int, Message] = field(default_factory=dict)
    highest: int = 0
    """The highest UID it has ever had."""
    uidvalidity: int = 0
    history: dict[tuple[int, int], frozenset[str]] = field(default_factory=dict)

    def add(self, uid: int, flags: frozenset[str], token: str) -> None:
        """Take a new message, whose UID must be higher than any before (RFC 3501 §2.3.1.1)."""
        _check(uid > self.highest, f"UID {uid} after {self.highest} in {self.name}")
        self.highest = uid
        self.messages[uid] = Message(flags, token)

    def deleted(self) -> set[int]:
        """UIDs of the messages with `\\Deleted`."""
        return {uid for uid, message in self.messages.items() if "\\Deleted" in message.flags}


class Actor:
    """A client."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.view = View()
        self.box: Box | None = None
        self.read_only = False
        self.condstore = False
        self.qresync = False
        self.idle = ""
        """The tag of the IDLE that goes on."""
        self.caches: dict[Box, Cache] = {}

    @property
    def uids(self) -> list[int]:
        """The UIDs of the view, which all are known."""
        return [uid for uid in self.view.uids if uid is not None]

    async def request(self, command: bytes, request: Request) -> list[Response]:
        """Send a command, and let the view see every response."""
        found = []
        async for response in self.wire.responses(self.wire.begin(command)):
            found.append(response)
            if self.box is not None:
                self.view.apply(response, request)
        return found

    async def ok(self, command: bytes, request: Request) -> list[Response]:
        """As `request`, which must be answered OK."""
        responses = await self.request(command, request)
        _check(responses[-1].name == "OK", f"{command!r}: {responses[-1].raw!r}")
        return responses

    def leave(self) -> None:
        """Keep what is known of the mailbox, for it is not selected any more."""
        if self.box is not None:
            cache = self.view.cache()
            if cache is None:
                self.caches.pop(self.box, None)
            else:
                self.caches[self.box] = cache
        self.box, self.idle = None, ""

    def items(self) -> bytes:
        """What a client of this kind asks for of each message."""
        return b"(UID FLAGS MODSEQ)" if self.condstore else b"(UID FLAGS)"

    async def fill(self) -> None:
        """Learn UIDs and flags of messages that are known by number only."""
        while unknown := [
            number for number, known in enumerate(self.view.messages, 1) if None in (known.uid, known.flags)
        ]:
            await self.ok(b"FETCH %d:* %b" % (unknown[0], self.items()), Request("FETCH"))


class Story:
    """What happens."""

    def __init__(
        self,
        connect: Callable[[str], Awaitable[Wire]],
        deliver: Callable[[str], Awaitable[None]],
        chance: random.Random,
    ) -> None:
        self.connect = connect
        """Returns a new connection that is logged in, by the name it is to have."""
        self.deliver = deliver
        """Sends a message with that subject to INBOX from outside."""
        self.chance = chance
        self.boxes = [Box("INBOX"), Box("Work")]
        self.actors: list[Actor] = []
        self.observer: Wire
        self.capabilities: frozenset[str] = frozenset()
        self.said: list[str] = []
        """What was done, step by step."""
        self._tokens = 0

    async def begin(self, actors: int) -> None:
        """Make the mailboxes, and let all come."""
        self.observer = await self.connect("observer")
        (capability, _) = await self.observer.ok(b"CAPABILITY")
        self.capabilities = frozenset(str(value) for value in capability.values)
        await self.observer.command(b"CREATE Work")
        for number in range(actors):
            actor = Actor(await self.connect(f"c{number}"))
            self.actors.append(actor)
            await self._enable(actor)
            await self.select(actor, self.boxes[0])

    async def end(self) -> None:
        """Let all go."""
        for wire in (self.observer, *(actor.wire for actor in self.actors)):
            await wire.close()

    async def _enable(self, actor: Actor) -> None:
        kinds = ["", "CONDSTORE", *(["QRESYNC"] * 2 if "QRESYNC" in self.capabilities else [])]
        kind = self.chance.choice(kinds)
        actor.condstore = bool(kind)
        actor.qresync = kind == "QRESYNC"
        if kind:
            (enabled, _) = await actor.wire.ok(b"ENABLE " + kind.encode())
            _check(kind in enabled.values, "ENABLED does not say so")

    async def step(self) -> None:
        """Let one client do one thing."""
        actor = self.chance.choice(self.actors)
        names, weights = zip(*_WEIGHTS.items(), strict=True)
        name = self.chance.choices(names, weights)[0]
        if actor.idle:
            await self.stop_idling(actor)
        if actor.box is None and name in _SELECTED:
            name = "select"
        self.said.append(f"{actor.wire.name} {name}")
        await getattr(self, name)(*(() if name in _BY_NOBODY else (actor,)))

    # Mail comes

    def token(self) -> str:
        """Return a subject that no other message has."""
        self._tokens += 1
        return f"token{self._tokens}x"

    async def append(self, actor: Actor) -> None:
        """APPEND to any of the mailboxes."""
        box, token = self.chance.choice(self.boxes), self.token()
        flags = self._flags()
        message = f"Subject: {token}\r\nFrom: a@example.org\r\n\r\nbody {token}\r\n".encode()
        command = b"APPEND %b (%b) %b" % (box.name.encode(), " ".join(flags).encode(), literal(message))
        response = (await actor.ok(command, Request("APPEND")))[-1]
        _check(response.code == "APPENDUID", "APPEND without APPENDUID")
        uidvalidity, uid = map(int, response.argument.split())
        _check(uidvalidity == (box.uidvalidity or uidvalidity), "another UIDVALIDITY")
        box.uidvalidity = uidvalidity
        box.add(uid, flags, token)
        if actor.box is box:
            _check(
                len(actor.view.messages) == len(box.messages), "APPEND to the selected mailbox is not told"
            )

    async def delivery(self) -> None:
        """A message comes from outside; how it is known is seen by the observer."""
        await self.deliver(self.token())
        await self.observe(self.boxes[0])

    async def observe(self, box: Box) -> dict[int, int]:
        """Take what is new in `box` from a fresh look at it, and return all mod-sequences by UID."""
        seen = await self.look(box)
        for uid in sorted(seen.keys() - box.messages.keys()):
            box.add(uid, seen[uid][0].flags, seen[uid][0].token)
        return {uid: modseq for uid, (_, modseq) in seen.items()}

    async def look(self, box: Box) -> dict[int, tuple[Message, int]]:
        """Return all messages and mod-sequences by UID, as a client sees them that has just come."""
        await self.observer.ok(b"EXAMINE " + box.name.encode())
        command = b"FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
        found = {}
        # An empty mailbox has no message number 1.
        for response in await self.observer.command(command):
            if response.name == "FETCH" and response.tag == "*":
                items = response.items
                flags, modseq = items["FLAGS"], items["MODSEQ"]
                subject = items["BODY[HEADER.FIELDS (SUBJECT)]"]
                assert isinstance(flags, list) and isinstance(modseq, list) and isinstance(subject, bytes)
                found[int(str(items["UID"]))] = (
                    Message(
                        frozenset(str(flag) for flag in flags if flag != "\\Recent"),
                        subject.decode().partition(":")[2].strip(),
                    ),
                    int(str(modseq[0])),
                )
        return found

    # Flags

    def _flags(self) -> frozenset[str]:
        return frozenset(self.chance.sample(FLAGS, self.chance.choice((0, 1, 1, 2, 3))))

    def _some(self, actor: Actor) -> list[int]:
        """Some of the numbers of the view, in order."""
        count = len(actor.view.messages)
        first = self.chance.randint(1, count)
        width = self.chance.choice((1, 1, 1, 2, 3, 7, count))
        wanted = range(first, min(first + width, count + 1))
        return [number for number in wanted if self.chance.random() < 0.8] or [first]

    async def store(self, actor: Actor) -> None:
        """STORE or UID STORE, silent or not, with UNCHANGEDSINCE or not."""
        box = actor.box
        assert box is not None
        await actor.fill()
        if not actor.view.messages:
            return
        wanted, uid, silent = self._some(actor), self.chance.random() < 0.5, self.chance.random() < 0.3
        mode, flags = self.chance.choice(("+", "-", "+", "-", "")), self._flags()
        known = {number: actor.view.messages[number - 1] for number in wanted}
        uids = {number: known[number].uid or 0 for number in wanted}
        since = None
        modseqs: dict[int, int] = {}
        if self.chance.random() < 0.25:
            modseqs = await self.observe(box)
            # A client that knows no mod-sequences takes one out of the air.
            choices = [each.modseq for each in known.values() if each.modseq] or [0, *modseqs.values()]
            since = self.chance.choice([0, *choices])
        command = b"%bSTORE %b %b%bFLAGS%b (%b)" % (
            b"UID " if uid else b"",
            _set(list(uids.values()) if uid else wanted),
            b"" if since is None else b"(UNCHANGEDSINCE %d) " % since,
            mode.encode(),
            b".SILENT" if silent else b"",
            " ".join(sorted(flags)).encode(),
        )
        told: set[int] = set()
        response = None
        async for response in actor.wire.responses(actor.wire.begin(command)):
            told |= {known.uid or 0 for known in _told(actor.view, response)}
            actor.view.apply(response, Request("STORE", uid))
            told |= {known.uid or 0 for known in _told(actor.view, response)}
        assert response is not None
        if actor.read_only:
            _check(response.name == "NO", "STORE in a mailbox that was opened with EXAMINE")
            return
        # There is room for one code: which failed the test is said rather than that others are gone (RFC 7162 §3.1.3).
        gone = response.code == "MODIFIED" and not box.messages.keys() >= set(uids.values())
        _check(
            response.name == "OK" or response.code == "EXPUNGEISSUED" or gone,
            f"{command!r}: {response.raw!r}",
        )
        if since is not None:
            actor.condstore = actor.view.condstore = True
        modified = numbers(response.argument) if response.code == "MODIFIED" else []
        refused = set(modified if uid else [uids[number] for number in modified])
        if since is not None:
            must = {each for each in uids.values() if modseqs.get(each, 0) > since}
            _check(refused & box.messages.keys() == must, f"MODIFIED {refused}, not {must}, since {since}")
        else:
            _check(not refused, "MODIFIED without UNCHANGEDSINCE")
        change = _change(mode, flags)
        self._stored(
            actor, [each for each in uids.values() if each not in refused], change, told, silent=silent
        )

    def _stored(
        self, actor: Actor, uids: Sequence[int], change: Change, told: set[int], *, silent: bool
    ) -> None:
        box = actor.box
        assert box is not None
        for each in uids:
            if each in box.messages:
                box.messages[each].flags = change(box.messages[each].flags)
        named = set(uids)
        for known in actor.view.messages:
            if known.uid not in named or known.uid not in box.messages:
                continue
            if known.uid in told:
                _check(
                    known.flags == box.messages[known.uid].flags,
                    f"STORE told {set(known.flags or ())} of UID {known.uid}, "
                    f"which has {set(box.messages[known.uid].flags)}",
                )
            elif silent:
                known.flags = change(known.flags or frozenset())
            else:
                raise ViolationError(f"STORE did not tell of UID {known.uid}")

    # Messages go

    async def expunge(self, actor: Actor) -> None:
        """EXPUNGE or UID EXPUNGE."""
        box = actor.box
        assert box is not None
        await actor.fill()
        if len(box.messages) > MANY and not actor.read_only:
            await self.delete_many(actor)
            await actor.fill()
        wanted = set(actor.uids)
        command, uid = b"EXPUNGE", False
        if self.chance.random() < 0.4 and actor.view.messages:
            some = [actor.view.uids[number - 1] or 0 for number in self._some(actor)]
            wanted, uid = set(some), True
            command = b"UID EXPUNGE " + _set(some)
        response = (await actor.request(command, Request("EXPUNGE", uid)))[-1]
        if actor.read_only:
            _check(response.name == "NO", "EXPUNGE in a mailbox that was opened with EXAMINE")
            return
        _check(response.name == "OK", repr(response.raw))
        await self._gone(box, box.deleted() & wanted, box.deleted() - wanted if not uid else set())
        _check(not set(actor.uids) - box.messages.keys() or uid, "EXPUNGE did not tell of all")

    async def _gone(self, box: Box, surely: set[int], perhaps: set[int]) -> None:
        for uid in surely:
            del box.messages[uid]
        if perhaps:  # what this client had not heard of yet
            seen = await self.look(box)
            for uid in perhaps - seen.keys():
                del box.messages[uid]

    async def delete_many(self, actor: Actor) -> None:
        """Give the oldest half of a mailbox `\\Deleted`."""
        box = actor.box
        assert box is not None
        # Only what this client has been told of: to it, others do not exist yet.
        half = sorted(box.messages.keys() & set(actor.uids))[: len(box.messages) // 2]
        await actor.ok(b"UID STORE %b +FLAGS.SILENT (\\Deleted)" % _set(half), Request("STORE", uid=True))
        for uid in half:
            box.messages[uid].flags |= {"\\Deleted"}
        for known in actor.view.messages:
            if known.uid in half and known.flags is not None:
                known.flags |= {"\\Deleted"}

    async def close(self, actor: Actor) -> None:
        """CLOSE or UNSELECT."""
        box = actor.box
        assert box is not None
        if self.chance.random() < 0.5:
            await actor.ok(b"UNSELECT", Request("UNSELECT"))
            actor.leave()
            return
        wanted = {uid for uid in actor.view.uids if uid is not None}
        closed = (await actor.ok(b"CLOSE", Request("CLOSE")))[-1]
        if closed.code == "HIGHESTMODSEQ":
            # RFC 7162 §3.2.8: nobody will tell what went with that, and the client knows what it had marked.
            actor.view.forget_deleted()
        actor.leave()
        if not actor.read_only:
            await self._gone(box, box.deleted() & wanted, box.deleted() - wanted)

    # Messages are copied

    async def copy(self, actor: Actor) -> None:
        """COPY, MOVE, UID COPY, UID MOVE."""
        box = actor.box
        assert box is not None
        await actor.fill()
        if not actor.view.messages:
            return
        move, uid = self.chance.random() < 0.5, self.chance.random() < 0.5
        target = self.chance.choice(self.boxes)
        wanted = self._some(actor)
        uids = [actor.view.uids[number - 1] or 0 for number in wanted]
        name = "MOVE" if move else "COPY"
        command = b"%b%b %b %b" % (
            b"UID " if uid else b"",
            name.encode(),
            _set(uids if uid else wanted),
            target.name.encode(),
        )
        responses = await actor.request(command, Request(name, uid))
        if actor.read_only and move:
            _check(responses[-1].name == "NO", "MOVE out of a mailbox that was opened with EXAMINE")
            return
        alive = [each for each in uids if each in box.messages]
        copyuid = next((each for each in responses if each.code == "COPYUID"), None)
        _check(
            responses[-1].name == "OK" or (len(alive) < len(uids) and responses[-1].name == "NO"),
            f"{command!r}: {responses[-1].raw!r}",
        )
        if copyuid is None:
            # RFC 3501 §6.4.7: when COPY fails, nothing was copied.
            _check(responses[-1].name == "NO" or not alive, "no COPYUID")
            return
        validity, sources, copies = copyuid.argument.split()
        _check(numbers(sources) == alive, f"COPYUID {sources} of {alive}")
        target.uidvalidity = target.uidvalidity or int(validity)
        _check(target.uidvalidity == int(validity), "COPYUID with another UIDVALIDITY")
        _check(len(numbers(copies)) == len(alive), "COPYUID of unequal length")
        for source, copy in zip(alive, numbers(copies), strict=True):
            target.add(copy, box.messages[source].flags, box.messages[source].token)
        if move:
            for source in alive:
                del box.messages[source]
            _check(not set(actor.uids) & set(alive), "MOVE did not tell that the messages are gone")

    # Clients look

    async def noop(self, actor: Actor) -> None:
        """NOOP or CHECK: afterwards all is known."""
        name = "CHECK" if self.chance.random() < 0.1 and actor.box else "NOOP"
        await actor.ok(name.encode(), Request(name))
        if actor.box is not None:
            self.compare(actor)

    def compare(self, actor: Actor) -> None:
        """Compare what a client knows with what is.

        Raises:
            ViolationError: it is something else.
        """
        box, view = actor.box, actor.view
        assert box is not None
        there = sorted(box.messages)
        _check(
            len(view.messages) == len(there), f"{actor.wire.name} sees {len(view.messages)} of {len(there)}"
        )
        for number, (known, uid) in enumerate(zip(view.messages, there, strict=True), 1):
            _check(known.uid in (None, uid), f"{actor.wire.name}: {number} is UID {known.uid}, not {uid}")
            _check(
                known.flags is None or known.flags == box.messages[uid].flags,
                f"{actor.wire.name}: UID {uid} has {set(box.messages[uid].flags)}, not {set(known.flags or ())}",
            )

    async def fetch(self, actor: Actor) -> None:
        """FETCH or UID FETCH, with CHANGEDSINCE or not."""
        if not actor.view.messages:
            return
        await actor.ok(b"NOOP", Request("NOOP"))
        await actor.fill()
        if not actor.view.messages:
            return
        wanted, uid = self._some(actor), self.chance.random() < 0.5
        names = [actor.view.uids[number - 1] or 0 for number in wanted] if uid else wanted
        modifier = b""
        if actor.condstore and self.chance.random() < 0.3:
            modifier = b" (CHANGEDSINCE %d)" % self.chance.choice(actor.view.messages).modseq
        command = b"%bFETCH %b %b%b" % (b"UID " if uid else b"", _set(names), actor.items(), modifier)
        responses = await actor.ok(command, Request("FETCH", uid))
        answered = {each.number for each in responses if each.name == "FETCH" and each.tag == "*"}
        if not modifier:
            _check(set(wanted) <= answered, f"FETCH of {wanted} answered {answered}")
        self.compare(actor)

    async def search(self, actor: Actor) -> None:
        """SEARCH or UID SEARCH for what can be told from flags and subjects."""
        await actor.ok(b"NOOP", Request("NOOP"))
        await actor.fill()
        self.compare(actor)
        box = actor.box
        assert box is not None
        key, holds = self._key(actor, 2)
        uid, extended = self.chance.random() < 0.5, self.chance.random() < 0.4
        command = f"{'UID ' if uid else ''}SEARCH {'RETURN (ALL) ' if extended else ''}{key}"
        actor.view.found = None
        await actor.ok(command.encode(), Request("SEARCH", uid))
        expected = [
            each if uid else number
            for number, each in enumerate(actor.uids, 1)
            if holds(each, box.messages[each])
        ]
        _check(sorted(actor.view.found or []) == expected, f"{command}: {actor.view.found}, not {expected}")

    def _key(self, actor: Actor, depth: int) -> tuple[str, Callable[[int, Message], bool]]:
        kind = self.chance.choice(("flag", "flag", "keyword", "token", "uid", "number", "not", "or", "and"))
        if depth and kind in {"not", "or", "and"}:
            left, holds_left = self._key(actor, depth - 1)
            right, holds_right = self._key(actor, depth - 1)
            match kind:
                case "not":
                    return f"NOT {left}", lambda uid, message: not holds_left(uid, message)
                case "or":
                    return f"OR {left} {right}", lambda u, m: holds_left(u, m) or holds_right(u, m)
            return f"({left} {right})", lambda u, m: holds_left(u, m) and holds_right(u, m)
        if kind == "token":
            token = f"token{self.chance.randint(1, max(1, self._tokens))}x"
            return f"SUBJECT {token}", lambda _, message: message.token == token
        if kind in {"uid", "number"} and actor.view.messages:
            some = self._some(actor)
            uids = {actor.view.uids[number - 1] for number in some}
            names = sorted(uid or 0 for uid in uids) if kind == "uid" else some
            return f"{'UID ' if kind == 'uid' else ''}{_set(names).decode()}", lambda uid, _: uid in uids
        flag = self.chance.choice(FLAGS)
        there = self.chance.random() < 0.5
        word = flag[1:].upper() if flag.startswith("\\") else f"KEYWORD {flag}"
        return f"{'' if there else 'UN'}{word}", lambda _, message: (flag in message.flags) == there

    async def status(self, actor: Actor) -> None:
        """STATUS of the mailbox that is not selected."""
        box = next(each for each in self.boxes if each is not actor.box)
        command = f"STATUS {box.name} (MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"
        found = next(
            each for each in await actor.ok(command.encode(), Request("STATUS")) if each.name == "STATUS"
        )
        values = found.values[1]
        assert isinstance(values, list)
        told = {str(name): int(str(value)) for name, value in zip(values[::2], values[1::2], strict=True)}
        unseen = sum("\\Seen" not in message.flags for message in box.messages.values())
        _check(told["MESSAGES"] == len(box.messages), f"{told}, not {len(box.messages)} messages")
        _check(told["UNSEEN"] == unseen, f"{told}, not {unseen} unseen")
        _check(told["UIDNEXT"] > box.highest, f"{told} after UID {box.highest}")
        _check(box.uidvalidity in (0, told["UIDVALIDITY"]), f"{told}, not {box.uidvalidity}")

    # Clients come and go

    async def select(self, actor: Actor, box: Box | None = None) -> None:
        """SELECT or EXAMINE, with CONDSTORE, with QRESYNC and what was kept, or plain."""
        box = box or self.chance.choice(self.boxes)
        if actor.box is not None:
            actor.leave()
        cache = actor.caches.pop(box, None) if actor.qresync else None
        actor.view = View(
            condstore=actor.condstore, qresync=actor.qresync, history=box.history, uidvalidity=box.uidvalidity
        )
        actor.box = box
        actor.read_only = self.chance.random() < 0.15
        parameter = known = b""
        if cache is not None:
            known = self._known(cache)
            parameter = b" (QRESYNC (%d %d%b))" % (cache.uidvalidity, cache.modseq, known)
        elif actor.condstore and self.chance.random() < 0.3:
            parameter = b" (CONDSTORE)"
        name = "EXAMINE" if actor.read_only else "SELECT"
        request = Request(name, earlier=cache is not None)
        tag = actor.wire.begin(b"%b %b%b" % (name.encode(), box.name.encode(), parameter))
        responses = [response async for response in actor.wire.responses(tag)]
        # RFC 7162 §3.2.11: before [CLOSED] all is about the mailbox that was selected before.
        closed = [at for at, response in enumerate(responses) if response.code == "CLOSED"]
        for response in responses[closed[-1] + 1 if closed else 0 :]:
            actor.view.apply(response, request)
        _check(responses[-1].name == "OK", repr(responses[-1].raw))
        _check(
            responses[-1].code == ("READ-ONLY" if actor.read_only else "READ-WRITE"), repr(responses[-1].raw)
        )
        _check(box.uidvalidity in (0, actor.view.uidvalidity), "another UIDVALIDITY")
        _check(actor.view.uidnext > box.highest, f"UIDNEXT {actor.view.uidnext} after UID {box.highest}")
        if cache is not None:
            self._resynchronise(actor, cache, responses, new=not known)
        self.compare(actor)
        if self.chance.random() < 0.7:
            await actor.fill()

    def _known(self, cache: Cache) -> bytes:
        uids = sorted(cache.flags)
        if not uids or self.chance.random() < 0.5:
            return b""
        if self.chance.random() < 0.5:
            return b" " + _set(uids)
        # RFC 7162 §3.2.5.2: some of the numbers that the client had, with their UIDs.
        some = sorted(self.chance.sample(range(len(uids)), min(len(uids), 3)))
        return b" %b (%b %b)" % (_set(uids), _set([n + 1 for n in some]), _set([uids[n] for n in some]))

    def _resynchronise(self, actor: Actor, cache: Cache, responses: list[Response], *, new: bool) -> None:
        """Bring what was kept up to date with what SELECT said, and compare (RFC 7162 §3.2.5)."""
        box = actor.box
        assert box is not None
        flags = dict(cache.flags)
        for response in responses:
            if response.name == "VANISHED":
                _check(response.values[0] == ["EARLIER"], "VANISHED without (EARLIER) in SELECT")
                for uid in numbers(str(response.values[-1])):
                    flags.pop(uid, None)
            elif response.name == "FETCH":
                items = response.items
                _check(
                    {"UID", "FLAGS", "MODSEQ"} <= items.keys(), f"FETCH in SELECT lacks one: {items.keys()}"
                )
                values = items["FLAGS"]
                assert isinstance(values, list)
                flags[int(str(items["UID"]))] = frozenset(str(flag) for flag in values if flag != "\\Recent")
        # RFC 7162 §3.2.5.1: a client that says which UIDs it knows hears of no others.
        now = {uid: message.flags for uid, message in box.messages.items() if new or uid in cache.flags}
        difference = {uid for uid in flags.keys() | now.keys() if flags.get(uid) != now.get(uid)}
        _check(
            not difference,
            f"after QRESYNC since {cache.modseq} {actor.wire.name} errs about UIDs {difference}: "
            f"{[(uid, flags.get(uid), now.get(uid)) for uid in sorted(difference)[:5]]}",
        )

    async def start_idling(self, actor: Actor) -> None:
        """IDLE; what it tells is looked at when it ends."""
        tag = actor.wire.begin(b"IDLE")
        while (response := await actor.wire.read()).tag != "+":
            if actor.box is not None:
                actor.view.apply(response, Request("IDLE"))
        actor.idle = tag

    async def stop_idling(self, actor: Actor) -> None:
        """See that all has been told by itself, and end IDLE."""
        try:
            async with asyncio.timeout(PATIENCE):
                while actor.box is not None and not self._is_told(actor):
                    actor.view.apply(await actor.wire.read(), Request("IDLE"))
        except TimeoutError:
            self.compare(actor)
            raise
        tag, actor.idle = actor.idle, ""
        actor.wire.send(b"DONE\r\n")
        async for response in actor.wire.responses(tag):
            if actor.box is not None:
                actor.view.apply(response, Request("IDLE"))
        _check(response.name == "OK", repr(response.raw))

    def _is_told(self, actor: Actor) -> bool:
        try:
            self.compare(actor)
        except ViolationError:
            return False
        return True

    async def rename(self, actor: Actor) -> None:
        """RENAME; those who have the mailbox selected go on."""
        box = self.boxes[1]
        name = "Work" if box.name != "Work" else self.chance.choice(("Work 2", "deep/er/Work"))
        await actor.ok(f'RENAME "{box.name.strip(chr(34))}" "{name}"'.encode(), Request("RENAME"))
        box.name = f'"{name}"' if name != "Work" else name

    async def drop(self, actor: Actor) -> None:
        """The connection breaks; the client comes back with what it knows."""
        actor.leave()
        await actor.wire.close()
        actor.wire = await self.connect(actor.wire.name)
        await self._enable(actor)
        await self.select(actor)

    # Many at once

    async def burst(self) -> None:
        """Several clients act at the same moment; what came of it, all must see alike."""
        actors = [actor for actor in self.actors if actor.box is not None]
        actors = self.chance.sample(actors, min(len(actors), self.chance.randint(2, 4)))
        for actor in actors:
            if actor.idle:
                await self.stop_idling(actor)
            await actor.fill()
        plans = [(actor, self._anything(actor)) for actor in actors]
        self.said.append(f"burst {[plan for _, plan in plans]}")
        may_go = any(request.name in {"EXPUNGE", "MOVE"} for _, (_, request) in plans)
        before = {box: set(box.messages) for box in self.boxes}
        results = await asyncio.gather(
            *(actor.request(command, request) for actor, (command, request) in plans),
            *([self.deliver(self.token())] if self.chance.random() < 0.3 else []),
        )
        for (actor, (command, _)), responses in zip(plans, results, strict=False):
            assert responses is not None
            last = responses[-1]
            _check(last.name in {"OK", "NO"}, f"{actor.wire.name}: {command!r}: {last.raw!r}")
        for box in self.boxes:
            seen = await self.look(box)
            gone = before[box] - seen.keys()
            _check(may_go or not gone, f"{gone} are gone, and nobody removed them")
            for uid in sorted(seen.keys() - before[box]):
                box.add(uid, *_fields(seen[uid][0]))
            box.messages = {uid: message for uid, (message, _) in seen.items()}
        for actor in actors:
            await self.noop(actor)

    def _anything(self, actor: Actor) -> tuple[bytes, Request]:
        box, token = self.chance.choice(self.boxes), self.token()
        kind = self.chance.choice(("append", "store", "store", "store", "copy", "move", "expunge", "noop"))
        some = self._some(actor) if actor.view.messages else []
        if kind == "append" or (not some and kind in {"store", "copy", "move"}):
            message = literal(f"Subject: {token}\r\n\r\n{token}\r\n".encode())
            return b"APPEND %b %b" % (box.name.encode(), message), Request("APPEND")
        uid = self.chance.random() < 0.5
        names = _set([actor.view.uids[number - 1] or 0 for number in some] if uid else some) if some else b""
        prefix = b"UID " if uid else b""
        match kind:
            case "store":
                flags = " ".join(self._flags()).encode()
                mode = self.chance.choice((b"+", b"-"))
                return b"%bSTORE %b %bFLAGS (%b)" % (prefix, names, mode, flags), Request("STORE", uid)
            case "copy":
                return b"%bCOPY %b %b" % (prefix, names, box.name.encode()), Request("COPY", uid)
            case "move":
                return b"%bMOVE %b %b" % (prefix, names, box.name.encode()), Request("MOVE", uid)
            case "expunge":
                return b"EXPUNGE", Request("EXPUNGE")
        return b"NOOP", Request("NOOP")

    async def quiet(self) -> None:
        """All are asked, and see the same, which is what a client sees that has just come."""
        for actor in self.actors:
            if actor.idle:
                await self.stop_idling(actor)
            if actor.box is None:
                continue
            await actor.ok(b"NOOP", Request("NOOP"))
            await actor.fill()
            self.compare(actor)
        for box in self.boxes:
            seen = {uid: message for uid, (message, _) in (await self.look(box)).items()}
            _check(seen == box.messages, f"{box.name} is {seen}, not {box.messages}")


_WEIGHTS = {
    "append": 8,
    "delivery": 3,
    "store": 26,
    "expunge": 9,
    "close": 4,
    "copy": 10,
    "noop": 12,
    "fetch": 8,
    "search": 8,
    "status": 3,
    "select": 8,
    "start_idling": 6,
    "rename": 1,
    "drop": 2,
    "burst": 6,
}
_BY_NOBODY = frozenset({"delivery", "burst"})
_SELECTED = frozenset({"store", "expunge", "close", "copy", "fetch", "search"})


def _change(mode: str, flags: frozenset[str]) -> Change:
    return {"+": flags.union, "-": lambda old: old - flags, "": lambda _: flags}[mode]


def _set(names: Sequence[int]) -> bytes:
    return ",".join(map(str, names)).encode()


def _told(view: View, response: Response) -> list[Known]:
    """The message whose flags a response tells."""
    if (
        response.name == "FETCH"
        and "FLAGS" in response.items
        and 0 < (response.number or 0) <= len(view.messages)
    ):
        return [view.messages[(response.number or 0) - 1]]
    return []


def _fields(message: Message) -> tuple[frozenset[str], str]:
    return message.flags, message.token


def _check(holds: bool, why: str) -> None:
    if not holds:
        raise ViolationError(why)


async def log_in(port: int, tls: ssl.SSLContext, user: str, password: str, name: str) -> Wire:
    """Return a connection of that name that is logged in."""
    wire = await Wire.connect(port, tls=tls, name=name)
    await wire.ok(f'LOGIN {user} "{password}"'.encode())
    return wire


async def deliver_by_lmtp(port: int, recipient: str, subject: str) -> None:
    """Send a message from outside."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (
        b"LHLO test.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<%b>\r\nDATA\r\n" % recipient.encode(),
        f"Subject: {subject}\r\nFrom: a@example.org\r\n\r\n{subject}\r\n.\r\nQUIT\r\n".encode(),
    )
    try:
        async with asyncio.timeout(PATIENCE):
            answers = b""
            writer.write(lines[0])
            while b"\r\n354" not in answers:
                answers += await reader.readline() or b"\r\n354 closed"
            writer.write(lines[1])
            answers = await reader.read()
            assert answers.startswith(b"250"), answers
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
