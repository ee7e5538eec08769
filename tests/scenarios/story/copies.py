"""Messages are copied and moved, with COPYUID (RFC 3501 §6.4.7, RFC 4315, RFC 6851)."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import as_set
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import check
from tests.support.wire import numbers


async def copy(scene: Scene, actor: Actor) -> None:
    """COPY, MOVE, UID COPY, UID MOVE."""
    box = actor.box
    assert box is not None
    await actor.fill()
    if not actor.view.messages:
        return
    move, uid = scene.chance.random() < 0.5, actor.by_uid(scene.chance)
    target = scene.chance.choice(scene.boxes)
    wanted = actor.some(scene.chance)
    uids = [actor.view.uids[number - 1] or 0 for number in wanted]
    name = "MOVE" if move else "COPY"
    command = b"%b%b %b %b" % (
        b"UID " if uid else b"",
        name.encode(),
        as_set(uids if uid else wanted),
        target.name.encode(),
    )
    responses = await actor.request(command, Request(name, uid))
    if actor.read_only and move:
        check(responses[-1].name == "NO", "MOVE out of a mailbox that was opened with EXAMINE")
        return
    alive = [each for each in uids if each in box.messages]
    copyuid = next((each for each in responses if each.code == "COPYUID"), None)
    check(
        responses[-1].name == "OK" or (len(alive) < len(uids) and responses[-1].name == "NO"),
        f"{command!r}: {responses[-1].raw!r}",
    )
    if copyuid is None:
        # RFC 3501 §6.4.7: when COPY fails, nothing was copied.
        check(responses[-1].name == "NO" or not alive, "no COPYUID")
        return
    validity, sources, copies = copyuid.argument.split()
    check(numbers(sources) == alive, f"COPYUID {sources} of {alive}")
    target.uidvalidity = target.uidvalidity or int(validity)
    check(target.uidvalidity == int(validity), "COPYUID with another UIDVALIDITY")
    check(len(numbers(copies)) == len(alive), "COPYUID of unequal length")
    for source, copy in zip(alive, numbers(copies), strict=True):
        target.add(copy, box.messages[source].flags, box.messages[source].token)
    if move:
        for source in alive:
            del box.messages[source]
        check(not set(actor.uids) & set(alive), "MOVE did not tell that the messages are gone")
