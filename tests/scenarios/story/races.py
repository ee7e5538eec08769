"""Several clients change a message on condition that nobody else has (RFC 7162 §3.1.3): one of them may."""

import asyncio

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.queries import noop
from tests.scenarios.story.scene import Scene
from tests.scenarios.story.visits import stop_idling
from tests.support.view import Request
from tests.support.violations import check


async def race(scene: Scene, _actor: Actor) -> None:
    """STORE with UNCHANGEDSINCE by all at once."""
    for box in scene.boxes:
        actors = [
            each for each in scene.actors if each.box is box and not each.read_only and each.enabled.condstore
        ]
        modseqs = await scene.observe(box)
        if len(actors) < 2 or not modseqs:
            continue
        for actor in actors:
            if actor.idle:
                await stop_idling(scene, actor)
            await noop(scene, actor)
            await actor.fill()
        uid, flag = (
            scene.chance.choice(sorted(modseqs)),
            scene.chance.choice(("\\Flagged", "\\Answered", "$Work")),
        )
        there = flag in box.messages[uid].flags
        command = (
            f"UID STORE {uid} (UNCHANGEDSINCE {modseqs[uid]}) {'-' if there else '+'}FLAGS ({flag})".encode()
        )
        answers = await asyncio.gather(
            *(actor.request(command, Request("STORE", uid=True)) for actor in actors)
        )
        codes = [responses[-1].code for responses in answers]
        check(codes.count("MODIFIED") == len(actors) - 1, f"{command!r} of {len(actors)}: {codes}")
        box.messages[uid].flags ^= {flag}
        for actor in actors:
            await noop(scene, actor)
