"""The supervisor's own program: `esp-server serve` becomes it, so that it carries no command-line library.

Its one argument is JSON: `config`, `roles`, `demo`.
"""

import asyncio
import errno
import sys
from pathlib import Path

import msgspec

from esp.config.load import ConfigError, load
from esp.config.sections import Settings
from esp.core.errors import InvalidError
from esp.server import roles
from esp.server.failure import StartError, disk_full
from esp.server.supervisor import Supervisor
from esp.telemetry import log

FAILED = 1
MISCONFIGURED = 2


class Orders(msgspec.Struct, frozen=True):
    """What the command line asked for."""

    config: str | None = None
    roles: list[str] = []
    demo: str | None = None
    """Folder of the demo."""
    page: str | None = None
    """Text to print once everything serves."""


def main() -> int:
    """Run until stopped and return the exit code."""
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    config = Path(orders.config) if orders.config else None
    try:
        settings = load(config)
        wanted = roles.parse(orders.roles)
        log.configure(settings.logging.level, settings.logging.format, role="supervisor")
        supervisor = Supervisor(
            settings,
            wanted,
            lambda: load(config),
            demo=orders.demo,
            on_ready=lambda current: _announce(orders, current),
        )
        asyncio.run(supervisor.run())
    except (ConfigError, InvalidError) as error:
        return _failed(error.detail, MISCONFIGURED)
    except StartError as error:
        return _failed(error.detail, FAILED)
    except OSError as error:
        return _failed(_plain(error), FAILED)
    return 0


def _announce(orders: Orders, settings: Settings) -> None:
    if orders.page is not None:
        print(orders.page, flush=True)


def _plain(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(error.filename or "no room for a file")
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission{where}; run as a user who may, or set another folder (ESP_SERVER__RUN_PATH, …)"
    return f"{error.strerror or error}{where}"


def _failed(detail: str, code: int) -> int:
    for line in detail.splitlines():
        print(f"esp-server: {line}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
