"""The only place where things are made and given to each other."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import redis.asyncio as redis

from esp.api.server import ApiServer, application
from esp.config.sections import Settings
from esp.server import demo, state
from esp.server.roles import Role
from esp.storage.postgres import migrate, outbox
from esp.storage.postgres.pool import Database
from esp.storage.wakeup import Wakeups
from esp.version import VERSION
from esp.worker.scheduler import SchedulerServer
from esp.worker.server import Handler, WorkerServer

STORE_WAIT = 60.0
"""How long a starting process waits for PostgreSQL, which may be recovering from a crash."""


class Server(Protocol):
    """What the wiring makes of a role."""

    async def start(self) -> None:
        """Serve from now on.

        Raises:
            OSError: a port cannot be listened to.
        """

    async def drain(self, timeout: float) -> None:
        """Take nothing new, and wait for what is under way, at most so long."""

    def reload(self) -> None:
        """Read certificates anew."""


def build(role: Role, settings: Settings) -> AbstractAsyncContextManager[Server]:
    """Return the server of a role; what it was made of is closed when the block ends."""
    return _BUILDERS[role](settings)


async def prepare(settings: Settings, demo_folder: str | None) -> None:
    """Bring the database to the current schema, and make the demo's accounts.

    Raises:
        EspError: the database does not answer, or does not fit.
    """
    await migrate.up(settings.database.dsn)
    if demo_folder is not None:
        async with AsyncExitStack() as stack:
            database = await _database(settings, stack)
            await demo.make_accounts(settings, database, Path(demo_folder))


@asynccontextmanager
async def _api(settings: Settings) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        database = await _database(settings, stack)
        client = redis.from_url(settings.redis.url, socket_timeout=2.0)
        stack.push_async_callback(client.aclose)

        async def roles_serve() -> bool:
            found = state.read(settings.server.run_path)
            return found is not None and found.ready

        async def redis_answers() -> bool:
            return bool(await client.ping())

        checks = {"roles": roles_serve, "postgres": database.healthy, "redis": redis_answers}
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        yield ApiServer(application(checks, Path(folder) if folder else None, VERSION), settings.api)


@asynccontextmanager
async def _worker(settings: Settings) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        await _database(settings, stack)
        handlers: dict[str, Handler] = {}
        yield WorkerServer(settings.redis.url, handlers)


@asynccontextmanager
async def _scheduler(settings: Settings) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        database = await _database(settings, stack)
        wakeups = _wakeups(settings, stack)

        async def due() -> dict[str, int]:
            return {topic: waiting.rows for topic, waiting in (await outbox.waiting(database)).items()}

        yield SchedulerServer(due, partial(wakeups.wake, force=True), {}, list(outbox.Topic))


_BUILDERS: dict[Role, Callable[[Settings], AbstractAsyncContextManager[Server]]] = {
    Role.API: _api,
    Role.WORKER: _worker,
    Role.SCHEDULER: _scheduler,
}


async def _database(settings: Settings, stack: AsyncExitStack) -> Database:
    database = await Database.open(settings.database, wait=STORE_WAIT)
    stack.push_async_callback(database.close)
    return database


def _wakeups(settings: Settings, stack: AsyncExitStack) -> Wakeups:
    wakeups = Wakeups(settings.redis.url)
    stack.push_async_callback(wakeups.close)
    return wakeups
