import asyncio

import pytest

from esp.telemetry import lasting


class Work:
    """Fails as often as it is told to, then returns."""

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.pauses: list[float] = []

    async def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise ZeroDivisionError("unforeseen")

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


async def test_work_that_fails_begins_again_later_and_later() -> None:
    work = Work(8)
    await lasting.start("test", work, pause=work.pause)
    assert work.pauses == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_an_error_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(1)
    await lasting.start("careless", work, pause=work.pause)
    out = "".join(capsys.readouterr())
    assert "task_failed" in out
    assert "careless" in out
    assert "unforeseen" in out


async def test_a_cancellation_ends_it() -> None:
    started = asyncio.Event()

    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    task = lasting.start("test", forever)
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_waits_for_the_end_can_be_called_off() -> None:
    go = asyncio.Event()

    async def ends_slowly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await go.wait()

    task = lasting.start("slow", ends_slowly)
    await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await lasting.stop(task)

    go.set()
    await lasting.stop(task)
    assert task.cancelled()
