"""What a client is told while no command of its own is in progress (RFC 5465)."""

import asyncio

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import ViolationError, check
from tests.support.wire import PATIENCE


async def hear(actor: Actor) -> None:
    """See that a client with NOTIFY is told by itself of all that it may be told of."""
    if not actor.enabled.notify or actor.box is None:
        return
    try:
        async with asyncio.timeout(PATIENCE):
            while not _is_told(actor):
                actor.take(await actor.wire.read(), None)
    except TimeoutError:
        actor.compare()
        raise


async def hear_of_others(scene: Scene, actor: Actor) -> None:
    """See that what NOTIFY has told of the mailboxes that are not selected is, soon, what is so.

    Raises:
        ViolationError: it is not.
    """
    if not actor.watches:
        return
    try:
        async with asyncio.timeout(PATIENCE):
            while _errs(scene, actor):
                await actor.ok(b"NOOP", Request("NOOP"))
                await asyncio.sleep(0.01)
    except TimeoutError:
        check(not (wrong := _errs(scene, actor)), f"{actor.wire.name} was told {wrong}")
        raise


def _errs(scene: Scene, actor: Actor) -> list[str]:
    wrong = []
    for box in scene.boxes:
        told = actor.statuses.get(box.name.strip('"'))
        if told is None or box is actor.box or told.get("UIDVALIDITY") not in (None, box.uidvalidity):
            continue  # of one that is no more, it may have been on its way
        messages = box.messages.values()
        unseen = sum("\\Seen" not in message.flags for message in messages)
        right = {"MESSAGES": len(messages), "UNSEEN": unseen}
        if any(told.get(item, value) != value for item, value in right.items()):
            wrong.append(f"{told} of {box.name}, not {right}")
    return wrong


def _is_told(actor: Actor) -> bool:
    view, box = actor.view, actor.box
    assert box is not None
    if actor.enabled.notify == "SELECTED-DELAYED":
        unknown = sum(known.uid is None for known in view.messages)
        missing = box.messages.keys() - set(actor.uids)
        if len(missing) < unknown or set(actor.uids) - box.messages.keys():
            # RFC 5465 §6.1.2: that messages are gone waits for a command, and with it what is newer. Those that have
            # come are told of all the same.
            return len(missing) <= unknown
    if any(known.awaited and None in (known.uid, known.flags) for known in view.messages):
        return False
    try:
        actor.compare()
    except ViolationError:
        return False
    return True
