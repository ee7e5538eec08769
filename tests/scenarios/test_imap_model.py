"""Random clients on one account, in several processes: nobody is ever told what cannot be, and all see the same."""

import os
import random
import secrets
import ssl

from tests.scenarios.story import Story
from tests.scenarios.story.scene import Scene
from tests.scenarios.story.visits import drop
from tests.support import lmtp
from tests.support.instance import Instance
from tests.support.sockets import serving
from tests.support.wire import Wire

STEPS = int(os.environ.get("ESP_MODEL_STEPS", "600"))
SEED = int(os.environ.get("ESP_MODEL_SEED", "7162"))
ACTORS = 5
QUIET_EVERY = 20


async def test_every_client_sees_what_is(esp_instance: Instance) -> None:
    user, password = "model@example.test", secrets.token_urlsafe(12)
    esp_instance.cli("user", "add", user, "--password-stdin", text=password)
    context = ssl.create_default_context(cafile=str(esp_instance.ca_file))

    async def connect(name: str) -> Wire:
        wire = await Wire.connect(esp_instance.ports["imaps"], tls=context, name=name)
        await wire.ok(f'LOGIN {user} "{password}"'.encode())
        return wire

    async def deliver(subject: str) -> None:
        await lmtp.deliver(esp_instance.ports["lmtp"], user, subject)

    scene = Scene(connect, deliver, random.Random(SEED))
    story = Story(scene)
    await story.begin(ACTORS)
    step = 0
    try:
        # Two processes at least, or there is nothing to prove; the kernel chooses by address and port.
        while len({_process(esp_instance, actor.wire) for actor in scene.actors}) < 2:
            await drop(scene, scene.actors[0])
        for step in range(1, STEPS + 1):
            await story.step()
            if step % QUIET_EVERY == 0:
                await story.quiet()
        await story.quiet()
    except BaseException as error:
        error.add_note(f"seed {SEED}, step {step}, last steps: {scene.said[-12:]}")
        for wire in (actor.wire for actor in scene.actors):
            error.add_note(f"{wire.name}:\n  " + "\n  ".join(list(wire.transcript)[-200:]))
        raise
    finally:
        await story.end()
        esp_instance.cli("user", "remove", user)


def _process(instance: Instance, wire: Wire) -> int | None:
    port: int = wire.writer.get_extra_info("sockname")[1]
    return serving(instance.pids("imap"), port)
