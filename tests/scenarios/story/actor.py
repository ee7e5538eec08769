"""A client: its connection, what it knows of its mailbox, and what it keeps of others."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.scenarios.story.mailbox import Box, Message
from tests.support.view import Cache, Enabled, Known, Request, View
from tests.support.violations import check
from tests.support.wire import Response, Wire

if TYPE_CHECKING:
    from tests.scenarios.story.contexts import Kept


@dataclass(frozen=True)
class Opening(Request, ABC):
    """A command that opens a mailbox."""

    box: Box = field(default_factory=lambda: Box(""))
    view: View = field(default_factory=View)
    read_only: bool = False

    @abstractmethod
    def opened(self, actor: "Actor", responses: Sequence[Response]) -> None:
        """Take what was answered to it."""


class Actor:
    """A client."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.view = View()
        self.box: Box | None = None
        self.read_only = False
        self.enabled = Enabled()
        self.watches = False
        """Whether NOTIFY is to tell of the mailboxes that are not selected."""
        self.statuses: dict[str, dict[str, int]] = {}
        """What was told of these, by name."""
        self.kept: dict[str, Kept] = {}
        """What is to be in the results of `view`, by tag."""
        self.idle = ""
        """The tag of the IDLE that goes on."""
        self.caches: dict[Box, Cache] = {}

    @property
    def uids(self) -> list[int]:
        """The UIDs of the view, which all are known."""
        return [uid for uid in self.view.uids if uid is not None]

    def by_uid(self, chance: random.Random, *, alone: bool = True) -> bool:
        """Tell whether to name messages by UID, by chance where the client may choose.

        Args:
            chance: which decides.
            alone: whether nobody else does anything now.
        """
        # RFC 5465 §6.1.1: numbers are of no use to whom expunges are told of at any time.
        must = self.enabled.uidonly or (self.enabled.notify == "SELECTED" and not alone)
        return chance.random() < 0.5 or must

    async def request(self, command: bytes, request: Request) -> list[Response]:
        """Send a command, and let the view see every response."""
        (responses,) = await self.pipeline([(command, request)])
        return responses

    async def pipeline(self, commands: Sequence[tuple[bytes, Request]]) -> list[list[Response]]:
        """Send commands before any is answered, and let the view see every response."""
        tags = [self.wire.begin(command) for command, _ in commands]
        found = []
        for tag, (_, request) in zip(tags, commands, strict=True):
            if isinstance(request, Opening):
                found.append(await self._open(tag, request))
                continue
            responses = []
            async for response in self.wire.responses(tag):
                responses.append(response)
                self.take(response, request)
            found.append(responses)
        return found

    async def _open(self, tag: str, opening: "Opening") -> list[Response]:
        """Let the view that is left see what comes before CLOSED, and the new one what comes then."""
        # RFC 9051 §7.1, RFC 7162 §3.2.11: whoever enabled one of them has to be told where the new one begins.
        waits = self.box is not None
        if not waits:
            self._begin(opening)
        responses = []
        async for response in self.wire.responses(tag):
            if waits and response.code == "CLOSED":
                waits, responses = False, []
                self.leave()
                self._begin(opening)
            responses.append(response)
            self.take(response, opening)
        check(not waits, "no CLOSED")
        if responses[-1].name == "OK":
            opening.opened(self, responses)
        return responses

    def take(self, response: Response, request: Request | None) -> None:
        """Take a response to a command, or to none."""
        if response.name == "STATUS":
            name, values = response.values
            assert isinstance(values, list)
            told = zip(values[::2], values[1::2], strict=True)
            shown = name.decode() if isinstance(name, bytes) else str(name)
            self.statuses.setdefault(shown, {}).update({str(item): int(str(value)) for item, value in told})
        if self.box is not None:
            self.view.apply(response, request)

    def _begin(self, opening: "Opening") -> None:
        # RFC 5465 §3.1: of the selected mailbox no STATUS tells.
        self.statuses.pop(opening.box.name.strip('"'), None)
        self.box, self.view, self.read_only = opening.box, opening.view, opening.read_only

    async def ok(self, command: bytes, request: Request) -> list[Response]:
        """As `request`, which must be answered OK."""
        responses = await self.request(command, request)
        check(responses[-1].name == "OK", f"{command!r}: {responses[-1].raw!r}")
        return responses

    def leave(self) -> None:
        """Keep what is known of the mailbox, for it is not selected any more."""
        if self.box is not None:
            self.statuses.pop(self.box.name.strip('"'), None)
            cache = self.view.cache()
            if cache is None:
                self.caches.pop(self.box, None)
            else:
                self.caches[self.box] = cache
        self.box, self.idle = None, ""

    def items(self) -> bytes:
        """What a client of this kind asks for of each message."""
        return b"(UID FLAGS MODSEQ)" if self.enabled.condstore else b"(UID FLAGS)"

    async def fill(self) -> None:
        """Learn UIDs and flags of messages that are known by number only."""
        if self.enabled.notify:
            # What is told of new messages comes behind the command that told their number.
            await self.ok(b"NOOP", Request("NOOP"))
        while unknown := [
            number for number, known in enumerate(self.view.messages, 1) if None in (known.uid, known.flags)
        ]:
            first = 1 if self.enabled.uidonly else unknown[0]
            uid = self.enabled.uidonly
            command = b"%bFETCH %d:* %b" % (b"UID " if uid else b"", first, self.items())
            await self.ok(command, Request("FETCH", uid))

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
            right = known.uid in (None, uid) or self.enabled.uidonly
            check(right, f"{self.wire.name}: {number} is UID {known.uid}, not {uid}")
        for known in view.messages:
            check(
                known.uid is None or known.uid in box.messages, f"{self.wire.name}: UID {known.uid} is gone"
            )
            if known.uid is not None:
                self._compare_flags(known, box.messages[known.uid])
            elif not self.enabled.uidonly and known.flags is not None:
                self._compare_flags(known, box.messages[there[view.messages.index(known)]])

    def _compare_flags(self, known: Known, message: Message) -> None:
        check(
            known.flags is None or known.flags == message.flags,
            f"{self.wire.name}: UID {known.uid} has {set(message.flags)}, not {set(known.flags or ())}",
        )
