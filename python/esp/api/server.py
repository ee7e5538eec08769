"""The application on its port, in the event loop of this process."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import uvicorn
from litestar import Litestar
from litestar.openapi import OpenAPIConfig

from esp.api import health, metrics
from esp.config import sections
from esp.services.listening import listener


def application(checks: Mapping[str, health.Check], metrics_folder: Path | None, version: str) -> Litestar:
    """Return the ASGI application."""
    return Litestar(
        [*health.routes(checks), metrics.route(metrics_folder)],
        openapi_config=OpenAPIConfig(title="ESP", version=version, path="/api/v1"),
        debug=False,
        # Litestar would give every logger of this process a second handler, with lines of another form.
        logging_config=None,
    )


class _Uvicorn(uvicorn.Server):
    """Signals are the role process' business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiServer:
    """The role `api`."""

    def __init__(self, app: Litestar, settings: sections.Api) -> None:
        self._settings = settings
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            OSError: the port cannot be listened to.
        """
        sockets = [listener(self._settings.address, self._settings.port)]
        self._task = asyncio.create_task(self._server.serve(sockets=sockets))
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        if self._task.done():
            await self._task

    async def drain(self, timeout: float) -> None:
        """Answer the requests under way, at most so long."""
        self._server.should_exit = True
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._task

    def reload(self) -> None:
        """Nothing is read from files here."""
