"""Lookups that come together are asked for together, and each gets its own answer."""

import asyncio

import pytest

from esp.core.errors import NotFoundError
from esp.services.lookup import Lookup
from esp.storage.postgres.pool import Connection, Database
from tests.services.conftest import add_box


class Counting:
    """A database that counts how often it is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.uses = 0

    def connection(self) -> object:
        self.uses += 1
        return self._database.connection()


async def test_those_that_come_meanwhile_are_one_question(database: Database) -> None:
    boxes = [await add_box(database) for _ in range(10)]
    counting = Counting(database)
    lookup = Lookup(counting)  # type: ignore[arg-type]
    found = await asyncio.gather(
        *(lookup.find(box.account, "INBOX") for box in boxes),
        lookup.find(boxes[0].account, "none"),
        return_exceptions=True,
    )
    assert [getattr(mailbox, "id", None) for mailbox in found[:-1]] == [box.mailbox for box in boxes]
    assert isinstance(found[-1], NotFoundError)
    assert counting.uses == 3  # the first two wait for nobody
    assert (await lookup.find(boxes[0].account, "INBOX")).home == boxes[0].folder


async def test_one_that_leaves_takes_nobody_along(database: Database) -> None:
    box = await add_box(database)
    lookup = Lookup(database)
    calls = [asyncio.create_task(lookup.find(box.account, "INBOX")) for _ in range(4)]
    await asyncio.sleep(0)
    calls[0].cancel()
    calls[2].cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert isinstance(found[2], asyncio.CancelledError)
    assert found[1].id == found[3].id == box.mailbox  # type: ignore[union-attr]
    assert (await lookup.find(box.account, "INBOX")).id == box.mailbox


async def test_a_change_is_seen_by_the_next_call(database: Database) -> None:
    box = await add_box(database)
    lookup = Lookup(database)
    await lookup.find(box.account, "INBOX")
    async with database.connection() as connection:
        await _rename(connection, box.mailbox)
    with pytest.raises(NotFoundError):
        await lookup.find(box.account, "INBOX")


async def _rename(connection: Connection, mailbox: int) -> None:
    await connection.execute("UPDATE mailbox SET name = 'other' WHERE id = $1", mailbox)
