"""Our own stores while ESP runs: started first, started again when they end, stopped last.

`embedded` knows how to run a store; this module decides when. In: the stores. Out: a call whenever one begins or ceases
to answer.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from esp.server import state
from esp.server.embedded import Store, until_ready
from esp.server.failure import StartError
from esp.server.restarts import Restarts, ending
from esp.telemetry import log

if TYPE_CHECKING:
    import subprocess

STOP_TIMEOUT = 60.0

_logger = log.get_logger(__name__)


class _Running:
    """A store and its process; `ready` says whether it answers."""

    def __init__(self, store: Store, process: "subprocess.Popen[bytes]") -> None:
        self.store = store
        self.process = process
        self.ready = False
        self.task: asyncio.Task[None] | None = None


class Stores:
    """All stores that one ESP runs itself."""

    def __init__(
        self,
        changed: Callable[[], None],
        keeping: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """`changed` is called whenever a store begins or ceases to answer; `keeping` runs an endless task."""
        self._changed = changed
        self._keeping = keeping
        self._running: list[_Running] = []
        self._ending = False

    @property
    def ready(self) -> bool:
        """Whether all stores answer."""
        return all(running.ready for running in self._running)

    def processes(self) -> dict[str, state.Process]:
        """Return their processes for the state file."""
        return {
            running.store.name: state.Process(running.process.pid, running.ready) for running in self._running
        }

    async def start(self, stores: Sequence[Store]) -> None:
        """Start the stores all at once, and wait until all answer.

        Raises:
            StartError: a store cannot be started, and what to do about it.
        """
        for store in stores:
            self._running.append(_Running(store, store.start()))
        for running in self._running:
            await _answering(running)
            running.task = self._keeping(self._keep(running))

    def prepare_to_stop(self) -> None:
        """From now on, do not start again what ends."""
        self._ending = True

    async def stop(self) -> None:
        """Stop the stores one after the other, the last started first."""
        while self._running:
            await self._stop(self._running.pop())

    async def _keep(self, running: _Running) -> None:
        store, restarts = running.store, Restarts()
        while True:
            restarts.begin()
            await _ended(running.process)
            if self._ending:
                return
            running.ready = False
            self._changed()
            pause = restarts.pause()
            _logger.error(
                "store_ended_starts_again",
                store=store.name,
                exit=ending(running.process.returncode),
                pause=pause,
            )
            await asyncio.sleep(pause)
            try:
                running.process = store.start()
                await _answering(running)
            except (StartError, OSError, TimeoutError) as error:
                _logger.error("store_does_not_start", store=store.name, error=str(error))
                if running.process.poll() is None:
                    running.process.kill()
                continue
            self._changed()

    async def _stop(self, running: _Running) -> None:
        if running.task is not None:
            running.task.cancel()
        process = running.process
        if process.poll() is not None:
            return
        process.send_signal(running.store.stop_signal)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await _ended(process)
        except TimeoutError:
            _logger.error("store_does_not_stop_killed", store=running.store.name)
            process.kill()
            await _ended(process)


async def _answering(running: _Running) -> None:
    """Wait until a started store answers; if it ends instead, try again without data that it can do without.

    Raises:
        StartError: it ended, or did not answer in time.
    """
    try:
        await until_ready(running.store, running.process)
    except StartError as error:
        by_itself = (running.process.poll() or 0) > 0
        if not by_itself or not running.store.forget():
            raise
        _logger.error("store_begins_without_its_data", store=running.store.name, reason=error.detail)
        running.process = running.store.start()
        await until_ready(running.store, running.process)
    running.ready = True


async def _ended(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a child's end, without a thread if Linux allows it."""
    if process.poll() is not None:
        return
    if not hasattr(os, "pidfd_open"):
        await asyncio.to_thread(process.wait)
        return
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(process.pid)
    over = asyncio.Event()
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    process.wait()
