"""Word of changes may be lost: when to look whether some was.

In: word that came, and Redis's connection. Out: the moment to look.
"""

import asyncio
import contextlib

from esp.storage.redis import Notifier

CONNECTED_FACTOR = 6
"""While Redis tells of changes, looking for lost ones is this much rarer."""


async def until_look(word: asyncio.Event, notifier: Notifier, poll_interval: float) -> None:
    """Return once `word` has come, which is cleared, or when a look is due without it."""
    factor = CONNECTED_FACTOR if notifier.connected else 1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(poll_interval * factor):
            await word.wait()
    word.clear()
