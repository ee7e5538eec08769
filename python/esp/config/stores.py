"""Where the stores are that ESP runs itself, from the settings alone, so that every process agrees."""

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

from esp.config.sections import Settings

POSTGRES_USER = "esp"
_LONGEST_SOCKET = 102
"""`sun_path` of Linux holds 108 octets with its NUL; macOS holds 104."""
_SOCKET_NAMES = (".s.PGSQL.5432", "valkey.sock")


def socket_folder(settings: Settings) -> Path:
    """Return the folder of both stores' sockets.

    `run_path/stores`, or a folder with a short name when that is longer than a socket's address can be.
    """
    folder = settings.server.run_path.absolute() / "stores"
    longest = max(len(os.fsencode(folder / name)) for name in _SOCKET_NAMES)
    if longest <= _LONGEST_SOCKET:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"esp-{os.geteuid()}-{digest}"


def postgres_dsn(settings: Settings) -> str:
    """Return the address of the PostgreSQL that ESP runs; peer authentication, so no password exists."""
    return f"postgresql://{POSTGRES_USER}@/{POSTGRES_USER}?host={socket_folder(settings)}"


def valkey_url(settings: Settings) -> str:
    """Return the address of the Valkey that ESP runs."""
    return f"unix://{socket_folder(settings) / 'valkey.sock'}"


def runs_postgres(settings: Settings) -> bool:
    """Tell whether PostgreSQL is ESP's own child."""
    return settings.database.dsn in ("", postgres_dsn(settings))


def runs_valkey(settings: Settings) -> bool:
    """Tell whether Valkey is ESP's own child."""
    return settings.redis.url in ("", valkey_url(settings))


def complete(settings: Settings) -> Settings:
    """Return the settings with the addresses and folders of our own stores filled in."""
    beside = settings.storage.path.parent
    database = msgspec.structs.replace(
        settings.database,
        dsn=settings.database.dsn or postgres_dsn(settings),
        path=settings.database.path or beside / "postgres",
    )
    redis = msgspec.structs.replace(
        settings.redis,
        url=settings.redis.url or valkey_url(settings),
        path=settings.redis.path or beside / "valkey",
    )
    return msgspec.structs.replace(settings, database=database, redis=redis)
