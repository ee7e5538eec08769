"""An IMAP door over real stores."""

import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from esp.config import sections
from esp.imap import authenticating
from esp.storage.postgres.pool import Database
from tests.imap.client import Client
from tests.imap.tls import certificate
from tests.imap.world import Imap, World


@pytest.fixture
def prompt_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong logins are answered at once; that they are not is for `test_bad_logins_are_slow_and_few`."""
    monkeypatch.setattr(authenticating, "FAILURE_DELAY", 0.0)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[sections.Tls, ssl.SSLContext]:
    """A server's section and a client's context."""
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(
    database: Database,
    valkey: str,
    tmp_path_factory: pytest.TempPathFactory,
    tls: tuple[sections.Tls, ssl.SSLContext],
) -> AsyncIterator[World]:
    """Stores and one door."""
    made = World(database, valkey, tmp_path_factory.mktemp("mail"), tls[0])
    await made.open_door()
    yield made
    for imap in tuple(made.doors):
        await made.close_door(imap)


@pytest_asyncio.fixture(loop_scope="session")
async def imap(world: World) -> Imap:
    """The first door."""
    return world.doors[0]


@pytest_asyncio.fixture(loop_scope="session")
async def client(world: World, imap: Imap) -> AsyncIterator[Client]:
    """A session of an account of its own."""
    connected = await imap.login(await world.account())
    yield connected
    await connected.close()
