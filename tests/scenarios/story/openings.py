"""SELECT and EXAMINE, and what a client makes of their responses (RFC 3501 §6.3.1, RFC 7162 §3.2.5)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.scenarios.story.actor import Actor, Opening
from tests.scenarios.story.mailbox import Box, as_set
from tests.scenarios.story.scene import Scene
from tests.support.view import Cache, View
from tests.support.violations import check
from tests.support.wire import Response, numbers


@dataclass(frozen=True)
class Resuming(Opening):
    """A command that opens a mailbox, perhaps with what was kept of it."""

    cache: Cache | None = None
    known: bytes | None = None
    """What the client said that it knows; `None`: nothing of that."""
    flags: dict[int, frozenset[str]] = field(default_factory=dict)
    """By UID, what was kept and what the answer made of it."""

    def opened(self, actor: Actor, responses: Sequence[Response]) -> None:
        """Bring what was kept up to date with what was answered; where that is all, the client knows all."""
        if self.cache is None or self.cache.uidvalidity != actor.view.uidvalidity:
            return  # RFC 7162 §3.2.5: what was kept is of a mailbox that is no more
        self.flags.update(self.cache.flags)
        for response in responses:
            if response.name == "VANISHED":
                check(response.values[0] == ["EARLIER"], "VANISHED without (EARLIER) in SELECT")
                for uid in numbers(str(response.values[-1])):
                    self.flags.pop(uid, None)
            elif response.name in {"FETCH", "UIDFETCH"}:
                items = response.items
                names = {"FLAGS", "MODSEQ"} if actor.enabled.uidonly else {"UID", "FLAGS", "MODSEQ"}
                check(names <= items.keys(), f"FETCH in SELECT lacks one: {items.keys()}")
                values = items["FLAGS"]
                assert isinstance(values, list)
                fetched = response.number if actor.enabled.uidonly else int(str(items["UID"]))
                self.flags[fetched or 0] = frozenset(str(flag) for flag in values if flag != "\\Recent")
        if self.known is None:
            actor.view.adopt(self.flags)


def opening_of(scene: Scene, actor: Actor, box: Box) -> tuple[bytes, Resuming]:
    """Return a command that opens a mailbox, and what is to be made of its responses."""
    cache = actor.caches.pop(box, None)
    if actor.box is box:
        cache = actor.view.cache()
    if not actor.enabled.qresync:
        cache = None
    view = View(actor.enabled, history=box.history, uidvalidity=box.uidvalidity)
    read_only = scene.chance.random() < 0.15
    parameter, known = b"", None
    if cache is not None:
        known = _known(scene, actor, cache)
        parameter = b" (QRESYNC (%d %d%b))" % (cache.uidvalidity, cache.modseq, known or b"")
    elif actor.enabled.condstore and scene.chance.random() < 0.3:
        parameter = b" (CONDSTORE)"
    name = "EXAMINE" if read_only else "SELECT"
    command = b"%b %b%b" % (name.encode(), box.name.encode(), parameter)
    return command, Resuming(
        name, earlier=cache is not None, box=box, view=view, read_only=read_only, cache=cache, known=known
    )


def _known(scene: Scene, actor: Actor, cache: Cache) -> bytes | None:
    uids = sorted(cache.flags)
    if not uids or scene.chance.random() < 0.5:
        return None
    # RFC 9586 §3.7: no sequence numbers.
    if scene.chance.random() < 0.5 or actor.enabled.uidonly:
        return b" " + as_set(uids)
    # RFC 7162 §3.2.5.2: some of the numbers that the client had, with their UIDs.
    some = sorted(scene.chance.sample(range(len(uids)), min(len(uids), 3)))
    return b" %b (%b %b)" % (as_set(uids), as_set([n + 1 for n in some]), as_set([uids[n] for n in some]))
