"""What a search has found is kept, and used again as `$` (RFC 5182)."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.keys import key_of
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import check
from tests.support.wire import numbers


async def save(scene: Scene, actor: Actor) -> None:
    """SEARCH RETURN (SAVE …), and what is to be done with it in the same breath (RFC 5182 §2.1)."""
    await actor.fill()
    box = actor.box
    assert box is not None
    await actor.ok(b"NOOP", Request("NOOP"))
    await actor.fill()
    key, holds = key_of(scene, actor, 2)
    found = [uid for uid in sorted(box.messages) if holds(uid, box.messages[uid])]
    what, kept = scene.chance.choice(
        (
            ("SAVE", found),
            ("SAVE ALL", found),
            ("SAVE COUNT", found),
            # RFC 5182 §2.1: with nothing but MIN and MAX, only these are kept.
            ("SAVE MIN", found[:1]),
            ("SAVE MAX", found[-1:]),
            ("SAVE MIN MAX", [*found[:1], *found[-1:]]),
            ("SAVE MIN ALL", found),
        )
    )
    by_uid = actor.by_uid(scene.chance)
    command = f"{'UID ' if by_uid else ''}SEARCH RETURN ({what}) {key}"
    actor.view.saved = frozenset(kept)
    fetch = actor.by_uid(scene.chance)
    fetched = b"%bFETCH $ %b" % (b"UID " if fetch else b"", actor.items())
    searched, told = await actor.pipeline(
        [(command.encode(), Request("SEARCH", by_uid)), (fetched, Request("FETCH", fetch))]
    )
    check(searched[-1].name == "OK" == told[-1].name, f"{searched[-1].raw!r} {told[-1].raw!r}")
    uids = {actor.view.uids[actor.view.number_of(each) - 1] for each in told if "FETCH" in each.name}
    check(uids == actor.view.saved, f"{command}: $ is {uids}, not {actor.view.saved}")


async def use(scene: Scene, actor: Actor) -> None:
    """SEARCH, STORE and COPY of `$`, some of which may have gone since."""
    box = actor.box
    assert box is not None
    if actor.view.saved is None:
        await save(scene, actor)
    await actor.ok(b"NOOP", Request("NOOP"))
    await actor.fill()
    there = sorted((actor.view.saved or frozenset()) & box.messages.keys())
    by_uid = actor.by_uid(scene.chance)
    prefix = "UID " if by_uid else ""
    kind = scene.chance.choice(("search", "store", "copy"))
    if actor.read_only and kind == "store":
        kind = "search"
    match kind:
        case "search":
            key = scene.chance.choice(("$", "ALL $", "UID $"))
            await actor.ok(f"{prefix}SEARCH RETURN (ALL) {key}".encode(), Request("SEARCH", by_uid))
            named = there if by_uid else [actor.view.uids.index(uid) + 1 for uid in there]
            check(
                sorted(actor.view.found or []) == named,
                f"{prefix}SEARCH {key}: {actor.view.found}, not {named}",
            )
        case "store":
            flags = scene.flags()
            command = f"{prefix}STORE $ +FLAGS ({' '.join(sorted(flags))})"
            await actor.ok(command.encode(), Request("STORE", by_uid))
            for uid in there:
                box.messages[uid].flags |= flags
            actor.compare()
        case "copy":
            target = scene.chance.choice(scene.boxes)
            responses = await actor.ok(f"{prefix}COPY $ {target.name}".encode(), Request("COPY", by_uid))
            copyuid = next((each for each in responses if each.code == "COPYUID"), None)
            check((copyuid is None) == (not there), f"COPYUID of {there}: {responses[-1].raw!r}")
            if copyuid is None:
                return
            _, sources, copies = copyuid.argument.split()
            check(sorted(numbers(sources)) == there, f"COPYUID {sources} of {there}")
            for source, copy in zip(numbers(sources), numbers(copies), strict=True):
                target.add(copy, box.messages[source].flags, box.messages[source].token)
