"""Several clients act at the same moment, and send several commands before they read any answer.

RFC 3501 §5.5: once a command is under way that may tell of an expunge, a client must name no message by number.
"""

import asyncio

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import as_set
from tests.scenarios.story.openings import opening_of
from tests.scenarios.story.queries import noop
from tests.scenarios.story.scene import Scene
from tests.scenarios.story.visits import stop_idling
from tests.support.view import NUMBERED, Request
from tests.support.violations import check
from tests.support.wire import literal

KINDS = ("append", "store", "store", "store", "store", "fetch", "fetch", "search", "copy", "move", "move", "replace",
         "expunge", "noop", "save", "saved")  # fmt: skip
REMOVING = frozenset({"EXPUNGE", "MOVE", "REPLACE"})


async def burst(scene: Scene, _actor: Actor) -> None:
    """Several clients act at the same moment; what came of it, all must see alike."""
    actors = [actor for actor in scene.actors if actor.box is not None]
    actors = scene.chance.sample(actors, min(len(actors), scene.chance.randint(2, 4)))
    for actor in actors:
        if actor.idle:
            await stop_idling(scene, actor)
        await actor.fill()
    plans = [(actor, _pipeline(scene, actor)) for actor in actors]
    scene.said.append(
        f"burst {[(actor.wire.name, [command for command, _ in plan]) for actor, plan in plans]}"
    )
    may_go = any(request.name in REMOVING for _, plan in plans for _, request in plan)
    before = {box: set(box.messages) for box in scene.boxes}
    results = await asyncio.gather(
        *(actor.pipeline(plan) for actor, plan in plans),
        *([scene.deliver(scene.token())] if scene.chance.random() < 0.3 else []),
    )
    for (actor, plan), answers in zip(plans, results, strict=False):
        assert answers is not None
        for (command, _), responses in zip(plan, answers, strict=True):
            last = responses[-1]
            check(last.name in {"OK", "NO"}, f"{actor.wire.name}: {command!r}: {last.raw!r}")
    for box in scene.boxes:
        seen = await scene.look(box)
        gone = before[box] - seen.keys()
        check(may_go or not gone, f"{gone} are gone, and nobody removed them")
        for uid in sorted(seen.keys() - before[box]):
            box.add(uid, seen[uid][0].flags, seen[uid][0].token)
        box.messages = {uid: message for uid, (message, _) in seen.items()}
    for actor, plan in plans:
        if any(b"(SAVE)" in command for command, _ in plan):
            actor.view.saved = None
        if any(b".SILENT" in command for command, _ in plan):
            # What became of a silent one when others did the like, a client has to ask.
            actor.view.forget_flags()
        await noop(scene, actor)


def _pipeline(scene: Scene, actor: Actor) -> list[tuple[bytes, Request]]:
    plan: list[tuple[bytes, Request]] = []
    numbered = actor.enabled.notify != "SELECTED"
    if scene.chance.random() < 0.15:
        # What was kept is brought up to date while it changes, and so is the view that comes of it.
        box = scene.chance.choice(scene.boxes)
        return [
            opening_of(scene, actor, box),
            (b"UID FETCH 1:* " + actor.items(), Request("FETCH", uid=True)),
        ]
    for _ in range(scene.chance.choice((1, 1, 2, 3, 5))):
        command, request = _anything(scene, actor, numbered=numbered)
        plan.append((command, request))
        numbered = numbered and not request.uid and request.name in NUMBERED
    return plan


def _anything(scene: Scene, actor: Actor, *, numbered: bool) -> tuple[bytes, Request]:
    box, token = scene.chance.choice(scene.boxes), scene.token()
    kind = scene.chance.choice(KINDS)
    some = actor.some(scene.chance) if actor.view.messages else []
    uid = actor.by_uid(scene.chance) or not numbered
    prefix = b"UID " if uid else b""
    message = literal(f"Subject: {token}\r\n\r\n{token}\r\n".encode())
    message += b" " + message if scene.chance.random() < 0.2 and kind == "append" else b""
    if kind == "append" or (not some and kind not in {"expunge", "noop", "save", "saved"}):
        return b"APPEND %b %b" % (box.name.encode(), message), Request("APPEND")
    named = [actor.view.uids[number - 1] or 0 for number in some] if uid else some
    names = as_set(named)
    match kind:
        case "store":
            flags = " ".join(scene.flags()).encode()
            mode, silent = scene.chance.choice((b"+", b"-")), scene.chance.choice((b"", b".SILENT"))
            return b"%bSTORE %b %bFLAGS%b (%b)" % (prefix, names, mode, silent, flags), Request("STORE", uid)
        case "fetch":
            return b"%bFETCH %b %b" % (prefix, names, actor.items()), Request("FETCH", uid)
        case "search":
            return b"%bSEARCH UNDELETED" % prefix, Request("SEARCH", uid)
        case "copy":
            return b"%bCOPY %b %b" % (prefix, names, box.name.encode()), Request("COPY", uid)
        case "move":
            return b"%bMOVE %b %b" % (prefix, names, box.name.encode()), Request("MOVE", uid)
        case "replace":
            command = b"%bREPLACE %d %b %b" % (prefix, named[0], box.name.encode(), message)
            return command, Request("REPLACE", uid)
        case "expunge":
            return b"EXPUNGE", Request("EXPUNGE")
        case "save":
            return b"%bSEARCH RETURN (SAVE) SEEN" % prefix, Request("SEARCH", uid)
        case "saved":
            command = scene.chance.choice((b"FETCH $ " + actor.items(), b"STORE $ +FLAGS (later)"))
            return prefix + command, Request(command.split()[0].decode(), uid)
    return b"NOOP", Request("NOOP")
