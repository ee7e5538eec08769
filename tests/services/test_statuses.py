"""The state of many mailboxes, asked for at once."""

from pathlib import Path

import pytest

from esp.core.mailbox import MailboxId
from esp.core.message import SystemFlag
from esp.native import Store
from esp.services import mailboxes as mailboxes_module
from esp.services.mailboxes import Listed, Mailboxes, Status
from esp.services.messages import Messages
from esp.storage.maildir import Maildirs
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres.pool import Database
from tests.services.conftest import Publications, add_box
from tests.services.test_open_mailboxes import Limited
from tests.storage.test_mailbox_rows import fill

DELETED = int(SystemFlag.DELETED)


async def test_what_is_counted_in_many_mailboxes_is_asked_for_together(
    database: Database, store: Store, root: Path, publications: Publications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailboxes_module, "COUNTED_TOGETHER", 2)
    limited = Limited(database)
    files = Maildirs(store, root)
    messages = Messages(limited, files, publications, 60.0)  # type: ignore[arg-type]
    mailboxes = Mailboxes(limited, files, messages, publications, 60.0)  # type: ignore[arg-type]
    listed: list[Listed] = []
    for flags in ([0, DELETED, DELETED], [], [0]):
        box = await add_box(database)
        async with database.connection() as connection:
            await fill(database, await sql.by_id(connection, box.mailbox), flags)
            filled = await sql.by_id(connection, box.mailbox)
        listed.append(Listed(f"box {box.mailbox}", filled, subscribed=False, has_children=False))

    found = await mailboxes.statuses([*listed, Listed("above", None, subscribed=False, has_children=True)])

    def expected(one: Listed, recent: int, deleted: int) -> tuple[MailboxId, Status]:
        assert one.mailbox is not None
        return one.mailbox.id, Status(one.name, one.mailbox, recent, deleted, deleted * 100)

    assert found == dict(map(expected, listed, (3, 0, 1), (2, 0, 0)))
    assert limited.lent == 2
