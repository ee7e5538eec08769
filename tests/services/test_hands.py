"""Work handed to threads: its result, its error, and who does not wait for it any more."""

import asyncio
import threading

import pytest

from esp.services.hands import Hands


async def test_the_result_or_the_error_comes_back() -> None:
    hands = Hands(2, "hands")
    assert await hands.do(len, "four") == 4
    with pytest.raises(ZeroDivisionError):
        await hands.do(lambda number: 1 / number, 0)
    hands.close()


async def test_as_many_calls_as_threads_are_under_way_at_once() -> None:
    hands = Hands(2, "hands")
    meeting = threading.Barrier(2, timeout=10)
    await asyncio.gather(*(hands.do(lambda barrier: barrier.wait(), meeting) for _ in range(2)))
    hands.close()


async def test_work_that_nobody_waits_for_is_done_and_harms_nobody() -> None:
    hands = Hands(1, "hands")
    go, done = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        assert go.wait(10)
        done.set()

    left = hands.do(wait, None)
    left.cancel()
    go.set()

    assert await hands.do(lambda event: event.is_set(), done)
    hands.close()


async def test_what_was_handed_over_before_the_end_is_done() -> None:
    hands = Hands(1, "hands")
    last = hands.do(len, "four")
    hands.close()
    assert await last == 4
