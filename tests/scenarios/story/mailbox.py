"""Mailboxes as they are, by what the server has answered OK."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.violations import check


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
        check(uid > self.highest, f"UID {uid} after {self.highest} in {self.name}")
        self.highest = uid
        self.messages[uid] = Message(flags, token)

    def begin_again(self) -> None:
        """It was deleted, and another was made by its name."""
        self.messages.clear()
        self.history = {}
        self.highest = self.uidvalidity = 0

    def deleted(self) -> set[int]:
        """UIDs of the messages with `\\Deleted`."""
        return {uid for uid, message in self.messages.items() if "\\Deleted" in message.flags}


def as_set(names: Sequence[int]) -> bytes:
    """Return numbers or UIDs as a command names them: runs as ranges."""
    runs: list[list[int]] = []
    for name in names:
        if runs and name == runs[-1][-1] + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}:{run[-1]}" for run in runs).encode()
