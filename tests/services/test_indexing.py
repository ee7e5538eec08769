"""Indexing on a real PostgreSQL and real files: once, and nobody waits for a bad message."""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from esp.core.errors import UnavailableError
from esp.core.mailbox import DEFAULT_MAILBOXES, ContentId, MailboxId
from esp.core.principal import AccountId
from esp.native import Indexed, index_batch, search_batch
from esp.services.indexing import MOST_ATTEMPTS, Indexing
from esp.storage.postgres import directory as directory_rows
from esp.storage.postgres import outbox
from esp.storage.postgres.outbox import Index
from esp.storage.postgres.pool import Database

_numbers = itertools.count(1)


class Shelf:
    """An account whose messages are files and rows, without a delivery."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.root = root
        self.name = f"shelf{next(_numbers)}.test"
        self.account = AccountId(0)
        self.inbox = MailboxId(0)
        self.uids = itertools.count(1)

    async def make(self) -> None:
        async with self.database.transaction() as tx:
            await tx.execute("TRUNCATE outbox")
            await directory_rows.add_domain(tx, self.name)
            domain = await directory_rows.domain(tx, self.name)
            self.account = await directory_rows.add_account(
                tx, domain.id, "alice", f"{self.name}/alice", quota_octets=None, admin=False
            )
            made = await directory_rows.add_default_mailboxes(
                tx, self.account, {n: "." if n == "INBOX" else f".{n}" for n, _ in DEFAULT_MAILBOXES}
            )
        self.inbox = next(m.id for m in made if m.name == "INBOX")
        for folder in ("new", "cur"):
            (self.root / self.name / "alice" / folder).mkdir(parents=True)

    async def put(self, text: str, flags: str | None = None) -> ContentId:
        uid = next(self.uids)
        file = f"{uid}.M1P1Q1.host"
        path = f"new/{file}" if flags is None else f"cur/{file}:2,{flags}"
        (self.root / self.name / "alice" / path).write_bytes(text.replace("\n", "\r\n").encode())
        async with self.database.connection() as c:
            content: ContentId = await c.fetchval(
                "INSERT INTO content (account_id, size, envelope, bodystructure, body)"
                " VALUES ($1, 1, '', '', '') RETURNING id",
                self.account,
            )
            await c.execute(
                "INSERT INTO message (account_id, mailbox_id, uid, content_id, modseq, flags, size,"
                " internal_date, file, file_flags) VALUES ($1, $2, $3, $4, 1, 0, 1, now(), $5, $6)",
                self.account,
                self.inbox,
                uid,
                content,
                file,
                flags,
            )
        return content

    async def leave(self, *contents: ContentId) -> None:
        async with self.database.connection() as c:
            await outbox.add(c, "index", Index([self.account] * len(contents), list(contents)))

    async def make_due(self) -> None:
        """As if the time of every retry and lease had come."""
        async with self.database.connection() as c:
            await c.execute("UPDATE outbox SET not_before = now(), leased_until = NULL")

    async def waiting(self) -> int:
        async with self.database.connection() as c:
            return int(await c.fetchval("SELECT count(*) FROM outbox"))

    async def found(self, needle: str) -> set[ContentId]:
        async with self.database.connection() as c:
            rows = await c.fetch(
                "SELECT content_id, text FROM content_index WHERE account_id = $1", self.account
            )
        hits = search_batch([row["text"] for row in rows], needle)
        return {row["content_id"] for row, hit in zip(rows, hits, strict=True) if hit}

    async def threads(self) -> dict[ContentId, int]:
        async with self.database.connection() as c:
            rows = await c.fetch(
                "SELECT content_id, thread_id FROM content_index WHERE account_id = $1", self.account
            )
        return {row["content_id"]: row["thread_id"] for row in rows}

    def indexing(self, poison: str | None = None, error: type[BaseException] = ValueError) -> Indexing:
        """With `poison`, reading a file that has it fails, together with all that is read with it."""

        def read(paths: Sequence[str]) -> list[Indexed | None]:
            if poison and any(poison in Path(path).read_text() for path in paths if Path(path).exists()):
                raise error("poison")
            return index_batch(paths)

        return Indexing(self.database, self.root, read=read)


@pytest.fixture
async def shelf(database: Database, tmp_path: Path) -> Shelf:
    shelf = Shelf(database, tmp_path)
    await shelf.make()
    return shelf


async def test_what_was_delivered_is_found(shelf: Shelf) -> None:
    new = await shelf.put("Subject: One\n\nBÄRENSTARK text")
    seen = await shelf.put("Subject: Two\n\nbärenstark too", "S")
    other = await shelf.put("Subject: Three\n\nnothing")
    await shelf.leave(new, seen, other)
    assert await shelf.indexing().work() == 3
    assert await shelf.found("Bärenstark") == {new, seen}
    assert await shelf.waiting() == 0
    async with shelf.database.connection() as c:
        row = await c.fetchrow("SELECT preview FROM content_index WHERE content_id = $1", new)
    assert row["preview"] == "BÄRENSTARK text"


async def test_done_again_nothing_changes(shelf: Shelf) -> None:
    content = await shelf.put("Subject: One\nMessage-ID: <a@x>\n\ntext")
    await shelf.leave(content)
    await shelf.indexing().work()
    before = await shelf.threads()
    await shelf.leave(content, content)
    await shelf.indexing().work()
    assert await shelf.threads() == before
    assert await shelf.waiting() == 0


async def test_many_workers_at_once_index_each_message_once_and_agree_on_threads(shelf: Shelf) -> None:
    contents = []
    for n in range(40):
        contents.append(
            await shelf.put(
                f"Subject: Re: Plan {n % 4}\nMessage-ID: <m{n}@x>\nReferences: <root{n % 4}@x>\n\ntext"
            )
        )
    for content in contents:
        await shelf.leave(content, *contents[:3])
    await asyncio.gather(*(shelf.indexing().work() for _ in range(4)))
    threads = await shelf.threads()
    assert set(threads) == set(contents)
    assert [len({threads[c] for c in contents[k::4]}) for k in range(4)] == [1, 1, 1, 1]
    assert len(set(threads.values())) == 4
    assert await shelf.waiting() == 0


async def test_accounts_do_not_share_threads(shelf: Shelf, database: Database, tmp_path: Path) -> None:
    text = "Subject: Hi\nMessage-ID: <same@x>\n\ntext"
    other = Shelf(database, tmp_path)
    await other.make()
    mine, theirs = await shelf.put(text), await other.put(text)
    await shelf.leave(mine)
    await other.leave(theirs)
    await shelf.indexing().work()
    assert (await shelf.threads())[mine] == mine
    assert (await other.threads())[theirs] == theirs


async def test_what_was_expunged_meanwhile_is_passed_over(shelf: Shelf) -> None:
    content = await shelf.put("Subject: One\n\ntext")
    async with shelf.database.connection() as c:
        await c.execute("DELETE FROM message WHERE account_id = $1", shelf.account)
    await shelf.leave(content)
    await shelf.indexing().work()
    assert await shelf.threads() == {}
    assert await shelf.waiting() == 0


class PanicException(BaseException):
    """What a panic in Rust looks like from here."""


@pytest.mark.parametrize("error", [ValueError, PanicException])
async def test_a_poison_message_blocks_nobody_and_ends_as_a_row_without_text(
    shelf: Shelf, error: type[BaseException]
) -> None:
    good = [await shelf.put(f"Subject: {n}\n\ngood text") for n in range(3)]
    bad = await shelf.put("Subject: bad\n\npoison text")
    await shelf.leave(good[0], bad, good[1])
    await shelf.leave(good[2])
    indexing = shelf.indexing("poison", error)
    await indexing.work()
    assert await shelf.found("good text") == set(good)
    assert await shelf.waiting() == 1
    for _ in range(MOST_ATTEMPTS):
        assert bad not in await shelf.threads()
        await shelf.make_due()
        await indexing.work()
    assert await shelf.waiting() == 0
    assert bad in await shelf.threads()
    assert await shelf.found("poison") == set()


async def test_a_message_that_ends_the_process_ends_it_a_few_times_only(shelf: Shelf) -> None:
    class Killed(BaseException):
        """The worker is gone in the middle of its work."""

    contents = [await shelf.put(f"Subject: {n}\n\n{'poison' if n == 5 else 'good'} text") for n in range(10)]
    await shelf.leave(*contents[:7])
    for content in contents[7:]:
        await shelf.leave(content)
    killed = 0
    for _ in range(60):
        await shelf.make_due()
        try:
            await shelf.indexing("poison", Killed).work()
        except Killed:
            killed += 1
        if not await shelf.waiting():
            break
    assert await shelf.waiting() == 0
    assert killed <= MOST_ATTEMPTS
    assert await shelf.found("good text") == {c for n, c in enumerate(contents) if n != 5}


async def test_a_file_that_comes_back_is_indexed_later(shelf: Shelf) -> None:
    content = await shelf.put("Subject: One\n\nwandering text")
    file = next((shelf.root / shelf.name / "alice" / "new").iterdir())
    away = file.rename(shelf.root / "away")
    await shelf.leave(content)
    await shelf.indexing().work()
    assert await shelf.threads() == {}
    away.rename(file)
    await shelf.make_due()
    await shelf.indexing().work()
    assert await shelf.found("wandering") == {content}


async def test_without_the_database_nothing_is_given_up(shelf: Shelf) -> None:
    content = await shelf.put("Subject: One\n\ntext")
    await shelf.leave(content)

    def read(paths: Sequence[str]) -> list[Indexed | None]:
        raise UnavailableError("away")

    for _ in range(3):
        await shelf.make_due()
        with pytest.raises(UnavailableError):
            await Indexing(shelf.database, shelf.root, read=read).work()
    assert await shelf.waiting() == 1
    await shelf.make_due()
    await shelf.indexing().work()
    assert await shelf.found("text") == {content}


async def test_texts_with_nul_and_no_encoding_are_kept(shelf: Shelf) -> None:
    content = await shelf.put("Subject: a\0b\nMessage-ID: <\0@x>\n\nwith \0 nul")
    await shelf.leave(content)
    await shelf.indexing().work()
    assert set(await shelf.threads()) == {content}
