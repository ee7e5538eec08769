"""Starts, watches, restarts and stops everything that one ESP consists of.

Start: stores, schema (and demo accounts), roles; ready once every role serves. A process that ends is started again,
each time after a longer pause. Stop: doors, workers, then Valkey, then PostgreSQL. Reload: new processes must serve
with the new settings before the old ones are asked to drain.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from esp.config.load import ConfigError
from esp.config.sections import Settings
from esp.server import notify, ports, roles, state
from esp.server.embedded import embedded_stores
from esp.server.failure import StartError
from esp.server.forkserver import Child, ForkServer
from esp.server.restarts import FIRST_PAUSE, Restarts, ending
from esp.server.roles import DOORS, Role
from esp.server.run_lock import only_one
from esp.server.stores import Stores
from esp.telemetry import log

START_TIMEOUT = 120.0
PREPARE_TIMEOUT = 3600.0
"""Seconds; a migration may build an index."""
KILL_AFTER = 5.0
"""Seconds; a process that has not ended so long after its drain time is killed."""

_logger = log.get_logger(__name__)


class _Slot:
    """The place of one process of a role; processes come and go in it."""

    def __init__(self, role: Role, number: int) -> None:
        self.role = role
        self.number = number
        self.child: Child | None = None
        self.task: asyncio.Task[None] | None = None


class Supervisor:
    """One running ESP."""

    def __init__(
        self,
        settings: Settings,
        wanted: Sequence[Role],
        load: Callable[[], Settings],
        *,
        demo: str | None = None,
        on_ready: Callable[[Settings], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._wanted = tuple(wanted)
        self._load = load
        self._demo = demo
        self._on_ready = on_ready
        self._run_path = settings.server.run_path
        self._slots: list[_Slot] = []
        self._draining: set[Child] = set()
        self._stores = Stores(self._ready_again, self._keeping)
        self._fork_server: ForkServer | None = None
        self._fork_task: asyncio.Task[None] | None = None
        self._stopping = False
        self._stop = asyncio.Event()
        self._hurry = False
        self._reload = asyncio.Event()
        self._announced = False
        self._failed = False

    async def run(self) -> None:
        """Run until told to stop.

        Raises:
            StartError: ESP could not start; everything that was started is stopped again.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self._run_path.mkdir(parents=True, exist_ok=True)
        with only_one(self._run_path):
            starting = asyncio.create_task(self._start())
            stop = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    await starting
                    await self._watch()
                if self._failed:
                    raise StartError("the supervisor failed; see the log")
            finally:
                for task in (starting, stop):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Exception):
                        await task
                await self._end()

    # Starting

    async def _start(self) -> None:
        ports.check(roles.listeners(self._wanted, self._settings))
        metrics = self._run_path / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True)
        self._settings.storage.path.mkdir(parents=True, exist_ok=True)
        self._write_state()
        # The fork server imports for half a second; meanwhile the stores start.
        self._fork_server = ForkServer(self._run_path)
        await self._stores.start(embedded_stores(self._settings))
        await self._prepare()
        self._fork_task = self._keeping(self._keep_fork_server())
        self._slots = self._make_slots(self._settings)
        for slot in self._slots:
            slot.task = self._keeping(self._keep(slot))
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not all(slot.child and slot.child.ready.is_set() for slot in self._slots):
                    self._raise_failure()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            late = sorted(
                {slot.role for slot in self._slots if not slot.child or not slot.child.ready.is_set()}
            )
            raise StartError(
                f"{', '.join(late)} did not become ready in {START_TIMEOUT:.0f} s; see the log"
            ) from None

    def _raise_failure(self) -> None:
        for slot in self._slots:
            if slot.child is not None and slot.child.failure is not None:
                raise StartError(f"{slot.role} could not start: {slot.child.failure}")

    async def _prepare(self) -> None:
        assert self._fork_server is not None
        child = await self._fork_server.start("prepare", 0, self._settings, self._demo)
        async with asyncio.timeout(PREPARE_TIMEOUT):
            code = await asyncio.shield(child.ended)
        if code != 0:
            raise StartError(
                child.failure or f"the database could not be prepared (exit {code}); see the log"
            )

    def _make_slots(self, settings: Settings) -> list[_Slot]:
        return [
            _Slot(role, number)
            for role in self._wanted
            for number in range(1, roles.processes(role, settings) + 1)
        ]

    # Keeping things running

    def _keeping(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run one of the endless tasks; if it fails, which is a bug, everything is ended and started again."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._noticed)
        return task

    def _noticed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("supervisor_failed_stops_everything", exc_info=error)
            self._failed = True
            self._stop.set()

    async def _watch(self) -> None:
        self._ready_again()
        while not self._stop.is_set():
            stop = asyncio.create_task(self._stop.wait())
            reload = asyncio.create_task(self._reload.wait())
            await asyncio.wait({stop, reload}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            reload.cancel()
            if self._reload.is_set() and not self._stop.is_set():
                self._reload.clear()
                notify.reloading()
                await self._take_new_settings()
                notify.notify(READY=1)

    async def _keep(self, slot: _Slot) -> None:
        """Start a process for the slot whenever it has none."""
        restarts = Restarts()
        while not self._stopping:
            restarts.begin()
            try:
                assert self._fork_server is not None
                child = await self._fork_server.start(slot.role, slot.number, self._settings)
            except ConnectionError:
                await asyncio.sleep(FIRST_PAUSE)  # `_keep_fork_server` is about to start a new one
                continue
            slot.child = child
            ready = asyncio.create_task(child.ready.wait())
            either: set[asyncio.Future[Any]] = {ready, child.ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if child.ready.is_set():
                self._ready_again()
            code = await asyncio.shield(child.ended)
            self._forget_gauges(child.pid)
            if self._stopping or slot.child is not child:
                return
            pause = restarts.pause()
            self._write_state()
            _logger.warning(
                "process_ended_starts_again", ended=slot.role.value, number=slot.number, pid=child.pid,
                exit=ending(code), pause=pause, reason=child.failure,
            )  # fmt: skip
            await asyncio.sleep(pause)

    async def _keep_fork_server(self) -> None:
        """Replace the fork server when it ends; the roles ended with it and their slots start them again."""
        restarts = Restarts()
        while not self._stopping:
            assert self._fork_server is not None
            restarts.begin()
            await asyncio.shield(self._fork_server.ended)
            if self._stopping:
                return
            pause = restarts.pause()
            _logger.error("fork_server_ended_starts_again", pid=self._fork_server.pid)
            await self._fork_server.close()
            await asyncio.sleep(pause)
            self._fork_server = ForkServer(self._run_path)

    def _forget_gauges(self, pid: int) -> None:
        """Remove the current values that a dead process reported (prometheus-client's `mark_process_dead`)."""
        for path in (self._run_path / "metrics").glob(f"gauge_live*_{pid}.db"):
            path.unlink(missing_ok=True)

    # State

    def _is_ready(self) -> bool:
        return (
            not self._stopping
            and bool(self._slots)
            and all(
                slot.child and slot.child.ready.is_set() and not slot.child.ended.done()
                for slot in self._slots
            )
            and self._stores.ready
        )

    def _ready_again(self) -> None:
        self._write_state()
        if self._is_ready() and not self._announced:
            self._announced = True
            notify.notify(READY=1, STATUS="serving")
            _logger.info("ready", roles=",".join(self._wanted))
            self._on_ready(self._settings)

    def _write_state(self) -> None:
        by_role: dict[str, list[state.Process]] = {}
        for slot in self._slots:
            child = slot.child
            if child is not None and not child.ended.done():
                by_role.setdefault(slot.role.value, []).append(state.Process(child.pid, child.ready.is_set()))
        now = state.State(self._is_ready(), os.getpid(), by_role, self._stores.processes())
        try:
            state.write(self._run_path, now)
        except OSError as error:
            # Mail goes on; the health check answers with the last state that could be written.
            _logger.error("state_not_written", error=str(error))

    # Reloading

    async def _take_new_settings(self) -> None:
        try:
            settings = self._load()
            wanted = set(roles.listeners(self._wanted, settings)) - set(
                roles.listeners(self._wanted, self._settings)
            )
            ports.check(sorted(wanted))
        except (ConfigError, StartError) as error:
            _logger.error("new_configuration_refused_old_one_stays", problems=error.detail)
            return
        if fixed := _fixed_keys(self._settings, settings):
            _logger.error("new_configuration_refused_needs_restart", keys=", ".join(fixed))
            return
        if settings == self._settings:
            for slot in self._slots:
                if slot.child is not None:
                    slot.child.signal(signal.SIGHUP)
            _logger.info("certificates_reloaded")
            return
        await self._replace(settings)

    async def _replace(self, settings: Settings) -> None:
        """Start processes with new settings beside the old ones, then drain the old.

        Doors listen with SO_REUSEPORT, so that there is always a process to connect to.
        """
        old_settings, old_slots = self._settings, self._slots
        self._settings = settings
        new_slots = self._make_slots(settings)
        for slot in new_slots:
            slot.task = self._keeping(self._keep(slot))
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not all(slot.child and slot.child.ready.is_set() for slot in new_slots):
                    failed = next((s.child.failure for s in new_slots if s.child and s.child.failure), None)
                    if failed is not None:
                        raise StartError(failed)
                    await asyncio.sleep(0.02)
        except (StartError, TimeoutError) as error:
            _logger.error("new_configuration_does_not_run_old_one_stays", error=str(error) or "timeout")
            self._settings = old_settings
            await self._drain(new_slots)
            return
        self._slots = new_slots
        self._write_state()
        _logger.info("configuration_reloaded")
        await self._drain(old_slots)

    # Stopping

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry = True
            for child in [*self._draining]:
                child.signal(signal.SIGKILL)
        self._stop.set()

    async def _end(self) -> None:
        self._stopping = True
        self._stores.prepare_to_stop()
        notify.notify(STOPPING=1)
        self._write_state()
        if self._slots:
            _logger.info("stopping")
        await self._drain([slot for slot in self._slots if slot.role in DOORS])
        await self._drain([slot for slot in self._slots if slot.role not in DOORS])
        if self._fork_task is not None:
            self._fork_task.cancel()
        if self._fork_server is not None:
            await self._fork_server.close()
        # PostgreSQL last: the others may still write to it.
        await self._stores.stop()
        self._write_state()

    async def _drain(self, slots: Iterable[_Slot]) -> None:
        children = [slot.child for slot in slots if slot.child is not None and not slot.child.ended.done()]
        for slot in slots:
            if slot.task is not None:
                slot.task.cancel()
        self._draining.update(children)
        for child in children:
            child.signal(signal.SIGKILL if self._hurry else signal.SIGTERM)
        if children:
            endings: list[asyncio.Future[int]] = [child.ended for child in children]
            patience = self._settings.server.drain_timeout + KILL_AFTER
            _, late = await asyncio.wait(endings, timeout=patience)
            if late:
                for child in children:
                    child.signal(signal.SIGKILL)
                await asyncio.wait(endings, timeout=KILL_AFTER)
        for child in children:
            self._forget_gauges(child.pid)
        self._draining.difference_update(children)
        self._write_state()


def _fixed_keys(old: Settings, new: Settings) -> list[str]:
    """Return the keys whose change needs a restart: those that the running stores and the supervisor depend on."""
    return [
        f"{section}.{key}"
        for section, key in (
            ("server", "run_path"),
            ("storage", "path"),
            ("database", "dsn"),
            ("database", "path"),
            ("database", "user"),
            ("redis", "url"),
            ("redis", "path"),
        )
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]
