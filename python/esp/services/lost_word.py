"""Notifications of changes may be lost: when to look for changes that were not notified.

In: notifications, and the state of Redis's connection. Out: the moment to look.
"""

import asyncio
import contextlib

from esp.storage.redis import Notifier

CONNECTED_FACTOR = 6
"""While Redis is connected, a look for lost notifications is this much rarer."""


async def until_look(word: asyncio.Event, notifier: Notifier, poll_interval: float) -> None:
    """Return once `word` is set, and clear it; or when a look is due without it."""
    factor = CONNECTED_FACTOR if notifier.connected else 1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(poll_interval * factor):
            await word.wait()
    word.clear()
