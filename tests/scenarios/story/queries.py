"""Clients ask: NOOP, FETCH, SEARCH, STATUS."""

from collections.abc import Callable

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import Message, as_set
from tests.scenarios.story.scene import FLAGS, Scene
from tests.support.view import Request, check


async def noop(scene: Scene, actor: Actor) -> None:
    """NOOP or CHECK: afterwards all is known."""
    name = "CHECK" if scene.chance.random() < 0.1 and actor.box else "NOOP"
    await actor.ok(name.encode(), Request(name))
    if actor.box is not None:
        actor.compare()


async def fetch(scene: Scene, actor: Actor) -> None:
    """FETCH or UID FETCH, with CHANGEDSINCE or not."""
    if not actor.view.messages:
        return
    await actor.ok(b"NOOP", Request("NOOP"))
    await actor.fill()
    if not actor.view.messages:
        return
    wanted, uid = actor.some(scene.chance), scene.chance.random() < 0.5
    names = [actor.view.uids[number - 1] or 0 for number in wanted] if uid else wanted
    modifier = b""
    if actor.condstore and scene.chance.random() < 0.3:
        modifier = b" (CHANGEDSINCE %d)" % scene.chance.choice(actor.view.messages).modseq
    command = b"%bFETCH %b %b%b" % (b"UID " if uid else b"", as_set(names), actor.items(), modifier)
    responses = await actor.ok(command, Request("FETCH", uid))
    answered = {each.number for each in responses if each.name == "FETCH" and each.tag == "*"}
    if not modifier:
        check(set(wanted) <= answered, f"FETCH of {wanted} answered {answered}")
    actor.compare()


async def search(scene: Scene, actor: Actor) -> None:
    """SEARCH or UID SEARCH for what can be told from flags and subjects."""
    await actor.ok(b"NOOP", Request("NOOP"))
    await actor.fill()
    actor.compare()
    box = actor.box
    assert box is not None
    key, holds = _key(scene, actor, 2)
    uid, extended = scene.chance.random() < 0.5, scene.chance.random() < 0.4
    command = f"{'UID ' if uid else ''}SEARCH {'RETURN (ALL) ' if extended else ''}{key}"
    actor.view.found = None
    await actor.ok(command.encode(), Request("SEARCH", uid))
    expected = [
        each if uid else number
        for number, each in enumerate(actor.uids, 1)
        if holds(each, box.messages[each])
    ]
    check(sorted(actor.view.found or []) == expected, f"{command}: {actor.view.found}, not {expected}")


def _key(scene: Scene, actor: Actor, depth: int) -> tuple[str, Callable[[int, Message], bool]]:
    kind = scene.chance.choice(("flag", "flag", "keyword", "token", "uid", "number", "not", "or", "and"))
    if depth and kind in {"not", "or", "and"}:
        left, holds_left = _key(scene, actor, depth - 1)
        right, holds_right = _key(scene, actor, depth - 1)
        match kind:
            case "not":
                return f"NOT {left}", lambda uid, message: not holds_left(uid, message)
            case "or":
                return f"OR {left} {right}", lambda u, m: holds_left(u, m) or holds_right(u, m)
        return f"({left} {right})", lambda u, m: holds_left(u, m) and holds_right(u, m)
    if kind == "token":
        token = f"token{scene.chance.randint(1, max(1, scene.tokens))}x"
        return f"SUBJECT {token}", lambda _, message: message.token == token
    if kind in {"uid", "number"} and actor.view.messages:
        some = actor.some(scene.chance)
        uids = {actor.view.uids[number - 1] for number in some}
        names = sorted(uid or 0 for uid in uids) if kind == "uid" else some
        return f"{'UID ' if kind == 'uid' else ''}{as_set(names).decode()}", lambda uid, _: uid in uids
    flag = scene.chance.choice(FLAGS)
    there = scene.chance.random() < 0.5
    word = flag[1:].upper() if flag.startswith("\\") else f"KEYWORD {flag}"
    return f"{'' if there else 'UN'}{word}", lambda _, message: (flag in message.flags) == there


async def status(scene: Scene, actor: Actor) -> None:
    """STATUS of the mailbox that is not selected."""
    box = next(each for each in scene.boxes if each is not actor.box)
    command = f"STATUS {box.name} (MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"
    found = next(
        each for each in await actor.ok(command.encode(), Request("STATUS")) if each.name == "STATUS"
    )
    values = found.values[1]
    assert isinstance(values, list)
    told = {str(name): int(str(value)) for name, value in zip(values[::2], values[1::2], strict=True)}
    unseen = sum("\\Seen" not in message.flags for message in box.messages.values())
    check(told["MESSAGES"] == len(box.messages), f"{told}, not {len(box.messages)} messages")
    check(told["UNSEEN"] == unseen, f"{told}, not {unseen} unseen")
    check(told["UIDNEXT"] > box.highest, f"{told} after UID {box.highest}")
    check(box.uidvalidity in (0, told["UIDVALIDITY"]), f"{told}, not {box.uidvalidity}")
