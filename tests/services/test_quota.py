"""What is said of accounts that fill up, and when."""

import itertools

import pytest
from structlog.testing import capture_logs

from esp.core.principal import AccountId
from esp.services.quotas import QuotaWatch
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database

_numbers = itertools.count(1)


class Filling:
    """An account with a limit, whose INBOX holds as much as a test says."""

    def __init__(self, database: Database, account: AccountId) -> None:
        self.database = database
        self.account = account
        self.watch = QuotaWatch(database)

    async def holds(self, octets: int, messages: int = 1) -> list[int]:
        """Return the levels that were warned of."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE mailbox SET octets = $2, messages = $3 WHERE account_id = $1 AND name = 'INBOX'",
                self.account,
                octets,
                messages,
            )
        return await self.look()

    async def look(self) -> list[int]:
        with capture_logs() as logs:
            await self.watch.look([self.account])
        return [entry["percent"] for entry in logs if entry["event"] == "quota_warning"]


async def filling(database: Database, octets: int | None, messages: int | None = None) -> Filling:
    async with database.transaction() as tx:
        name = f"full{next(_numbers)}.test"
        await rows.add_domain(tx, name, None)
        domain = await rows.domain(tx, name)
        account = await rows.add_account(
            tx, domain.id, "anna", f"{name}/anna", quota_octets=octets, admin=False
        )
        await rows.add_default_mailboxes(tx, account, {"INBOX": ".", **{n: f".{n}" for n in OTHERS}})
        await rows.set_quota(tx, account, octets, messages)
    return Filling(database, account)


OTHERS = ("Sent", "Drafts", "Trash", "Junk", "Archive")


async def test_each_level_is_warned_of_once(database: Database) -> None:
    anna = await filling(database, 1000)
    assert await anna.holds(799) == []
    assert await anna.holds(800) == [80]
    assert await anna.look() == []
    assert await anna.holds(960) == [95]
    assert await anna.holds(1000) == [100]
    # Emptied, and full again: it is a new warning.
    assert await anna.holds(10) == []
    assert await anna.holds(900) == [90]


async def test_messages_count_as_octets_do(database: Database) -> None:
    anna = await filling(database, 1000, 10)
    assert await anna.holds(1, messages=8) == [80]
    assert await anna.holds(999, messages=8) == [95]


async def test_without_a_limit_nothing_is_said(database: Database) -> None:
    anna = await filling(database, None)
    assert await anna.holds(10**12) == []


@pytest.mark.parametrize("limit", [0, 1])
async def test_the_smallest_limits_are_no_trouble(database: Database, limit: int) -> None:
    anna = await filling(database, limit)
    assert await anna.holds(0, messages=0) == []
    assert await anna.holds(1) == [100]
