"""Messages are replaced by others, here or elsewhere (RFC 8508)."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import check
from tests.support.wire import literal


async def replace(scene: Scene, actor: Actor) -> None:
    """REPLACE and UID REPLACE."""
    box = actor.box
    assert box is not None
    await actor.fill()
    if not actor.view.messages:
        return
    by_uid, number = actor.by_uid(scene.chance), scene.chance.randint(1, len(actor.view.messages))
    uid = actor.view.uids[number - 1] or 0
    target, token, flags = scene.chance.choice(scene.boxes), scene.token(), scene.flags()
    command = b"%bREPLACE %d %b (%b) %b" % (
        b"UID " if by_uid else b"",
        uid if by_uid else number,
        target.name.encode(),
        " ".join(flags).encode(),
        literal(f"Subject: {token}\r\n\r\nbody {token}\r\n".encode()),
    )
    responses = await actor.request(command, Request("REPLACE", by_uid))
    last = responses[-1]
    if actor.read_only or uid not in box.messages:
        check(last.name == "NO", f"{command!r}: {last.raw!r}")
        return
    check(last.name == "OK", f"{command!r}: {last.raw!r}")
    # RFC 8508 §4.3: in an untagged OK before what is told of the one that is gone, or in the tagged one.
    appended = [response for response in responses if response.code == "APPENDUID"]
    check(len(appended) == 1, "REPLACE with one APPENDUID")
    validity, copy = map(int, appended[0].argument.split())
    check(validity == (target.uidvalidity or validity), "another UIDVALIDITY")
    del box.messages[uid]
    target.add(copy, flags, token)
    check(uid not in actor.uids, "REPLACE did not tell that the message is gone")
    if target is box:
        check(len(actor.view.messages) == len(box.messages), "REPLACE in the selected mailbox is not told")
