"""Dispatch on a real PostgreSQL and a real disk: what is answered with UIDs is there once, else nowhere."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from esp.core.errors import MailboxChangedError, NotFoundError, OverQuotaError
from esp.core.mailbox import MailboxId
from esp.core.message import SystemFlag
from esp.native import Store
from esp.services import dispatch as dispatch_module
from esp.services.dispatch import Dispatch, Incoming, Target
from esp.storage.postgres.pool import Database
from esp.telemetry import metrics
from tests.services.conftest import Publications, add_box, journaled

BODY = b"From: a@example.test\r\nSubject: Hello\r\nMessage-ID: <1@example.test>\r\n\r\nHi\r\n"


@pytest.fixture(params=["synced", "journaled"])
def store(root: Path, store: Store, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Files before rows, and beside them."""
    store = journaled(root) if request.param == "journaled" else store
    yield store
    store.close()


def incoming(*targets: Target, body: bytes = BODY) -> Incoming:
    return Incoming(b"Received: from a by b\r\n", body, targets)


def files(root: Path, folder: str) -> list[Path]:
    return sorted((root / folder).glob("[nc]*/*"))


def failures() -> dict[str, float]:
    """Return how many deliveries have failed, by error."""
    (metric,) = metrics.DELIVERY_FAILURES.collect()
    return {one.labels["error"]: one.value for one in metric.samples if one.name == f"{metric.name}_total"}


async def test_100_parallel_deliveries_get_100_rising_uids_without_a_gap(
    dispatch: Dispatch, database: Database, root: Path
) -> None:
    box = await add_box(database)

    placed = await asyncio.gather(*(dispatch.deliver(incoming(box.target())) for _ in range(100)))

    assert sorted(place.uid for (place,) in placed) == list(range(1, 101))
    assert len(files(root, box.folder)) == 100
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT uidnext, messages, unseen, octets, (SELECT sum(size) FROM message WHERE mailbox_id = m.id),
                (SELECT count(*) FROM content WHERE account_id = m.account_id)
            FROM mailbox AS m WHERE id = $1
            """,
            box.mailbox,
        )
    assert row is not None
    assert tuple(row) == (101, 100, 100, 100 * (len(BODY) + 23), row["octets"], 100)


async def test_a_message_to_100_recipients_is_one_inode(
    dispatch: Dispatch, database: Database, root: Path, publications: Publications
) -> None:
    boxes = [await add_box(database) for _ in range(100)]

    placed = await dispatch.deliver(incoming(*(box.target() for box in boxes)))

    assert [place.mailbox for place in placed] == [box.mailbox for box in boxes]
    found = [path for box in boxes for path in files(root, box.folder)]
    assert len(found) == 100
    assert len({path.stat().st_ino for path in found}) == 1
    await dispatch.close()  # word of it follows the answer
    assert [sorted(changes) for changes in publications.batches] == [
        sorted((place.mailbox, place.modseq) for place in placed)
    ]


async def test_flags_keywords_and_internal_date_are_kept(
    dispatch: Dispatch, database: Database, root: Path
) -> None:
    box = await add_box(database)
    when = datetime(2001, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    target = box.target(SystemFlag.SEEN | SystemFlag.FLAGGED, "$Junk", "work")

    await dispatch.deliver(Incoming(b"", BODY, (box.target(0, "WORK", "Work"),)))
    await dispatch.deliver(Incoming(b"", BODY, (target,), when))

    async with database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM message WHERE mailbox_id = $1 ORDER BY uid", box.mailbox)
        keywords = await connection.fetchval("SELECT keywords FROM mailbox WHERE id = $1", box.mailbox)
    assert keywords == ["WORK", "$Junk"]
    assert rows[0]["flags"] == 1 << 8
    assert rows[1]["flags"] == SystemFlag.SEEN | SystemFlag.FLAGGED | 1 << 8 | 1 << 9
    assert rows[1]["internal_date"] == when
    (old,) = (path for path in files(root, box.folder) if path.parent.name == "cur")
    assert old.name == f"{rows[1]['file']}:2,FS"
    assert old.stat().st_mtime_ns == 981_173_106_789_012_000


async def test_a_deleted_mailbox_refuses_its_messages_only(
    dispatch: Dispatch, database: Database, root: Path
) -> None:
    box, other = await add_box(database), await add_box(database)
    gone = Target(other.account, MailboxId(10**9), other.folder)
    failed = failures()

    results = await asyncio.gather(
        dispatch.deliver(incoming(box.target(), gone)),
        dispatch.deliver(incoming(box.target())),
        return_exceptions=True,
    )

    assert type(results[0]) is NotFoundError
    assert not isinstance(results[1], BaseException)
    assert len(files(root, box.folder)) == 1
    assert not files(root, other.folder)
    assert failures() == failed | {"NotFoundError": failed.get("NotFoundError", 0) + 1}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE mailbox SET name = 'Bag' WHERE id = $1",
        "UPDATE mailbox SET acl_version = 1 WHERE id = $1",
        "DELETE FROM mailbox WHERE id = $1",
    ],
)
async def test_a_mailbox_that_is_not_what_it_was_refuses_its_messages_only(
    change: str, dispatch: Dispatch, database: Database, root: Path
) -> None:
    box, other = await add_box(database), await add_box(database)
    async with database.connection() as connection:
        name = await connection.fetchval("SELECT name FROM mailbox WHERE id = $1", box.mailbox)
    remembered = msgspec.structs.replace(box.target(), found_as=name)
    remembered_too = msgspec.structs.replace(other.target(), found_as=name)
    await dispatch.deliver(incoming(remembered))
    before, failed = files(root, box.folder), failures()
    async with database.connection() as connection:
        await connection.execute(change, box.mailbox)

    results = await asyncio.gather(
        dispatch.deliver(incoming(remembered)),
        dispatch.deliver(incoming(other.target())),
        dispatch.deliver(incoming(remembered_too)),
        return_exceptions=True,
    )

    assert type(results[0]) is MailboxChangedError
    assert not any(isinstance(result, BaseException) for result in results[1:])
    assert files(root, box.folder) == before
    assert len(files(root, other.folder)) == 2
    assert failures() == failed  # it is looked up again, and then it may be delivered


async def test_a_quota_is_filled_to_the_last_octet_and_not_beyond(
    dispatch: Dispatch, database: Database, root: Path
) -> None:
    size = len(BODY) + 23
    box = await add_box(database, octets=3 * size)
    counted = await add_box(database, messages=2)
    free = await add_box(database)

    results = await asyncio.gather(
        *(dispatch.deliver(incoming(box.target(), free.target())) for _ in range(10)),
        *(dispatch.deliver(incoming(counted.target(), free.target())) for _ in range(10)),
        return_exceptions=True,
    )

    assert sum(isinstance(result, OverQuotaError) for result in results) == 7 + 8
    assert [len(files(root, folder)) for folder in (box.folder, counted.folder, free.folder)] == [3, 2, 5]
    with pytest.raises(OverQuotaError):
        await dispatch.deliver(incoming(box.target(), body=b"\r\n"))


async def test_closing_finishes_what_waits_however_much_it_is(dispatch: Dispatch, database: Database) -> None:
    box = await add_box(database)
    # More than two batches, so that files wait for rows and rows for files while the end is near.
    deliveries = [asyncio.create_task(dispatch.deliver(incoming(box.target()))) for _ in range(300)]
    await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await dispatch.close()

    placed = await asyncio.gather(*deliveries)
    assert sorted(place.uid for (place,) in placed) == list(range(1, 301))


async def test_as_many_as_came_just_now_are_waited_for(
    dispatch: Dispatch, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "LONGEST_GATHERING", 3600.0)
    box = await add_box(database)
    await asyncio.gather(*(dispatch.deliver(incoming(box.target())) for _ in range(2)))

    early = asyncio.create_task(dispatch.deliver(incoming(box.target())))
    async with database.connection() as connection:
        for _ in range(200):  # longer than the rows of a batch take
            await connection.execute("SELECT 1")
    assert not early.done()
    (late,) = await dispatch.deliver(incoming(box.target()))

    assert (await early)[0].modseq == late.modseq


async def test_uids_rise_in_the_order_of_arrival_across_batches(
    dispatch: Dispatch, database: Database
) -> None:
    box = await add_box(database)

    placed = await asyncio.gather(*(dispatch.deliver(incoming(box.target())) for _ in range(300)))

    assert [place.uid for (place,) in placed] == list(range(1, 301))
