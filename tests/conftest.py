"""Fixtures of every room: stores that are real, databases that are fresh, one whole ESP."""

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio

from esp.config import sections
from esp.storage.postgres.pool import Database
from tests.support import stores
from tests.support.instance import Instance

# A busy machine is slow, not wrong.
hypothesis.settings.register_profile("esp", deadline=None)
hypothesis.settings.load_profile("esp")

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


@pytest.fixture(scope="session")
def esp_instance(stores_folder: Path) -> Iterator[Instance]:
    """A running ESP, shared by the whole session: leave it as you would want to find it."""
    instance = Instance(stores_folder / "esp")
    instance.start()
    yield instance
    instance.stop()


@pytest.fixture
def instance_factory() -> Iterator[Callable[..., Instance]]:
    """Starts ESPs of the test's own: `instance_factory(ESP_SMTP__MAX_ERRORS="3")`."""
    folder = Path(tempfile.mkdtemp(prefix="esp-"))
    made: list[Instance] = []

    def make(**environment: str) -> Instance:
        instance = Instance(folder / str(len(made)), **environment)
        made.append(instance)
        instance.start()
        return instance

    yield make
    for instance in made:
        instance.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_instance(instance_factory: Callable[..., Instance]) -> Instance:
    """A running ESP that the test may break."""
    return instance_factory()
