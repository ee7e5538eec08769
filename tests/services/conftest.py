"""Accounts with mailboxes in a real database, and a store in a real folder."""

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId
from esp.native import Store
from esp.services.dispatch import Dispatch, Target
from esp.storage.postgres.pool import Database

_numbers = itertools.count(1)


class Publications:
    """A notifier that remembers."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[MailboxId, ModSeq]]] = []

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        self.batches.append(list(changes))


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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root, 16, True, "mx.example.test")


@pytest.fixture
def publications() -> Publications:
    return Publications()


@pytest_asyncio.fixture(loop_scope="session")
async def dispatch(store: Store, database: Database, publications: Publications) -> AsyncIterator[Dispatch]:
    dispatch = Dispatch(store, database, publications)
    yield dispatch
    await dispatch.close()
