"""Mail comes: APPEND, and deliveries from outside."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.scene import Scene
from tests.support.view import Request, check
from tests.support.wire import literal


async def append(scene: Scene, actor: Actor) -> None:
    """APPEND to any of the mailboxes."""
    box, token = scene.chance.choice(scene.boxes), scene.token()
    flags = scene.flags()
    message = f"Subject: {token}\r\nFrom: a@example.org\r\n\r\nbody {token}\r\n".encode()
    command = b"APPEND %b (%b) %b" % (box.name.encode(), " ".join(flags).encode(), literal(message))
    response = (await actor.ok(command, Request("APPEND")))[-1]
    check(response.code == "APPENDUID", "APPEND without APPENDUID")
    uidvalidity, uid = map(int, response.argument.split())
    check(uidvalidity == (box.uidvalidity or uidvalidity), "another UIDVALIDITY")
    box.uidvalidity = uidvalidity
    box.add(uid, flags, token)
    if actor.box is box:
        check(len(actor.view.messages) == len(box.messages), "APPEND to the selected mailbox is not told")


async def delivery(scene: Scene, _actor: Actor) -> None:
    """A message comes from outside; how it is known is seen by the observer."""
    await scene.deliver(scene.token())
    await scene.observe(scene.boxes[0])
