"""Results that the server keeps up to date (RFC 5267 §4.3): what was told of them is what a new search would find."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.keys import key_of
from tests.scenarios.story.mailbox import Message
from tests.scenarios.story.scene import Scene
from tests.support.results import Result
from tests.support.view import Known, Request
from tests.support.violations import check
from tests.support.wire import PATIENCE

MOST = 3
"""Of a client at once."""


@dataclass
class Kept:
    """What was asked to be kept."""

    command: str
    holds: Callable[[int, Message], bool]
    order: Callable[[Message], str] | None
    reverse: bool


async def update(scene: Scene, actor: Actor) -> None:
    """SEARCH or SORT RETURN (UPDATE …), or CANCELUPDATE."""
    if not scene.offers("CONTEXT=SEARCH"):
        return
    view = actor.view
    if view.results and (len(view.results) >= MOST or scene.chance.random() < 0.2):
        tag = scene.chance.choice(sorted(view.results))
        view.results[tag].cancelled = True
        await actor.ok(f'CANCELUPDATE "{tag}"'.encode(), Request("CANCELUPDATE"))
        del view.results[tag]
        return
    await actor.ok(b"NOOP", Request("NOOP"))
    await actor.fill()
    key, holds = key_of(scene, actor, 2, numbered=False)
    # Who is told VANISHED of what it does not know by UID cannot go by numbers.
    by_uid = actor.by_uid(scene.chance) or actor.enabled.qresync
    sort, reverse = scene.chance.random() < 0.3, scene.chance.random() < 0.5
    options = scene.chance.choice(("UPDATE", "ALL UPDATE", "CONTEXT ALL UPDATE"))
    name = "SORT" if sort else "SEARCH"
    order = f"({'REVERSE ' if reverse else ''}SUBJECT) UTF-8 " if sort else ""
    command = f"{'UID ' if by_uid else ''}{name} RETURN ({options}) {order}{key}"
    tag = actor.wire.begin(command.encode())
    view.results[tag] = Result(uid=by_uid)
    actor.kept[tag] = Kept(command, holds, (lambda message: message.token) if sort else None, reverse)
    async for response in actor.wire.responses(tag):
        actor.take(response, Request(name, by_uid))
    check(response.name == "OK", f"{command}: {response.raw!r}")


async def agree(actor: Actor) -> None:
    """See that the results are, soon, what a new search would find.

    Raises:
        ViolationError: they are not.
    """
    if actor.box is None or not actor.view.results:
        return
    try:
        async with asyncio.timeout(PATIENCE):
            while any(_is(actor, tag) != _should_be(actor, tag) for tag in actor.view.results):
                await actor.ok(b"NOOP", Request("NOOP"))
                await asyncio.sleep(0.01)
    except TimeoutError:
        for tag in actor.view.results:
            told, right = _is(actor, tag), _should_be(actor, tag)
            check(told == right, f"{actor.kept[tag].command}: {told}, not {right}")
        raise


def _is(actor: Actor, tag: str) -> list[int]:
    members = [
        member.uid if isinstance(member, Known) else member for member in actor.view.results[tag].members
    ]
    uids = [uid for uid in members if isinstance(uid, int)]
    return sorted(uids) if actor.kept[tag].order is None else uids


def _should_be(actor: Actor, tag: str) -> list[int]:
    assert actor.box is not None
    kept, messages = actor.kept[tag], actor.box.messages
    found = [uid for uid in sorted(messages) if kept.holds(uid, messages[uid])]
    order = kept.order
    if order is None:
        return found
    return sorted(found, key=lambda uid: order(messages[uid]), reverse=kept.reverse)
