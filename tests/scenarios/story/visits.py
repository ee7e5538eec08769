"""Clients come, wait and go: SELECT with what was kept (RFC 7162 §3.2.5), IDLE, a lost connection, RENAME meanwhile."""

import asyncio
from collections import deque

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import Box, as_set
from tests.scenarios.story.scene import Scene
from tests.support.view import Cache, Request, View, ViolationError, check
from tests.support.wire import PATIENCE, Response, numbers


async def _enable(scene: Scene, actor: Actor) -> None:
    kinds = ["", "CONDSTORE", *(["QRESYNC"] * 2 if "QRESYNC" in scene.capabilities else [])]
    kind = scene.chance.choice(kinds)
    actor.condstore = bool(kind)
    actor.qresync = kind == "QRESYNC"
    if kind:
        (enabled, _) = await actor.wire.ok(b"ENABLE " + kind.encode())
        check(kind in enabled.values, "ENABLED does not say so")


async def come(scene: Scene, actor: Actor, box: Box | None = None) -> None:
    """A client has just logged in: it says what it can do, and selects a mailbox."""
    await _enable(scene, actor)
    await select(scene, actor, box)


async def select(scene: Scene, actor: Actor, box: Box | None = None) -> None:
    """SELECT or EXAMINE, with CONDSTORE, with QRESYNC and what was kept, or plain."""
    box = box or scene.chance.choice(scene.boxes)
    if actor.box is not None:
        actor.leave()
    cache = actor.caches.pop(box, None) if actor.qresync else None
    actor.view = View(
        condstore=actor.condstore, qresync=actor.qresync, history=box.history, uidvalidity=box.uidvalidity
    )
    actor.box = box
    actor.read_only = scene.chance.random() < 0.15
    parameter = known = b""
    if cache is not None:
        known = _known(scene, cache)
        parameter = b" (QRESYNC (%d %d%b))" % (cache.uidvalidity, cache.modseq, known)
    elif actor.condstore and scene.chance.random() < 0.3:
        parameter = b" (CONDSTORE)"
    name = "EXAMINE" if actor.read_only else "SELECT"
    request = Request(name, earlier=cache is not None)
    tag = actor.wire.begin(b"%b %b%b" % (name.encode(), box.name.encode(), parameter))
    responses = [response async for response in actor.wire.responses(tag)]
    # RFC 7162 §3.2.11: before [CLOSED] all is about the mailbox that was selected before.
    closed = [at for at, response in enumerate(responses) if response.code == "CLOSED"]
    for response in responses[closed[-1] + 1 if closed else 0 :]:
        actor.view.apply(response, request)
    check(responses[-1].name == "OK", repr(responses[-1].raw))
    check(responses[-1].code == ("READ-ONLY" if actor.read_only else "READ-WRITE"), repr(responses[-1].raw))
    check(box.uidvalidity in (0, actor.view.uidvalidity), "another UIDVALIDITY")
    check(actor.view.uidnext > box.highest, f"UIDNEXT {actor.view.uidnext} after UID {box.highest}")
    if cache is not None:
        _resynchronise(actor, cache, responses, new=not known)
    actor.compare()
    if scene.chance.random() < 0.7:
        await actor.fill()


def _known(scene: Scene, cache: Cache) -> bytes:
    uids = sorted(cache.flags)
    if not uids or scene.chance.random() < 0.5:
        return b""
    if scene.chance.random() < 0.5:
        return b" " + as_set(uids)
    # RFC 7162 §3.2.5.2: some of the numbers that the client had, with their UIDs.
    some = sorted(scene.chance.sample(range(len(uids)), min(len(uids), 3)))
    return b" %b (%b %b)" % (as_set(uids), as_set([n + 1 for n in some]), as_set([uids[n] for n in some]))


def _resynchronise(actor: Actor, cache: Cache, responses: list[Response], *, new: bool) -> None:
    """Bring what was kept up to date with what SELECT said, and compare (RFC 7162 §3.2.5)."""
    box = actor.box
    assert box is not None
    flags = dict(cache.flags)
    for response in responses:
        if response.name == "VANISHED":
            check(response.values[0] == ["EARLIER"], "VANISHED without (EARLIER) in SELECT")
            for uid in numbers(str(response.values[-1])):
                flags.pop(uid, None)
        elif response.name == "FETCH":
            items = response.items
            check({"UID", "FLAGS", "MODSEQ"} <= items.keys(), f"FETCH in SELECT lacks one: {items.keys()}")
            values = items["FLAGS"]
            assert isinstance(values, list)
            flags[int(str(items["UID"]))] = frozenset(str(flag) for flag in values if flag != "\\Recent")
    # RFC 7162 §3.2.5.1: a client that says which UIDs it knows hears of no others.
    now = {uid: message.flags for uid, message in box.messages.items() if new or uid in cache.flags}
    difference = {uid for uid in flags.keys() | now.keys() if flags.get(uid) != now.get(uid)}
    check(
        not difference,
        f"after QRESYNC since {cache.modseq} {actor.wire.name} errs about UIDs {difference}: "
        f"{[(uid, flags.get(uid), now.get(uid)) for uid in sorted(difference)[:5]]}",
    )


async def start_idling(_scene: Scene, actor: Actor) -> None:
    """IDLE; what it tells is looked at when it ends."""
    tag = actor.wire.begin(b"IDLE")
    while (response := await actor.wire.read()).tag != "+":
        if actor.box is not None:
            actor.view.apply(response, Request("IDLE"))
    actor.idle = tag


async def stop_idling(_scene: Scene, actor: Actor) -> None:
    """See that all has been told by itself, and end IDLE."""
    try:
        async with asyncio.timeout(PATIENCE):
            while actor.box is not None and not _is_told(actor):
                actor.view.apply(await actor.wire.read(), Request("IDLE"))
    except TimeoutError:
        actor.compare()
        raise
    tag, actor.idle = actor.idle, ""
    actor.wire.send(b"DONE\r\n")
    async for response in actor.wire.responses(tag):
        if actor.box is not None:
            actor.view.apply(response, Request("IDLE"))
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


async def drop(scene: Scene, actor: Actor) -> None:
    """The connection breaks; the client comes back with what it knows."""
    actor.leave()
    await actor.wire.close()
    before = actor.wire.transcript
    actor.wire = await scene.connect(actor.wire.name)
    # What goes wrong now has its cause in what was said then.
    actor.wire.transcript = deque([*before, *actor.wire.transcript], maxlen=before.maxlen)
    await come(scene, actor)
