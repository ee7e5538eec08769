"""Whoever looks at the database by the clock says once that it is away, once that it is back, and forgets nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from esp.core.errors import UnavailableError
from esp.core.mailbox import Mailbox
from esp.core.principal import Principal
from esp.services import presence as presence_module
from esp.services.mailboxes import Listed
from esp.services.open_mailboxes import OpenMailboxes
from esp.services.presence import Presence
from esp.services.watching import Counted, News, Watching
from esp.storage.postgres import mailboxes
from esp.storage.postgres.pool import Connection, Database
from tests.services.conftest import Box, add_box


class Absent(Database):
    """Goes away for some looks, and comes back."""

    def __init__(self, database: Database) -> None:
        self._real = database
        self.away = 0
        """How many more lookers are turned away."""
        self._looks = 0
        self._awaited = asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:  # type: ignore[override]
        if self.away:
            self.away -= 1
            raise UnavailableError("The database does not answer")
        async with self._real.connection() as connection:
            yield connection
        self._looks -= 1
        if self._looks == 0:
            self._awaited.set()

    async def until_looked(self, times: int) -> None:
        """Wait for so many looks that succeed."""
        self._looks = times
        self._awaited.clear()
        async with asyncio.timeout(20):
            await self._awaited.wait()


class Deaf:
    """A notifier that hears nothing, so that the pollers look often."""

    connected = False

    def subscribe(self, callback: Callable[..., None]) -> None: ...

    subscribe_directory = subscribe_accounts = subscribe_connection = subscribe


DEAF = cast("Any", Deaf())
LOOK_EVERY = 0.001


class List:
    """Mailboxes of an account: its INBOX, when nobody is turned away."""

    def __init__(self, database: Absent, box: Box) -> None:
        self._database = database
        self._box = box

    async def listed(self, _: Principal) -> list[Listed]:
        async with self._database.connection() as connection:
            mailbox = await mailboxes.by_id(connection, self._box.mailbox)
        return [Listed(name="INBOX", mailbox=mailbox, subscribed=True, has_children=False)]


class Ear:
    """Somebody who watches."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[News] = asyncio.Queue()

    def happened(self, news: Sequence[News]) -> None:
        for each in news:
            self.heard.put_nowait(each)


def principal(box: Box) -> Principal:
    return Principal(box.account, "user@example.test", box.folder)


async def events_of(database: Absent, looks: int = 2) -> list[str]:
    """Turn five lookers away; return what was logged until they look again."""
    with capture_logs() as events:
        database.away = 5
        await database.until_looked(looks)
    return [event["event"] for event in events]


async def test_presence_says_once_that_it_cannot_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "GATHERING", 0)
    absent, box = Absent(database), await add_box(database)
    presence = Presence(absent, DEAF, LOOK_EVERY)
    presence.enter(principal(box), lambda: None)
    presence.start()
    said = await events_of(absent)
    await presence.close()
    assert [event for event in said if event.startswith("presence")] == [
        "presence_not_looked_at",
        "presence_looked_at_again",
    ]


async def test_open_mailboxes_say_once_that_they_cannot_look(database: Database, tmp_path: Path) -> None:
    absent, box = Absent(database), await add_box(database)
    opened = OpenMailboxes(absent, DEAF, tmp_path, LOOK_EVERY)
    async with database.connection() as connection:
        mailbox: Mailbox = await mailboxes.by_id(connection, box.mailbox)
    await opened.open(mailbox)
    opened.start()
    said = await events_of(absent, looks=4)
    await opened.close()
    assert said == ["mailbox_poll_failed", "mailbox_poll_works_again"]


async def test_watching_says_once_that_it_cannot_look(database: Database) -> None:
    absent, box = Absent(database), await add_box(database)
    watching = Watching(absent, cast("Any", List(absent, box)), DEAF, LOOK_EVERY)
    await watching.watch(principal(box), Ear())
    watching.start()
    said = await events_of(absent, looks=4)
    await watching.close()
    assert said == ["watched_mailboxes_not_looked_at", "watched_mailboxes_looked_at_again"]


async def test_what_a_poll_found_is_told_though_the_look_at_it_fails(database: Database) -> None:
    absent, box = Absent(database), await add_box(database)
    watching = Watching(absent, cast("Any", List(absent, box)), DEAF, LOOK_EVERY)
    ear = Ear()
    await watching.watch(principal(box), ear)
    watching.start()
    try:
        for _ in range(20):
            async with database.connection() as connection:
                await connection.execute(
                    "UPDATE mailbox SET highest_modseq = highest_modseq + 1 WHERE id = $1", box.mailbox
                )
            # As a rule the poll looks next, which finds the change; the one after it looks at the mailboxes.
            await absent.until_looked(1)
            absent.away = 1
            async with asyncio.timeout(20):
                assert isinstance(await ear.heard.get(), Counted)
    finally:
        await watching.close()
