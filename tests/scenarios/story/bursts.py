"""Several clients act at the same moment."""

import asyncio

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import as_set
from tests.scenarios.story.queries import noop
from tests.scenarios.story.scene import Scene
from tests.scenarios.story.visits import stop_idling
from tests.support.view import Request, check
from tests.support.wire import literal


async def burst(scene: Scene, _actor: Actor) -> None:
    """Several clients act at the same moment; what came of it, all must see alike."""
    actors = [actor for actor in scene.actors if actor.box is not None]
    actors = scene.chance.sample(actors, min(len(actors), scene.chance.randint(2, 4)))
    for actor in actors:
        if actor.idle:
            await stop_idling(scene, actor)
        await actor.fill()
    plans = [(actor, _anything(scene, actor)) for actor in actors]
    scene.said.append(f"burst {[plan for _, plan in plans]}")
    may_go = any(request.name in {"EXPUNGE", "MOVE"} for _, (_, request) in plans)
    before = {box: set(box.messages) for box in scene.boxes}
    results = await asyncio.gather(
        *(actor.request(command, request) for actor, (command, request) in plans),
        *([scene.deliver(scene.token())] if scene.chance.random() < 0.3 else []),
    )
    for (actor, (command, _)), responses in zip(plans, results, strict=False):
        assert responses is not None
        last = responses[-1]
        check(last.name in {"OK", "NO"}, f"{actor.wire.name}: {command!r}: {last.raw!r}")
    for box in scene.boxes:
        seen = await scene.look(box)
        gone = before[box] - seen.keys()
        check(may_go or not gone, f"{gone} are gone, and nobody removed them")
        for uid in sorted(seen.keys() - before[box]):
            box.add(uid, seen[uid][0].flags, seen[uid][0].token)
        box.messages = {uid: message for uid, (message, _) in seen.items()}
    for actor in actors:
        await noop(scene, actor)


def _anything(scene: Scene, actor: Actor) -> tuple[bytes, Request]:
    box, token = scene.chance.choice(scene.boxes), scene.token()
    kind = scene.chance.choice(("append", "store", "store", "store", "copy", "move", "expunge", "noop"))
    some = actor.some(scene.chance) if actor.view.messages else []
    if kind == "append" or (not some and kind in {"store", "copy", "move"}):
        message = literal(f"Subject: {token}\r\n\r\n{token}\r\n".encode())
        return b"APPEND %b %b" % (box.name.encode(), message), Request("APPEND")
    uid = scene.chance.random() < 0.5
    names = as_set([actor.view.uids[number - 1] or 0 for number in some] if uid else some) if some else b""
    prefix = b"UID " if uid else b""
    match kind:
        case "store":
            flags = " ".join(scene.flags()).encode()
            mode = scene.chance.choice((b"+", b"-"))
            return b"%bSTORE %b %bFLAGS (%b)" % (prefix, names, mode, flags), Request("STORE", uid)
        case "copy":
            return b"%bCOPY %b %b" % (prefix, names, box.name.encode()), Request("COPY", uid)
        case "move":
            return b"%bMOVE %b %b" % (prefix, names, box.name.encode()), Request("MOVE", uid)
        case "expunge":
            return b"EXPUNGE", Request("EXPUNGE")
    return b"NOOP", Request("NOOP")
