"""A thread for work that blocks, where handing it over must cost little.

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


class Hand:
    """A thread that lives as long as its process, or until `close`; what it is given is done in order.

    One thread: of several, each call would wake a second one that finds nothing to do (`SimpleQueue`).
    """

    def __init__(self, name: str) -> None:
        """The thread is begun with the first call: a process may be forked before it."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._name = name
        self._begun = False

    def do(self, call: Callable[[_T], _R], argument: _T) -> "asyncio.Future[_R]":
        """Call in the thread, and return what will have the result or the error."""
        if not self._begun:
            self._begun = True
            threading.Thread(target=_work, args=[self._jobs], name=self._name, daemon=True).start()
        future: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, call, argument))
        return future

    def close(self) -> None:
        """Let the thread go when it has done what it was given."""
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
