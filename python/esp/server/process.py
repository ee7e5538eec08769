"""The life of one role process: built by the wiring, serving, drained at SIGTERM.

It reports to the supervisor on a pipe: `ready`, or `failed` and why.
"""

import asyncio
import contextlib
import os
import signal

import uvloop

from esp.config.sections import Settings
from esp.core.errors import EspError
from esp.server import wiring
from esp.server.roles import Role
from esp.telemetry import log, metrics

_logger = log.get_logger(__name__)


def main(role: Role, number: int, settings: Settings, status: int) -> int:
    """Run the process and return its exit code."""
    log.configure(settings.logging.level, settings.logging.format, role=role.value, process=number)
    metrics.PROCESS_STARTS.labels(role.value).inc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(role, settings, status))
        except (EspError, OSError) as error:
            _tell(status, f"failed {error}")
            _logger.error("role_ended", error=str(error))
            return 1
        except Exception:
            _logger.exception("role_ended")
            return 1
    return 0


def prepare(settings: Settings, demo: str | None, status: int) -> int:
    """Bring the database to the current schema, make the demo's accounts, and return an exit code."""
    log.configure(settings.logging.level, settings.logging.format, role="prepare")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(wiring.prepare(settings, demo))
        except (EspError, OSError) as error:
            _tell(status, f"failed {error}")
            return 1
        except Exception:
            _logger.exception("preparation_failed")
            return 1
    _tell(status, "ready")
    return 0


async def _serve(role: Role, settings: Settings, status: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with wiring.build(role, settings) as server:
        loop.add_signal_handler(signal.SIGHUP, _reload, server)
        await server.start()
        _tell(status, "ready")
        _logger.debug("role_serves")
        await stopping.wait()
        _logger.debug("role_drains")
        await server.drain(settings.server.drain_timeout)


def _reload(server: wiring.Server) -> None:
    try:
        server.reload()
    except OSError as error:  # ssl.SSLError is one
        _logger.error("certificate_not_reloaded_old_one_stays", error=str(error))


def _tell(status: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(status, line.replace("\n", " ").encode() + b"\n")
