"""Clients ask: NOOP, FETCH, SEARCH, SORT, STATUS."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.keys import key_of
from tests.scenarios.story.mailbox import as_set
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import check
from tests.support.wire import numbers


async def noop(scene: Scene, actor: Actor) -> None:
    """NOOP or CHECK: afterwards all is known."""
    name = "CHECK" if scene.chance.random() < 0.1 and actor.box else "NOOP"
    await actor.ok(name.encode(), Request(name))
    if actor.box is not None:
        actor.compare()


async def fetch(scene: Scene, actor: Actor) -> None:
    """FETCH or UID FETCH, with CHANGEDSINCE, VANISHED (RFC 7162 §3.2.6), PARTIAL (RFC 9394 §3.3) or nothing."""
    if not actor.view.messages:
        return
    await actor.ok(b"NOOP", Request("NOOP"))
    await actor.fill()
    if not actor.view.messages:
        return
    box = actor.box
    assert box is not None
    wanted, uid = actor.some(scene.chance), actor.by_uid(scene.chance)
    uids = [actor.view.uids[number - 1] or 0 for number in wanted]
    modifiers, earlier = [], False
    if actor.enabled.condstore and scene.chance.random() < 0.4:
        since = scene.chance.choice(actor.view.messages).modseq
        modseqs = await scene.observe(box)
        uids = [each for each in uids if modseqs[each] > since]
        earlier = uid and actor.enabled.qresync and scene.chance.random() < 0.5
        modifiers.append(f"CHANGEDSINCE {since}{' VANISHED' if earlier else ''}")
    elif uid and scene.offers("PARTIAL") and scene.chance.random() < 0.2:
        text, part = _partial(scene)
        modifiers.append(f"PARTIAL {text}")
        uids = uids[part]
    command = b"%bFETCH %b %b%b" % (
        b"UID " if uid else b"",
        as_set([actor.view.uids[number - 1] or 0 for number in wanted] if uid else wanted),
        actor.items(),
        f" ({' '.join(modifiers)})".encode() if modifiers else b"",
    )
    responses = await actor.ok(command, Request("FETCH", uid, earlier=earlier))
    told = [each for each in responses if each.name in {"FETCH", "UIDFETCH"} and each.tag == "*"]
    answered = {actor.view.uids[actor.view.number_of(each) - 1] for each in told}
    check(set(uids) == answered, f"{command!r} answered {answered}, not {uids}")
    actor.compare()


def _partial(scene: Scene) -> tuple[str, slice]:
    first = scene.chance.randint(1, 5)
    last = first + scene.chance.randint(0, 5)
    if scene.chance.random() < 0.5:
        return f"{first}:{last}", slice(first - 1, last)
    return f"-{first}:-{last}", slice(-last, 1 - first or None)


async def search(scene: Scene, actor: Actor) -> None:
    """SEARCH or SORT, with UID or not, for what can be told from flags and subjects."""
    await actor.ok(b"NOOP", Request("NOOP"))
    await actor.fill()
    actor.compare()
    box = actor.box
    assert box is not None
    key, holds = key_of(scene, actor, 2)
    uid, extended = actor.by_uid(scene.chance), scene.chance.random() < 0.5
    found = [each for each in actor.uids if holds(each, box.messages[each])]
    program = f"SEARCH {key}"
    if scene.chance.random() < 0.3:
        reverse = scene.chance.random() < 0.5
        found.sort(key=lambda each: box.messages[each].token, reverse=reverse)
        program = f"SORT ({'REVERSE ' if reverse else ''}SUBJECT) UTF-8 {key}"
    expected = [each if uid else actor.uids.index(each) + 1 for each in found]
    name, _, rest = program.partition(" ")
    if extended:
        text, part = _partial(scene)
        options = scene.chance.choice(("ALL", "", "MIN MAX COUNT", f"PARTIAL {text} COUNT"))
        name = f"{name} RETURN ({options})"
    command = f"{'UID ' if uid else ''}{name} {rest}"
    actor.view.found = None
    actor.view.returned = {}
    await actor.ok(command.encode(), Request(program.partition(" ")[0], uid))
    if not extended or options in {"ALL", ""}:
        check((actor.view.found or []) == expected, f"{command}: {actor.view.found}, not {expected}")
        return
    returned = actor.view.returned
    check(str(returned.get("COUNT")) == str(len(expected)), f"{command}: {returned}, not {expected}")
    if options.startswith("PARTIAL"):
        (_, told) = returned["PARTIAL"]  # type: ignore[misc]
        check(
            (numbers(str(told)) if told else []) == expected[part], f"{command}: {returned}, not {expected}"
        )
    elif expected:
        ends = str(expected[0]), str(expected[-1])
        check((returned.get("MIN"), returned.get("MAX")) == ends, f"{command}: {returned}, not {expected}")


async def status(scene: Scene, actor: Actor) -> None:
    """STATUS, mostly of the mailbox that is not selected."""
    box = next(each for each in scene.boxes if each is not actor.box)
    if scene.chance.random() < 0.2:
        box = scene.chance.choice(scene.boxes)
    items = ["MESSAGES", "UNSEEN", "UIDNEXT", "UIDVALIDITY"]
    if scene.offers("STATUS=SIZE"):
        items += ["SIZE", "DELETED"]
    # RFC 7162 §3.1: to ask for it enables CONDSTORE.
    if actor.enabled.condstore:
        items.append("HIGHESTMODSEQ")
    command = f"STATUS {box.name} ({' '.join(items)})"
    responses = await actor.ok(command.encode(), Request("STATUS"))
    values = [each for each in responses if each.name == "STATUS"][-1].values[1]
    assert isinstance(values, list)
    told = {str(name): int(str(value)) for name, value in zip(values[::2], values[1::2], strict=True)}
    check(told.keys() == set(items), f"{command}: {told}")
    unseen = sum("\\Seen" not in message.flags for message in box.messages.values())
    check(told["MESSAGES"] == len(box.messages), f"{told}, not {len(box.messages)} messages")
    check(told["UNSEEN"] == unseen, f"{told}, not {unseen} unseen")
    check(told["UIDNEXT"] > box.highest, f"{told} after UID {box.highest}")
    check(box.uidvalidity in (0, told["UIDVALIDITY"]), f"{told}, not {box.uidvalidity}")
    check(
        told.get("DELETED", len(box.deleted())) == len(box.deleted()), f"{told}, not {box.deleted()} deleted"
    )
    modseq, size = await scene.measure(box)
    check(told.get("HIGHESTMODSEQ", modseq) == modseq, f"{told}, not {modseq}")
    check(told.get("SIZE", size) == size, f"{told}, not {size} octets")
