"""Messages go: EXPUNGE, and CLOSE or UNSELECT."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.mailbox import Box, as_set
from tests.scenarios.story.scene import Scene
from tests.support.view import Request
from tests.support.violations import check

MANY = 60
"""Messages in a mailbox from which on more is removed than added."""


async def expunge(scene: Scene, actor: Actor) -> None:
    """EXPUNGE or UID EXPUNGE."""
    box = actor.box
    assert box is not None
    await actor.fill()
    if len(box.messages) > MANY and not actor.read_only:
        await _delete_many(actor)
        await actor.fill()
    wanted = set(actor.uids)
    command, uid = b"EXPUNGE", False
    if scene.chance.random() < 0.4 and actor.view.messages:
        some = [actor.view.uids[number - 1] or 0 for number in actor.some(scene.chance)]
        wanted, uid = set(some), True
        command = b"UID EXPUNGE " + as_set(some)
    response = (await actor.request(command, Request("EXPUNGE", uid)))[-1]
    if actor.read_only:
        check(response.name == "NO", "EXPUNGE in a mailbox that was opened with EXAMINE")
        return
    check(response.name == "OK", repr(response.raw))
    await _gone(scene, box, box.deleted() & wanted, box.deleted() - wanted if not uid else set())
    check(not set(actor.uids) - box.messages.keys() or uid, "EXPUNGE did not tell of all")


async def _gone(scene: Scene, box: Box, surely: set[int], perhaps: set[int]) -> None:
    for uid in surely:
        del box.messages[uid]
    if perhaps:  # what this client had not heard of yet
        seen = await scene.look(box)
        for uid in perhaps - seen.keys():
            del box.messages[uid]


async def _delete_many(actor: Actor) -> None:
    """Give the oldest half of a mailbox `\\Deleted`."""
    box = actor.box
    assert box is not None
    # Only what this client has been told of: to it, others do not exist yet.
    half = sorted(box.messages.keys() & set(actor.uids))[: len(box.messages) // 2]
    await actor.ok(b"UID STORE %b +FLAGS.SILENT (\\Deleted)" % as_set(half), Request("STORE", uid=True))
    for uid in half:
        box.messages[uid].flags |= {"\\Deleted"}
    for known in actor.view.messages:
        if known.uid in half and known.flags is not None:
            known.flags |= {"\\Deleted"}


async def close(scene: Scene, actor: Actor) -> None:
    """CLOSE or UNSELECT."""
    box = actor.box
    assert box is not None
    if scene.chance.random() < 0.5:
        await actor.ok(b"UNSELECT", Request("UNSELECT"))
        actor.leave()
        return
    wanted = {uid for uid in actor.view.uids if uid is not None}
    closed = (await actor.ok(b"CLOSE", Request("CLOSE")))[-1]
    if closed.code == "HIGHESTMODSEQ":
        # RFC 7162 §3.2.8: nobody will tell what went with that, and the client knows what it had marked.
        actor.view.forget_deleted()
    actor.leave()
    if not actor.read_only:
        await _gone(scene, box, box.deleted() & wanted, box.deleted() - wanted)
