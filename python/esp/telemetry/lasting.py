"""Tasks that last as long as their process: an error nobody thought of is logged, and the work goes on.

Without this a task ends at the first such error in silence, and with it, say, all looking for changes that nobody
told of. The pause between two tries grows, so that what fails at once does not fail a thousand times a second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from traceback import format_exception

from esp.telemetry import metrics
from esp.telemetry.log import get_logger

SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
SOUND = 300.0
"""Seconds of work without an error after which the next one is a first one again."""

log = get_logger(__name__)


def start(
    name: str,
    work: Callable[[], Awaitable[None]],
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> "asyncio.Task[None]":
    """Do `work` in a task, again and again while it raises; the task ends when it returns, or is cancelled.

    Args:
        name: of the task, for the log and the metric.
        work: what to do; begins anew each time.
        pause: waits; a test has its own.
    """
    return asyncio.create_task(_last(name, work, pause), name=name)


async def stop(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task, if there is one, and wait for its end; an error that ended it is raised."""
    if task is not None:
        task.cancel()
        # Not `await task`: its cancellation could not be told from that of whoever waits here.
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def _last(
    name: str, work: Callable[[], Awaitable[None]], pause: Callable[[float], Awaitable[None]]
) -> None:
    clock = asyncio.get_running_loop().time
    wait = SHORTEST_PAUSE
    while True:
        began = clock()
        try:
            await work()
        except Exception as error:  # its purpose; a cancellation is no Exception
            metrics.TASK_FAILURES.labels(name).inc()
            log.error("task_failed", task=name, error=repr(error), traceback="".join(format_exception(error)))
        else:
            return
        if clock() - began >= SOUND:
            wait = SHORTEST_PAUSE
        await pause(wait)
        wait = min(wait * 2, LONGEST_PAUSE)
