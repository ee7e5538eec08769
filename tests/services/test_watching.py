"""What is told of an account's mailboxes is what is so in the end, whoever looks, listens, comes and goes meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from esp.core.change import EVERYBODY, AccountChange
from esp.core.mailbox import ModSeq
from esp.core.principal import AccountId, Principal
from esp.services.mailboxes import Listed
from esp.services.watching import Counted, News, Watching
from esp.storage.postgres import mailboxes
from esp.storage.postgres.pool import Database
from tests.services.conftest import Box, add_box


class Mouth:
    """A notifier that says what a test wants."""

    connected = True

    def __init__(self) -> None:
        self.say: Callable[[Sequence[tuple[int, int]]], None] = lambda _: None
        self.say_account: Callable[[AccountChange], None] = lambda _: None

    def subscribe(self, callback: Callable[..., None]) -> None:
        self.say = callback

    def subscribe_accounts(self, callback: Callable[..., None]) -> None:
        self.say_account = callback

    def subscribe_connection(self, _: Callable[..., None]) -> None: ...


class SlowList:
    """The INBOX of an account, as it was when the look began."""

    def __init__(self, database: Database, box: Box) -> None:
        self._database = database
        self._box = box
        self.name = "INBOX"
        self.subscribed = True
        self.looks = 0
        self.hidden = False
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.has_read = asyncio.Event()

    async def listed(self, _: Principal) -> list[Listed]:
        self.looks += 1
        async with self._database.connection() as connection:
            mailbox = await mailboxes.by_id(connection, self._box.mailbox)
        listed = [Listed(name=self.name, mailbox=mailbox, subscribed=self.subscribed, has_children=False)]
        go_on = self.go_on
        self.has_read.set()
        await go_on.wait()
        return [] if self.hidden else listed

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """The first look that begins here ends behind this."""
        self.has_read.clear()
        self.go_on = held = asyncio.Event()
        try:
            yield
        finally:
            held.set()


class Ear:
    """Somebody who watches."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[int] = asyncio.Queue()

    def happened(self, news: Sequence[News]) -> None:
        for each in news:
            if isinstance(each, Counted):
                self.heard.put_nowait(each.after.highest_modseq)

    async def next(self) -> int:
        async with asyncio.timeout(20):
            return await self.heard.get()


class Scene:
    """An account that is watched, and all that happens to it."""

    def __init__(self, database: Database, box: Box) -> None:
        self.database = database
        self.box = box
        self.mouth = Mouth()
        self.names = SlowList(database, box)
        self.watching = Watching(database, cast("Any", self.names), cast("Any", self.mouth), 60.0)
        self.principal = Principal(box.account, "user@example.test", box.folder)

    async def change(self) -> ModSeq:
        async with self.database.transaction() as tx:
            value = await tx.fetchval(
                "UPDATE mailbox SET highest_modseq = highest_modseq + 1 WHERE id = $1 RETURNING highest_modseq",
                self.box.mailbox,
            )
        return ModSeq(value)


@pytest.fixture
async def scene(database: Database) -> Scene:
    return Scene(database, await add_box(database))


async def test_a_look_that_word_has_overtaken_tells_nothing_older(scene: Scene) -> None:
    ear = Ear()
    watched = await scene.watching.watch(scene.principal, ear)
    async with scene.names.held():
        look = asyncio.create_task(scene.watching.look(watched))
        await scene.names.has_read.wait()
        modseq = await scene.change()
        scene.mouth.say([(scene.box.mailbox, modseq)])
        assert await ear.next() == modseq
    await look
    assert ear.heard.empty()
    later = await scene.change()
    scene.mouth.say([(scene.box.mailbox, later)])
    assert await ear.next() == later


async def test_of_two_looks_the_one_that_read_first_is_not_the_last_word(scene: Scene) -> None:
    watched = await scene.watching.watch(scene.principal, Ear())
    async with scene.names.held():
        first = asyncio.create_task(scene.watching.look(watched))
        await scene.names.has_read.wait()
        scene.names.go_on = asyncio.Event()
        scene.names.go_on.set()
        scene.names.subscribed = False
        second = asyncio.create_task(scene.watching.look(watched))
        # It waits for the first; did it not, it would be over by then.
        await asyncio.wait([second], timeout=0.2)
    await asyncio.gather(first, second)
    assert not watched.listed["INBOX"].subscribed


async def test_messages_that_came_just_before_a_rename_are_told(scene: Scene) -> None:
    ear = Ear()
    watched = await scene.watching.watch(scene.principal, ear)
    modseq = await scene.change()
    scene.names.name = "Renamed"
    await scene.watching.look(watched)
    assert await ear.next() == modseq


async def test_who_comes_while_the_last_one_leaves_is_told(scene: Scene) -> None:
    first, second = Ear(), Ear()
    watched = await scene.watching.watch(scene.principal, first)
    async with scene.names.held():
        coming = asyncio.create_task(scene.watching.watch(scene.principal, second))
        await scene.names.has_read.wait()
        scene.watching.unwatch(watched, first)
    await coming
    modseq = await scene.change()
    scene.mouth.say([(scene.box.mailbox, modseq)])
    assert await second.next() == modseq


async def test_word_of_an_account_is_for_those_who_see_its_mailboxes_as_long_as_they_do(
    database: Database,
) -> None:
    shared, other = await add_box(database), await add_box(database)
    scene = Scene(database, shared)
    scene.principal = Principal(other.account, "other@example.test", other.folder)
    watched = await scene.watching.watch(scene.principal, Ear())

    async def looks_after(*accounts: AccountId) -> int:
        before = scene.names.looks
        for account in accounts:
            scene.mouth.say_account(AccountChange(account))
        while scene.watching._catching_up is not None:
            await asyncio.wait([scene.watching._catching_up])
        return scene.names.looks - before

    assert await looks_after(AccountId(shared.account + 1000)) == 0
    assert await looks_after(shared.account) == 1
    assert await looks_after(other.account) == 1
    assert await looks_after(EVERYBODY) == 1
    scene.names.hidden = True
    await scene.watching.look(watched)
    assert await looks_after(shared.account) == 0
    assert await looks_after(other.account) == 1
    assert set(scene.watching._by_account) == {other.account}
    for watcher in tuple(watched.watchers):
        scene.watching.unwatch(watched, watcher)
    assert scene.watching._by_account == {}
