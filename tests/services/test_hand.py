"""Work handed to a thread: its result, its error, and who does not wait for it any more."""

import asyncio
import threading

import pytest

from esp.services.hand import Hand


async def test_the_result_or_the_error_comes_back() -> None:
    hand = Hand("hand")
    assert await hand.do(len, "four") == 4
    with pytest.raises(ZeroDivisionError):
        await hand.do(lambda number: 1 / number, 0)
    hand.close()


async def test_calls_are_carried_out_one_after_another() -> None:
    hand = Hand("hand")
    order: list[int] = []
    await asyncio.gather(*(hand.do(order.append, number) for number in range(50)))
    assert order == list(range(50))
    hand.close()


async def test_work_that_nobody_waits_for_is_done_and_harms_nobody() -> None:
    hand = Hand("hand")
    go, done = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        assert go.wait(10)
        done.set()

    left = hand.do(wait, None)
    left.cancel()
    go.set()

    assert await hand.do(lambda event: event.is_set(), done)
    hand.close()


async def test_what_was_handed_over_before_the_end_is_done() -> None:
    hand = Hand("hand")
    last = hand.do(len, "four")
    hand.close()
    assert await last == 4
