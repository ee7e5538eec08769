"""Accounts with mailboxes in a real database, and a store in a real folder."""

import itertools
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from esp.config import sections
from esp.core.change import AccountChange
from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId
from esp.native import DeliverItem, Store
from esp.services.dispatch import Dispatch, Target
from esp.storage.postgres.pool import Database
from tests.support import stores
from tests.support.proxy import Proxy

_numbers = itertools.count(1)


class Publications:
    """A notifier that remembers."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[MailboxId, ModSeq]]] = []

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        self.batches.append(list(changes))

    async def publish_account(self, change: AccountChange) -> None: ...


class Box(msgspec.Struct, frozen=True):
    """An account with an INBOX that has no folder yet."""

    account: AccountId
    mailbox: MailboxId
    folder: str

    def target(self, flags: int = 0, *keywords: str) -> Target:
        return Target(self.account, self.mailbox, self.folder, flags, keywords)


async def add_box(database: Database, *, octets: int | None = None, messages: int | None = None) -> Box:
    name = f"user{next(_numbers)}"
    async with database.transaction() as tx:
        domain = await tx.fetchval(
            """
            INSERT INTO domain (name) VALUES ('example.test')
            ON CONFLICT (name) DO UPDATE SET enabled = true RETURNING id
            """
        )
        account = await tx.fetchval(
            """
            INSERT INTO account (domain_id, local_part, maildir, quota_octets, quota_messages)
            VALUES ($1, $2, 'example.test/' || $2, $3, $4) RETURNING id
            """,
            domain,
            name,
            octets,
            messages,
        )
        mailbox = await tx.fetchval(
            "INSERT INTO mailbox (account_id, name, directory) VALUES ($1, 'INBOX', '.') RETURNING id",
            account,
        )
    return Box(AccountId(account), MailboxId(mailbox), f"example.test/{name}")


async def messages(database: Database, box: Box) -> list[tuple[int, str]]:
    async with database.connection() as connection:
        return [
            (row[0], row[1])
            for row in await connection.fetch(
                "SELECT uid, file FROM message WHERE mailbox_id = $1 ORDER BY uid", box.mailbox
            )
        ]


@asynccontextmanager
async def deadlock_once(database: Database) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Have the first statement that writes messages rolled back; yields what tells how many there were."""
    async with database.connection() as connection:
        await connection.execute(
            """
            CREATE SEQUENCE tries;
            CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                -- What a sequence has given is not rolled back.
                IF nextval('tries') = 1 THEN RAISE 'deadlock' USING ERRCODE = 'deadlock_detected'; END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER deadlock AFTER INSERT ON content EXECUTE FUNCTION deadlock();
            """
        )

    async def tries() -> int:
        async with database.connection() as connection:
            count: int = await connection.fetchval("SELECT last_value FROM tries")
            return count

    try:
        yield tries
    finally:
        async with database.connection() as connection:
            await connection.execute("DROP FUNCTION deadlock CASCADE; DROP SEQUENCE tries")


def names(root: Path, box: Box) -> list[str]:
    return sorted(path.name for path in (root / box.folder).glob("*/*"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root, 16, True, "mx.example.test")


def journaled(root: Path, host: str = "mx.example.test") -> Store:
    """Return a store that writes small messages while its caller does something else."""
    store = Store(root, 16, True, host, journal=True)

    def item() -> DeliverItem:
        return DeliverItem(b"", b"made for the journal", ["scratch"], [None], 0)

    deadline = time.monotonic() + 60
    while (begun := store.begin([item()])) is None:
        store.deliver([item()])
        assert time.monotonic() < deadline and store.journal_failure is None
    assert begun.failures() == [None]
    shutil.rmtree(root / "scratch")
    return store


@pytest.fixture
def publications() -> Publications:
    return Publications()


@pytest_asyncio.fixture(loop_scope="session")
async def dispatch(store: Store, database: Database, publications: Publications) -> AsyncIterator[Dispatch]:
    dispatch = Dispatch(store, database, publications)
    yield dispatch
    await dispatch.close()


@pytest_asyncio.fixture(loop_scope="session")
async def proxied(
    database: Database, database_settings: sections.Database, postgres: Path, tmp_path: Path
) -> AsyncIterator[tuple[Proxy, Database]]:
    folder = stores.sockets(postgres)
    listen = folder.parent / f"p{tmp_path.name[-12:]}"
    listen.mkdir()
    proxy = Proxy(folder / ".s.PGSQL.5432", listen / ".s.PGSQL.5432")
    await proxy.start()
    dsn = database_settings.dsn.replace(str(folder), str(listen))
    opened = await Database.open(sections.Database(dsn=dsn, pool_size=2))
    yield proxy, opened
    await opened.close()
    await proxy.stop()
