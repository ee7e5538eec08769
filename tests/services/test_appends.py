"""Several messages, or one in the place of another, between stores that fail: all of it happens once, or nothing."""

from pathlib import Path

import pytest

from esp.core.errors import UnavailableError
from esp.core.mailbox import Mailbox, Uid
from esp.native import Store
from esp.services import lost_commit
from esp.services.appends import Appends, NewMessage, Replaced
from esp.services.dispatch import Dispatch
from esp.storage.postgres import mailboxes as mailboxes_sql
from esp.storage.postgres.pool import Database
from tests.services.conftest import Box, Publications, add_box, deadlock_once, messages, names
from tests.support.proxy import Proxy

MESSAGE = NewMessage(b"Subject: x\r\n\r\nHello\r\n")
COMMIT = (b"COMMIT;",)


async def mailbox_of(database: Database, box: Box) -> Mailbox:
    async with database.transaction() as tx:
        return (await mailboxes_sql.lock(tx, {box.mailbox}))[box.mailbox]


@pytest.fixture
def appends(
    proxied: tuple[Proxy, Database], store: Store, dispatch: Dispatch, publications: Publications
) -> Appends:
    return Appends(store, proxied[1], dispatch, publications, 60.0)


@pytest.mark.parametrize("cut", ["before", "after", "late"])
async def test_a_connection_cut_around_the_commit_appends_once(
    *,
    proxied: tuple[Proxy, Database],
    appends: Appends,
    database: Database,
    root: Path,
    publications: Publications,
    cut: str,
) -> None:
    box = await add_box(database)
    mailbox = await mailbox_of(database, box)
    await appends.append(mailbox, [MESSAGE, MESSAGE])
    proxied[0].marks, proxied[0].cut = COMMIT, cut

    appended = await appends.append(mailbox, [MESSAGE, MESSAGE])
    proxied[0].release.set()

    assert proxied[0].cut is None
    assert appended.uids == [3, 4]
    assert appended.changes == publications.batches[-1]
    found = await messages(database, box)
    assert [uid for uid, _ in found] == [1, 2, 3, 4]
    assert sorted(file for _, file in found) == names(root, box)


@pytest.mark.parametrize("cut", ["before", "after", "late"])
async def test_a_connection_cut_around_the_commit_replaces_once(
    proxied: tuple[Proxy, Database], appends: Appends, database: Database, cut: str
) -> None:
    box, other = await add_box(database), await add_box(database)
    source, target = await mailbox_of(database, box), await mailbox_of(database, other)
    await appends.append(source, [MESSAGE, MESSAGE])
    proxied[0].marks, proxied[0].cut = COMMIT, cut

    appended = await appends.append(target, [MESSAGE], Replaced(source.id, Uid(1)))
    proxied[0].release.set()

    assert proxied[0].cut is None
    assert {mailbox for mailbox, _ in appended.changes} == {source.id, target.id}
    assert [uid for uid, _ in await messages(database, box)] == [2]
    assert [uid for uid, _ in await messages(database, other)] == appended.uids == [1]


async def test_a_replacement_rolled_back_is_tried_again(appends: Appends, database: Database) -> None:
    box, other = await add_box(database), await add_box(database)
    source, target = await mailbox_of(database, box), await mailbox_of(database, other)
    await appends.append(source, [MESSAGE])

    async with deadlock_once(database) as tries:
        appended = await appends.append(target, [MESSAGE], Replaced(source.id, Uid(1)))
        assert await tries() == 2

    assert {mailbox for mailbox, _ in appended.changes} == {source.id, target.id}
    assert await messages(database, box) == []
    assert [uid for uid, _ in await messages(database, other)] == appended.uids == [1]


async def test_what_nobody_can_find_out_keeps_its_files(
    proxied: tuple[Proxy, Database],
    appends: Appends,
    database: Database,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box = await add_box(database)
    mailbox = await mailbox_of(database, box)
    monkeypatch.setattr(lost_commit, "FIND_TIMEOUT", 0.0)
    proxied[0].marks, proxied[0].cut = COMMIT, "last"

    with pytest.raises(UnavailableError):
        await appends.append(mailbox, [MESSAGE, MESSAGE])

    found = await messages(database, box)
    assert sorted(file for _, file in found) == names(root, box)
    assert len(found) == 2


async def test_a_database_that_is_away_leaves_no_file_of_what_was_refused(
    proxied: tuple[Proxy, Database], appends: Appends, database: Database, root: Path
) -> None:
    box = await add_box(database)
    mailbox = await mailbox_of(database, box)
    await proxied[0].stop()

    with pytest.raises(UnavailableError):
        await appends.append(mailbox, [MESSAGE, MESSAGE])

    assert names(root, box) == []
    assert await messages(database, box) == []
