"""Clients come, wait and go: SELECT with what was kept (RFC 7162 §3.2.5), IDLE, a lost connection, RENAME meanwhile."""

import asyncio
from collections import deque

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.kinds import enable
from tests.scenarios.story.mailbox import Box
from tests.scenarios.story.openings import opening_of
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import ViolationError, check
from tests.support.wire import PATIENCE


async def come(scene: Scene, actor: Actor, box: Box | None = None) -> None:
    """A client has just logged in: it says what it can do, and selects a mailbox."""
    await enable(scene, actor)
    await select(scene, actor, box)


async def select(scene: Scene, actor: Actor, box: Box | None = None) -> None:
    """SELECT or EXAMINE, with CONDSTORE, with QRESYNC and what was kept, or plain."""
    command, opening = opening_of(scene, actor, box or scene.chance.choice(scene.boxes))
    box = opening.box
    responses = await actor.ok(command, opening)
    check(responses[-1].code == ("READ-ONLY" if actor.read_only else "READ-WRITE"), repr(responses[-1].raw))
    check(box.uidvalidity in (0, actor.view.uidvalidity), "another UIDVALIDITY")
    check(actor.view.uidnext > box.highest, f"UIDNEXT {actor.view.uidnext} after UID {box.highest}")
    if opening.cache is not None and opening.cache.uidvalidity == actor.view.uidvalidity:
        # RFC 7162 §3.2.5.1: a client that says which UIDs it knows hears of no others.
        told = box.messages.keys() if opening.known is None else box.messages.keys() & opening.cache.flags
        now = {uid: box.messages[uid].flags for uid in told}
        difference = {
            uid for uid in opening.flags.keys() | now.keys() if opening.flags.get(uid) != now.get(uid)
        }
        check(
            not difference,
            f"after QRESYNC since {opening.cache.modseq} {actor.wire.name} errs about UIDs {difference}: "
            f"{[(uid, opening.flags.get(uid), now.get(uid)) for uid in sorted(difference)[:5]]}",
        )
    actor.compare()
    if scene.chance.random() < 0.7:
        await actor.fill()


async def start_idling(_scene: Scene, actor: Actor) -> None:
    """IDLE; what it tells is looked at when it ends."""
    tag = actor.wire.begin(b"IDLE")
    while (response := await actor.wire.read()).tag != "+":
        actor.take(response, Request("IDLE"))
    actor.idle = tag


async def stop_idling(_scene: Scene, actor: Actor) -> None:
    """See that all has been told by itself, and end IDLE."""
    try:
        async with asyncio.timeout(PATIENCE):
            while actor.box is not None and not _is_told(actor):
                actor.take(await actor.wire.read(), Request("IDLE"))
    except TimeoutError:
        actor.compare()
        raise
    tag, actor.idle = actor.idle, ""
    actor.wire.send(b"DONE\r\n")
    async for response in actor.wire.responses(tag):
        actor.take(response, Request("IDLE"))
    check(response.name == "OK", repr(response.raw))


def _is_told(actor: Actor) -> bool:
    try:
        actor.compare()
    except ViolationError:
        return False
    return True


async def rename(scene: Scene, actor: Actor) -> None:
    """RENAME; those who have the mailbox selected go on."""
    box = scene.boxes[1]
    name = "Work" if box.name != "Work" else scene.chance.choice(("Work 2", "deep/er/Work"))
    await actor.ok(f'RENAME "{box.name.strip(chr(34))}" "{name}"'.encode(), Request("RENAME"))
    box.name = f'"{name}"' if name != "Work" else name
    for each in scene.actors:
        each.statuses.clear()


async def delete(scene: Scene, actor: Actor) -> None:
    """DELETE of a mailbox, which others may have selected, and CREATE of another by its name."""
    box, name = scene.boxes[2], scene.boxes[2].name.encode()
    await scene.look(scene.boxes[0])  # the observer leaves it
    await actor.ok(b"DELETE " + name, Request("DELETE"))
    if actor.box is box:
        # It is not selected any more, so that its connection need not end.
        actor.leave()
    left = [each for each in scene.actors if each.box is box]
    for each in left:
        # RFC 2180 §3.3: there is no other way to tell them.
        if not each.idle:
            each.wire.begin(b"NOOP")
        while (await each.wire.read()).name != "BYE":
            pass
    await actor.ok(b"CREATE " + name, Request("CREATE"))
    before = box.uidvalidity
    box.begin_again()
    await scene.observe(box)
    check(box.uidvalidity > before, f"UIDVALIDITY {box.uidvalidity} after {before}")
    for each in scene.actors:
        each.statuses.clear()
    for each in left:
        await drop(scene, each)


async def drop(scene: Scene, actor: Actor) -> None:
    """The connection breaks; the client comes back with what it knows."""
    actor.leave()
    await actor.wire.close()
    actor.watches = False
    actor.statuses.clear()
    before = actor.wire.transcript
    actor.wire = await scene.connect(actor.wire.name)
    # What goes wrong now has its cause in what was said then.
    actor.wire.transcript = deque([*before, *actor.wire.transcript], maxlen=before.maxlen)
    await come(scene, actor)
