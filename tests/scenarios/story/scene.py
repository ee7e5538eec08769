"""What all that happens has in common: the mailboxes, the clients, chance, and one who only looks."""

import random
from collections.abc import Awaitable, Callable

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import Box, Message
from tests.support.wire import Wire

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "\\Draft", "$Work", "$Label1", "later")


class Scene:
    """Where it happens."""

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
        self.boxes = [Box("INBOX"), Box("Work"), Box("Temp")]
        """The second is renamed now and then, the third deleted and made again."""
        self.actors: list[Actor] = []
        self.observer: Wire
        self.capabilities: frozenset[str] = frozenset()
        self.said: list[str] = []
        """What was done, step by step."""
        self.tokens = 0
        """How many subjects were given out."""

    def offers(self, extension: str) -> bool:
        """Tell whether the server has that extension."""
        return extension.upper() in self.capabilities

    def token(self) -> str:
        """Return a subject that no other message has."""
        self.tokens += 1
        return f"token{self.tokens}x"

    def flags(self) -> frozenset[str]:
        """Return some flags, or none."""
        return frozenset(self.chance.sample(FLAGS, self.chance.choice((0, 1, 1, 2, 3))))

    async def observe(self, box: Box) -> dict[int, int]:
        """Take what is new in `box` from a fresh look at it, and return all mod-sequences by UID."""
        seen = await self.look(box)
        for uid in sorted(seen.keys() - box.messages.keys()):
            box.add(uid, seen[uid][0].flags, seen[uid][0].token)
        return {uid: modseq for uid, (_, modseq) in seen.items()}

    async def look(self, box: Box) -> dict[int, tuple[Message, int]]:
        """Return all messages and mod-sequences by UID, as a client sees them that has just come."""
        opened = await self.observer.ok(b"EXAMINE " + box.name.encode())
        box.uidvalidity = box.uidvalidity or next(
            int(each.argument) for each in opened if each.code == "UIDVALIDITY"
        )
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

    async def measure(self, box: Box) -> tuple[int, int]:
        """Return a mailbox's highest mod-sequence, and the octets of all its messages."""
        opened = await self.observer.ok(b"EXAMINE " + box.name.encode())
        modseq = next(int(each.argument) for each in opened if each.code == "HIGHESTMODSEQ")
        sizes = await self.observer.command(b"FETCH 1:* RFC822.SIZE")
        return modseq, sum(int(str(each.items["RFC822.SIZE"])) for each in sizes if each.name == "FETCH")
