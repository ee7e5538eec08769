"""Flags change, silently or not, with UNCHANGEDSINCE or not (RFC 3501 §6.4.6, RFC 7162 §3.1.3)."""

from collections.abc import Callable, Sequence

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import as_set
from tests.scenarios.story.scene import Scene
from tests.support.view import Known, Request, View
from tests.support.violations import ViolationError, check
from tests.support.wire import Response, numbers

Change = Callable[[frozenset[str]], frozenset[str]]
"""What STORE does with flags."""


async def store(scene: Scene, actor: Actor) -> None:
    """STORE or UID STORE, silent or not, with UNCHANGEDSINCE or not."""
    box = actor.box
    assert box is not None
    await actor.fill()
    if not actor.view.messages:
        return
    wanted, uid, silent = actor.some(scene.chance), actor.by_uid(scene.chance), scene.chance.random() < 0.3
    mode, flags = scene.chance.choice(("+", "-", "+", "-", "")), scene.flags()
    known = {number: actor.view.messages[number - 1] for number in wanted}
    uids = {number: known[number].uid or 0 for number in wanted}
    since = None
    modseqs: dict[int, int] = {}
    if scene.chance.random() < 0.25:
        modseqs = await scene.observe(box)
        # A client that knows no mod-sequences takes one out of the air.
        choices = [each.modseq for each in known.values() if each.modseq] or [0, *modseqs.values()]
        since = scene.chance.choice([0, *choices])
    command = b"%bSTORE %b %b%bFLAGS%b (%b)" % (
        b"UID " if uid else b"",
        as_set(list(uids.values()) if uid else wanted),
        b"" if since is None else b"(UNCHANGEDSINCE %d) " % since,
        mode.encode(),
        b".SILENT" if silent else b"",
        " ".join(sorted(flags)).encode(),
    )
    told: set[int] = set()
    response = None
    async for response in actor.wire.responses(actor.wire.begin(command)):
        told |= {known.uid or 0 for known in _told(actor.view, response)}
        actor.take(response, Request("STORE", uid))
        told |= {known.uid or 0 for known in _told(actor.view, response)}
    assert response is not None
    if actor.read_only:
        check(response.name == "NO", "STORE in a mailbox that was opened with EXAMINE")
        return
    # There is room for one code: which failed the test is said rather than that others are gone (RFC 7162 §3.1.3).
    gone = response.code == "MODIFIED" and not box.messages.keys() >= set(uids.values())
    check(
        response.name == "OK" or response.code == "EXPUNGEISSUED" or gone,
        f"{command!r}: {response.raw!r}",
    )
    if since is not None:
        actor.enabled.condstore = True
    modified = numbers(response.argument) if response.code == "MODIFIED" else []
    refused = set(modified if uid else [uids[number] for number in modified])
    if since is not None:
        must = {each for each in uids.values() if modseqs.get(each, 0) > since}
        check(refused & box.messages.keys() == must, f"MODIFIED {refused}, not {must}, since {since}")
    else:
        check(not refused, "MODIFIED without UNCHANGEDSINCE")
    change = _change(mode, flags)
    _stored(actor, [each for each in uids.values() if each not in refused], change, told, silent=silent)


def _stored(actor: Actor, uids: Sequence[int], change: Change, told: set[int], *, silent: bool) -> None:
    box = actor.box
    assert box is not None
    for each in uids:
        if each in box.messages:
            box.messages[each].flags = change(box.messages[each].flags)
    named = set(uids)
    for known in actor.view.messages:
        if known.uid not in named or known.uid not in box.messages:
            continue
        if known.uid in told:
            check(
                known.flags == box.messages[known.uid].flags,
                f"STORE told {set(known.flags or ())} of UID {known.uid}, "
                f"which has {set(box.messages[known.uid].flags)}",
            )
        elif silent:
            known.flags = change(known.flags or frozenset())
        else:
            raise ViolationError(f"STORE did not tell of UID {known.uid}")


def _change(mode: str, flags: frozenset[str]) -> Change:
    return {"+": flags.union, "-": lambda old: old - flags, "": lambda _: flags}[mode]


def _told(view: View, response: Response) -> list[Known]:
    """The message whose flags a response tells."""
    if response.name in {"FETCH", "UIDFETCH"} and "FLAGS" in response.items:
        number = view.number_of(response)
        return [view.messages[number - 1]] if number else []
    return []
