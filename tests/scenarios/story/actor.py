"""A client: its connection, what it knows of its mailbox, and what it keeps of others."""

import random

from tests.scenarios.story.mailbox import Box
from tests.support.view import Cache, Request, View, check
from tests.support.wire import Response, Wire


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
        check(responses[-1].name == "OK", f"{command!r}: {responses[-1].raw!r}")
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

    def some(self, chance: random.Random) -> list[int]:
        """Return some of the numbers of the view, in order; there must be one."""
        count = len(self.view.messages)
        first = chance.randint(1, count)
        width = chance.choice((1, 1, 1, 2, 3, 7, count))
        wanted = range(first, min(first + width, count + 1))
        return [number for number in wanted if chance.random() < 0.8] or [first]

    def compare(self) -> None:
        """Compare what this client knows with what is.

        Raises:
            ViolationError: it is something else.
        """
        box, view = self.box, self.view
        assert box is not None
        there = sorted(box.messages)
        check(len(view.messages) == len(there), f"{self.wire.name} sees {len(view.messages)} of {len(there)}")
        for number, (known, uid) in enumerate(zip(view.messages, there, strict=True), 1):
            check(known.uid in (None, uid), f"{self.wire.name}: {number} is UID {known.uid}, not {uid}")
            check(
                known.flags is None or known.flags == box.messages[uid].flags,
                f"{self.wire.name}: UID {uid} has {set(box.messages[uid].flags)}, not {set(known.flags or ())}",
            )
