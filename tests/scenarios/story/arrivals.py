"""Mail comes: APPEND, and deliveries from outside."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import check
from tests.support.wire import literal, numbers


async def append(scene: Scene, actor: Actor) -> None:
    """APPEND of one message or several to any of the mailboxes (RFC 3502)."""
    box = scene.chance.choice(scene.boxes)
    count = scene.chance.choice((1, 1, 1, 2, 5)) if scene.offers("MULTIAPPEND") else 1
    new = [(scene.flags(), scene.token()) for _ in range(count)]
    messages = (
        b" (%b) %b"
        % (
            " ".join(flags).encode(),
            literal(f"Subject: {token}\r\nFrom: a@example.org\r\n\r\nbody {token}\r\n".encode()),
        )
        for flags, token in new
    )
    command = b"APPEND %b%b" % (box.name.encode(), b"".join(messages))
    response = (await actor.ok(command, Request("APPEND")))[-1]
    check(response.code == "APPENDUID", "APPEND without APPENDUID")
    uidvalidity, uids = response.argument.split()
    check(int(uidvalidity) == (box.uidvalidity or int(uidvalidity)), "another UIDVALIDITY")
    box.uidvalidity = int(uidvalidity)
    for uid, (flags, token) in zip(numbers(uids), new, strict=True):
        box.add(uid, flags, token)
    if actor.box is box:
        check(len(actor.view.messages) == len(box.messages), "APPEND to the selected mailbox is not told")


async def delivery(scene: Scene, _actor: Actor) -> None:
    """A message comes from outside; how it is known is seen by the observer."""
    await scene.deliver(scene.token())
    await scene.observe(scene.boxes[0])
