"""Search keys of which anyone can tell what they find (RFC 3501 §6.4.4)."""

from collections.abc import Callable

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import Message, as_set
from tests.scenarios.story.scene import FLAGS, Scene

Holds = Callable[[int, Message], bool]


def key_of(scene: Scene, actor: Actor, depth: int, *, numbered: bool = True) -> tuple[str, Holds]:
    """Return a search key, and whether a message with that UID is one that it finds.

    Args:
        scene: where it happens.
        actor: who searches; it knows its mailbox.
        depth: of keys in keys.
        numbered: whether sequence numbers may be in it; whoever has enabled UIDONLY uses none.
    """
    kind = scene.chance.choice(("flag", "flag", "keyword", "token", "uid", "number", "not", "or", "and"))
    if depth and kind in {"not", "or", "and"}:
        left, holds_left = key_of(scene, actor, depth - 1, numbered=numbered)
        right, holds_right = key_of(scene, actor, depth - 1, numbered=numbered)
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
        if actor.enabled.uidonly or not numbered:
            kind = "uid"
        some = actor.some(scene.chance)
        uids = {actor.view.uids[number - 1] for number in some}
        names = sorted(uid or 0 for uid in uids) if kind == "uid" else some
        return f"{'UID ' if kind == 'uid' else ''}{as_set(names).decode()}", lambda uid, _: uid in uids
    flag = scene.chance.choice(FLAGS)
    there = scene.chance.random() < 0.5
    word = flag[1:].upper() if flag.startswith("\\") else f"KEYWORD {flag}"
    return f"{'' if there else 'UN'}{word}", lambda _, message: (flag in message.flags) == there
