"""A thread for blocking work, to which handing over a call costs little.

`run_in_executor` makes two futures for each call and couples them, which takes longer than a batch of one message
itself. Here a call is one future and two switches.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

_Job = tuple["asyncio.Future[Any]", Callable[[Any], Any], Any]


class Hand:
    """A thread that lives as long as its process, or until `close`; it does its calls in order.

    Only one thread: with several, each call would wake a second one that finds nothing to do (`SimpleQueue`).
    """

    def __init__(self, name: str) -> None:
        """The thread begins with the first call: a process may be forked before it."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._name = name
        self._begun = False

    def do(self, call: Callable[[_T], _R], argument: _T) -> "asyncio.Future[_R]":
        """Call in the thread, and return a future for the result or the error."""
        if not self._begun:
            self._begun = True
            threading.Thread(target=_work, args=[self._jobs], name=self._name, daemon=True).start()
        future: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, call, argument))
        return future

    def close(self) -> None:
        """End the thread when it has done what it was given."""
        self._jobs.put(None)


def _work(jobs: "SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        future, call, argument = job
        answer: Callable[[Any], None]
        try:
            result: Any = call(argument)
            answer = future.set_result
        except BaseException as error:  # the caller that awaits the future decides
            result, answer = error, future.set_exception
        future.get_loop().call_soon_threadsafe(_answer, future, answer, result)
        # Not kept until the next job: they may hold messages.
        del job, future, call, argument, answer, result


def _answer(future: "asyncio.Future[Any]", answer: Callable[[Any], None], result: object) -> None:
    if not future.done():  # otherwise nobody waits any more
        answer(result)
