"""Several clients on three mailboxes: what they do at random, what must come of it, and who has to know of it.

In: a `Scene`, which knows how to connect, how to send mail from outside, and chance. Out: nothing, or a
`ViolationError` that says which client was told what is not so. The scene keeps the truth, which is what the server
has answered OK; each module of steps does things, adds to the truth what was answered, and compares it with the
clients' views.
"""

from collections.abc import Awaitable, Callable

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.arrivals import append, delivery
from tests.scenarios.story.bursts import burst
from tests.scenarios.story.contexts import agree, update
from tests.scenarios.story.copies import copy
from tests.scenarios.story.flags import store
from tests.scenarios.story.kinds import notify
from tests.scenarios.story.notices import hear, hear_of_others
from tests.scenarios.story.queries import fetch, noop, search, status
from tests.scenarios.story.races import race
from tests.scenarios.story.reading import read
from tests.scenarios.story.removals import close, expunge
from tests.scenarios.story.replaces import replace
from tests.scenarios.story.saved import save, use
from tests.scenarios.story.scene import Scene
from tests.scenarios.story.visits import come, delete, drop, rename, select, start_idling, stop_idling
from tests.support.view import Request
from tests.support.violations import check

Step = Callable[[Scene, Actor], Awaitable[None]]

WEIGHTS: dict[Step, int] = {
    append: 8,
    delivery: 3,
    store: 26,
    expunge: 9,
    close: 4,
    copy: 10,
    noop: 12,
    fetch: 8,
    search: 8,
    status: 3,
    select: 8,
    start_idling: 6,
    rename: 1,
    delete: 1,
    drop: 6,
    burst: 10,
    race: 3,
    read: 4,
    replace: 5,
    save: 4,
    use: 4,
    update: 4,
    notify: 4,
}
NEED_MAILBOX = frozenset({store, expunge, close, copy, fetch, search, replace, read, save, use, update})
"""Steps of a client that has a mailbox selected; who has none selects one instead."""


class Story:
    """What happens."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    async def begin(self, actors: int) -> None:
        """Make the mailboxes, and let all come."""
        scene = self.scene
        scene.observer = await scene.connect("observer")
        (capability, _) = await scene.observer.ok(b"CAPABILITY")
        scene.capabilities = frozenset(str(value).upper() for value in capability.values)
        for box in scene.boxes[1:]:
            await scene.observer.ok(b"CREATE " + box.name.encode())
        for number in range(actors):
            actor = Actor(await scene.connect(f"c{number}"))
            scene.actors.append(actor)
            await come(scene, actor, scene.boxes[0])

    async def end(self) -> None:
        """Let all go."""
        for wire in (self.scene.observer, *(actor.wire for actor in self.scene.actors)):
            await wire.close()

    async def step(self) -> None:
        """Let one client do one thing."""
        scene = self.scene
        actor = scene.chance.choice(scene.actors)
        steps, weights = zip(*WEIGHTS.items(), strict=True)
        step: Step = scene.chance.choices(steps, weights)[0]
        if actor.idle:
            await stop_idling(scene, actor)
        if actor.box is None and step in NEED_MAILBOX:
            step = select
        await hear(actor)
        scene.said.append(f"{actor.wire.name} {step.__name__}")
        await step(scene, actor)

    async def quiet(self) -> None:
        """All are asked, and see the same, which is what a client sees that has just come."""
        for actor in self.scene.actors:
            if actor.idle:
                await stop_idling(self.scene, actor)
            if actor.box is None:
                continue
            await hear(actor)
            await actor.ok(b"NOOP", Request("NOOP"))
            await actor.fill()
            actor.compare()
            await agree(actor)
            await hear_of_others(self.scene, actor)
        for box in self.scene.boxes:
            seen = {uid: message for uid, (message, _) in (await self.scene.look(box)).items()}
            check(seen == box.messages, f"{box.name} is {seen}, not {box.messages}")
