"""Fixtures of every room: stores that are real, databases that are fresh, one whole ESP."""

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from esp.config import sections
from esp.storage.postgres.pool import Database
from tests.support import stores

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stores_folder() -> Iterator[Path]:
    """A folder with a short name (socket addresses are limited) for the session's stores."""
    folder = Path(tempfile.mkdtemp(prefix="esp-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(stores_folder: Path) -> AsyncIterator[Path]:
    """A running PostgreSQL with a template of the current schema; the value is its folder (`stores.dsn`)."""
    async with stores.running(stores.postgres(stores_folder)):
        await stores.make_template(stores_folder)
        yield stores_folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database_settings(postgres: Path) -> AsyncIterator[sections.Database]:
    """The section `database` for a database of the module's own, with the current schema and no rows."""
    name = f"esp_{next(_numbers)}"
    await stores.execute(postgres, f"CREATE DATABASE {name} TEMPLATE {stores.TEMPLATE}", database="postgres")
    yield sections.Database(dsn=stores.dsn(postgres, name))
    await stores.execute(postgres, f"DROP DATABASE {name} WITH (FORCE)", database="postgres")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(database_settings: sections.Database) -> AsyncIterator[Database]:
    """An open pool to a database of the module's own."""
    opened = await Database.open(database_settings)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey(stores_folder: Path) -> AsyncIterator[str]:
    """The URL of a running Valkey; flush it before use when other tests' keys would disturb."""
    async with stores.running(stores.valkey(stores_folder)):
        yield f"unix://{stores.sockets(stores_folder) / 'valkey.sock'}"
