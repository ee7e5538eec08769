"""Threads for work that blocks, where handing it over must cost little.

`run_in_executor` makes two futures for each call and couples them, which takes longer than the message that a batch of
one is about; here a call is one future and two switches.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

_Job = tuple["asyncio.Future[Any]", Callable[[Any], Any], Any]


class Hands:
    """Threads that live as long as their process, or until `close`."""

    def __init__(self, count: int, name: str) -> None:
        """`count` threads, begun with the first call: a process may be forked before it."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = count
        self._name = name
        self._begun = False

    def do(self, call: Callable[[_T], _R], argument: _T) -> "asyncio.Future[_R]":
        """Call in a thread, and return what will have the result or the error."""
        if not self._begun:
            self._begun = True
            for number in range(self._count):
                name = f"{self._name}-{number}"
                threading.Thread(target=_work, args=[self._jobs], name=name, daemon=True).start()
        future: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, call, argument))
        return future

    def close(self) -> None:
        """Let the threads go when they have done what they were given."""
        for _ in range(self._count):
            self._jobs.put(None)


def _work(jobs: "SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        future, call, argument = job
        answer: Callable[[Any], None]
        try:
            result: Any = call(argument)
            answer = future.set_result
        except BaseException as error:  # whoever waits for it decides, as with any future
            result, answer = error, future.set_exception
        future.get_loop().call_soon_threadsafe(_answer, future, answer, result)
        # Not kept until the next job: messages may be in it.
        del job, future, call, argument, answer, result


def _answer(future: "asyncio.Future[Any]", answer: Callable[[Any], None], result: object) -> None:
    if not future.done():  # else nobody waits any more
        answer(result)
