"""Who looks now and then can be stopped at any moment, also at the one in which word comes that tells him to look."""

import asyncio
from typing import Any, cast

import pytest

from esp.services.lost_word import until_look
from esp.telemetry import lasting


class Silence:
    """Redis away: nothing is heard."""

    connected = False


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("before", range(1, 4))
async def test_told_to_look_and_to_stop_at_once_he_stops(before: int, turns: int) -> None:
    word = asyncio.Event()
    looks = 0

    async def look_always() -> None:
        nonlocal looks
        while True:
            await until_look(word, cast("Any", Silence()), 60.0)
            looks += 1

    looking = lasting.start("looking", look_always)
    for _ in range(before):
        await asyncio.sleep(0)  # on his way to wait for word

    word.set()
    for _ in range(turns):
        await asyncio.sleep(0)  # on its way from the event to the task

    async with asyncio.timeout(5):
        await lasting.stop(looking)
    assert looking.cancelled()
    assert looks <= 1


async def test_word_is_good_for_one_look() -> None:
    word = asyncio.Event()
    word.set()

    await until_look(word, cast("Any", Silence()), 60.0)

    assert not word.is_set()


async def test_without_word_a_look_is_due_in_the_end() -> None:
    async with asyncio.timeout(5):
        await until_look(asyncio.Event(), cast("Any", Silence()), 0.01)
