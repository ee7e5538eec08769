"""What a client turns on when it has logged in (RFC 5161): none is of the same kind for long."""

from tests.scenarios.story.actor import Actor
from tests.scenarios.story.scene import Scene
from tests.support.view import Enabled, Request
from tests.support.violations import check

KINDS = (
    "",
    "",
    "CONDSTORE",
    "CONDSTORE",
    "QRESYNC",
    "QRESYNC",
    "QRESYNC",
    "IMAP4rev2",
    "IMAP4rev2 CONDSTORE",
    "IMAP4rev2 QRESYNC",
    "IMAP4rev2 QRESYNC",
    "UIDONLY",
    "UIDONLY QRESYNC",
    "IMAP4rev2 UIDONLY CONDSTORE",
    "IMAP4rev2 UIDONLY QRESYNC",
)


async def enable(scene: Scene, actor: Actor) -> None:
    """ENABLE what the server offers of a kind, and now and then COMPRESS."""
    if scene.chance.random() < 0.2 and scene.offers("COMPRESS=DEFLATE"):
        await actor.wire.compress()
    wanted = [name for name in scene.chance.choice(KINDS).split() if scene.offers(name)]
    actor.enabled = Enabled(
        condstore="CONDSTORE" in wanted or "QRESYNC" in wanted,
        qresync="QRESYNC" in wanted,
        imap4rev2="IMAP4rev2" in wanted,
        uidonly="UIDONLY" in wanted,
    )
    if wanted:
        (enabled, _) = await actor.wire.ok(b"ENABLE " + " ".join(wanted).encode())
        check(set(map(str.upper, wanted)) <= {str(name).upper() for name in enabled.values}, "not ENABLED")


async def notify(scene: Scene, actor: Actor) -> None:
    """NOTIFY: be told of the selected mailbox between commands, of expunges too or not (RFC 5465 §6.1)."""
    if not scene.offers("NOTIFY"):
        return
    # What was told of new messages under the last one comes before NOTIFY is answered.
    if actor.box is not None:
        await actor.fill()
    wanted = scene.chance.choice(("SELECTED", "SELECTED-DELAYED"))
    others = scene.chance.choice((b"", b" (PERSONAL (MessageNew MessageExpunge FlagChange))"))
    command = b"NOTIFY SET (%b (MessageNew %b MessageExpunge FlagChange))%b" % (
        wanted.encode(),
        actor.items(),
        others,
    )
    await actor.ok(command, Request("NOTIFY"))
    actor.enabled.notify = wanted
    actor.watches = bool(others)
    actor.statuses.clear()
