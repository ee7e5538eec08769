"""A RENAME of many mailboxes: their cards, what a failure leaves of them, and who waits for whom."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from esp.core.mailbox import MailboxId
from esp.core.principal import Principal
from esp.native import Store
from esp.services import describing
from esp.services.checking import check
from esp.services.mailboxes import DESCRIBED_AT_ONCE, Mailboxes
from esp.services.messages import Messages
from esp.services.upkeep import Upkeep
from esp.storage import maildir
from esp.storage.maildir import Card, Maildirs, PreparedCard
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres import outbox
from esp.storage.postgres.outbox import Topic
from esp.storage.postgres.pool import Database
from tests.services.conftest import Box, Publications, add_box

CHILDREN = DESCRIBED_AT_ONCE


class HeldMaildirs(Maildirs):
    """Does something else before cards get their names."""

    def __init__(self, store: Store, root: Path, before: Callable[[], Awaitable[object]]) -> None:
        super().__init__(store, root)
        self._before = before
        self.pieces: list[int] = []

    async def prepare_cards(self, cards: Sequence[tuple[str, Card]]) -> list[PreparedCard]:
        prepared = await super().prepare_cards(cards)
        await self._before()
        return prepared

    async def place_cards(self, cards: Sequence[PreparedCard]) -> None:
        self.pieces.append(len(cards))
        await super().place_cards(cards)


class FullMaildirs(Maildirs):
    """Has no room for cards."""

    async def prepare_cards(self, cards: Sequence[tuple[str, Card]]) -> list[PreparedCard]:
        raise OSError(28, "No space left on device")


class Tree:
    """`A` and its children."""

    def __init__(self, database: Database, store: Store, root: Path, box: Box) -> None:
        self.database = database
        self.store = store
        self.root = root
        self.box = box
        self.principal = Principal(box.account, "user@example.test", box.folder)

    def mailboxes(self, maildirs: Maildirs | None = None) -> Mailboxes:
        files = maildirs or Maildirs(self.store, self.root)
        publications = Publications()
        messages = Messages(self.database, files, publications, 60.0)
        return Mailboxes(self.database, files, messages, publications, 60.0)  # type: ignore[arg-type]

    async def names(self) -> dict[MailboxId, str]:
        async with self.database.connection() as connection:
            listed = await sql.listed(connection, self.box.account)
        return {one.id: one.name for one in listed if one.name != "INBOX"}

    async def cards(self) -> dict[MailboxId, str]:
        """Return the names that are in the folders of the mailboxes that there are."""
        found: dict[MailboxId, str] = {}
        async with self.database.connection() as connection:
            for one in await sql.listed(connection, self.box.account):
                card = maildir.read_card(self.root, maildir.folder(self.box.folder, one.directory))
                if card is not None and one.name != "INBOX":
                    found[one.id] = card.name
        return found

    async def waiting(self) -> list[outbox.Describe]:
        async with self.database.connection() as connection:
            rows = await connection.fetch("SELECT payload FROM outbox WHERE topic = 'describe'")
        return [outbox.decode(outbox.Describe, row["payload"]) for row in rows]

    def temporaries(self) -> list[Path]:
        return list((self.root / self.box.folder).glob("*/tmp/*"))


@pytest.fixture
async def tree(database: Database, store: Store, root: Path) -> Tree:
    tree = Tree(database, store, root, await add_box(database))
    mailboxes = tree.mailboxes()
    for name in ("A", *(f"A/{n}" for n in range(CHILDREN))):
        await mailboxes.create(tree.principal, name)
    async with database.connection() as connection:
        inbox = await sql.by_id(connection, tree.box.mailbox)
        await connection.execute("DELETE FROM outbox")
    await Maildirs(store, root).describe(tree.box.folder, inbox, subscribed=False)
    return tree


async def test_cards_of_many_say_the_new_names_before_the_rename_is_answered(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describing, "PIECE", 10)
    # Nobody waits for the files: all rows can be had while these are written.
    free: list[int] = []

    async def count_free() -> None:
        async with tree.database.transaction() as tx:
            rows = await tx.fetch(
                "SELECT FROM mailbox WHERE account_id = $1 AND name LIKE 'B%' FOR UPDATE SKIP LOCKED",
                tree.box.account,
            )
        free.append(len(rows))

    held = HeldMaildirs(tree.store, tree.root, count_free)
    await tree.mailboxes(held).rename(tree.principal, "A", "B")

    assert free == [CHILDREN + 1]
    assert held.pieces == [10, CHILDREN + 1 - 10]
    assert set(await tree.names()) == set(await tree.cards())
    assert sorted((await tree.cards()).values()) == sorted(["B", *(f"B/{n}" for n in range(CHILDREN))])
    assert await tree.waiting() == []


async def test_few_have_their_cards_in_the_transaction(tree: Tree) -> None:
    full = FullMaildirs(tree.store, tree.root)
    await tree.mailboxes(full).rename(tree.principal, "A/1", "A/one")
    assert "A/one" in (await tree.cards()).values()
    assert await tree.waiting() == []


async def test_what_a_full_disk_left_of_the_cards_is_no_finding_and_a_worker_writes_it(tree: Tree) -> None:
    full = FullMaildirs(tree.store, tree.root)
    await tree.mailboxes(full).rename(tree.principal, "A", "B")
    assert "B/1" in (await tree.names()).values()
    assert "A/1" in (await tree.cards()).values()
    report = await check(tree.database, tree.store, tree.root, account=tree.box.folder)
    assert report.findings == ()

    async with tree.database.connection() as connection:
        await connection.execute("UPDATE outbox SET not_before = now() WHERE topic = 'describe'")
    assert await Upkeep(tree.database, tree.store, tree.root).describe_mailboxes() == CHILDREN + 1

    assert await tree.cards() == await tree.names()
    assert await tree.waiting() == []


async def test_a_worker_that_cannot_write_cards_tries_again_later(tree: Tree) -> None:
    ids = list(await tree.names())
    async with tree.database.connection() as connection:
        await outbox.add(connection, Topic.DESCRIBE, outbox.Describe(ids))
        directory = (await sql.by_id(connection, ids[-1])).directory
    tmp = tree.root / tree.box.folder / directory / "tmp"
    tmp.rmdir()
    tmp.write_text("a file")
    upkeep = Upkeep(tree.database, tree.store, tree.root)
    assert await upkeep.describe_mailboxes() == 0
    assert [row.mailboxes for row in await tree.waiting()] == [ids]
    assert tree.temporaries() == []


async def test_what_happens_to_mailboxes_while_their_cards_are_written_is_in_the_end_in_these(
    tree: Tree,
) -> None:
    renamed: list[bool] = []

    async def interfere() -> None:
        if not renamed:
            renamed.append(True)
            other = tree.mailboxes()
            await other.rename(tree.principal, "B/1", "C")
            await other.subscribe(tree.principal, "B/3")
            await other.delete(tree.principal, "B/2")

    gone = next(mailbox for mailbox, name in (await tree.names()).items() if name == "A/2")
    async with tree.database.connection() as connection:
        directory = (await sql.by_id(connection, gone)).directory
    held = HeldMaildirs(tree.store, tree.root, interfere)
    await tree.mailboxes(held).rename(tree.principal, "A", "B")

    names = await tree.names()
    assert {"B", "C", "B/3"} <= set(names.values())
    assert await tree.cards() == names
    assert maildir.read_card(tree.root, maildir.folder(tree.box.folder, directory)) is None
    # The first time all but three, which had changed or gone; then the two that had changed.
    assert held.pieces == [CHILDREN + 1 - 3, 2]
    report = await check(tree.database, tree.store, tree.root, account=tree.box.folder)
    assert report.findings == ()
    assert tree.temporaries() == []


async def test_a_rename_that_is_cut_off_leaves_the_rest_to_a_worker(tree: Tree) -> None:
    there = asyncio.Event()

    async def stand_still() -> None:
        there.set()
        await asyncio.Event().wait()

    held = HeldMaildirs(tree.store, tree.root, stand_still)
    renaming = asyncio.create_task(tree.mailboxes(held).rename(tree.principal, "A", "B"))
    await there.wait()
    renaming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await renaming
    assert [len(row.mailboxes) for row in await tree.waiting()] == [CHILDREN + 1]
    assert "B/1" in (await tree.names()).values()
