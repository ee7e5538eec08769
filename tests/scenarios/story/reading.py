"""Messages are read, which sets `\\Seen` (RFC 3501 §6.4.5)."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import as_set
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import check


async def read(scene: Scene, actor: Actor) -> None:
    """FETCH of texts, without PEEK."""
    box = actor.box
    assert box is not None
    await actor.ok(b"NOOP", Request("NOOP"))
    await actor.fill()
    if not actor.view.messages:
        return
    wanted, uid = actor.some(scene.chance), actor.by_uid(scene.chance)
    uids = [actor.view.uids[number - 1] or 0 for number in wanted]
    command = b"%bFETCH %b BODY[TEXT]" % (b"UID " if uid else b"", as_set(uids if uid else wanted))
    responses = await actor.ok(command, Request("FETCH", uid))
    for response in responses:
        number = actor.view.number_of(response) if response.name in {"FETCH", "UIDFETCH"} else 0
        if number and "BODY[TEXT]" in response.items:
            text, token = response.items["BODY[TEXT]"], box.messages[actor.view.uids[number - 1] or 0].token
            check(isinstance(text, bytes) and token.encode() in text, f"{text!r} is not that of {token}")
    if not actor.read_only:
        for each in uids:
            box.messages[each].flags |= {"\\Seen"}
    actor.compare()
