"""Mailboxes and messages as rows: counters, mod-sequences, what is remembered of what is gone."""

import asyncio
import itertools
from datetime import UTC, datetime

import pytest

from esp.core.errors import AlreadyExistsError, LimitError, NotFoundError
from esp.core.mailbox import Mailbox, MailboxId
from esp.core.message import FIRST_KEYWORD_BIT, MAX_KEYWORDS, StoreMode, SystemFlag
from esp.core.principal import AccountId
from esp.storage.postgres import mailboxes, messages, outbox
from esp.storage.postgres.pool import Connection, Database

SEEN, DELETED, FLAGGED = int(SystemFlag.SEEN), int(SystemFlag.DELETED), int(SystemFlag.FLAGGED)
_numbers = itertools.count(1)


async def new_account(database: Database) -> AccountId:
    number = next(_numbers)
    async with database.transaction() as tx:
        domain = await tx.fetchval("INSERT INTO domain (name) VALUES ($1) RETURNING id", f"rows{number}.test")
        account: int = await tx.fetchval(
            "INSERT INTO account (domain_id, local_part, maildir) VALUES ($1, 'a', $2) RETURNING id",
            domain,
            f"rows{number}.test/a",
        )
    return AccountId(account)


async def new_mailbox(database: Database, account: AccountId, name: str) -> Mailbox:
    async with database.transaction() as tx:
        return await mailboxes.create(tx, account, name, f".{name}", None)


async def fill(database: Database, mailbox: Mailbox, flags: list[int]) -> Mailbox:
    """Put messages with these flags into the mailbox, of 100 octets each, as a delivery does."""
    async with database.transaction() as tx:
        for value in flags:
            content = await tx.fetchval(
                """
                INSERT INTO content (account_id, size, envelope, bodystructure, body)
                VALUES ($1, 100, 'e', 's', 'b') RETURNING id
                """,
                mailbox.account,
            )
            row = await tx.fetchrow(
                """
                UPDATE mailbox SET uidnext = uidnext + 1, highest_modseq = highest_modseq + 1,
                    messages = messages + 1, unseen = unseen + $2, octets = octets + 100
                WHERE id = $1 RETURNING uidnext - 1, highest_modseq
                """,
                mailbox.id,
                int(not value & SEEN),
            )
            await tx.execute(
                """
                INSERT INTO message (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date, file)
                VALUES ($1, $2, $3, $4, $5, $6, 100, $7, $8)
                """,
                mailbox.account,
                mailbox.id,
                row[0],
                content,
                row[1],
                value,
                datetime(2026, 1, 1, tzinfo=UTC),
                f"1.M{content}P1Q1.host,S=100",
            )
    return await fresh(database, mailbox.id)


async def fresh(database: Database, mailbox: MailboxId) -> Mailbox:
    async with database.connection() as connection:
        return await mailboxes.by_id(connection, mailbox)


async def unlinking(connection: Connection, account: AccountId) -> outbox.Unlink:
    """Return what is to become of the account's expunged messages."""
    payload = await connection.fetchval(
        "SELECT payload FROM outbox WHERE topic = 'unlink' AND payload->>'account' = $1", str(account)
    )
    return outbox.decode(outbox.Unlink, payload)


async def logged(database: Database, mailbox: Mailbox) -> list[str]:
    """Return what indexes that are as old as `mailbox` are told of changes."""
    async with database.connection() as connection:
        return (await mailboxes.state(connection, mailbox.id, mailbox.highest_modseq)).changed


async def locked(tx: Connection, mailbox: Mailbox) -> Mailbox:
    return (await mailboxes.lock(tx, [mailbox.id]))[mailbox.id]


async def uidvalidity_of_a_second(database: Database, account: AccountId) -> tuple[int, int]:
    first = await new_mailbox(database, account, "A")
    async with database.transaction() as tx:
        await mailboxes.delete(tx, first.id)
    return first.uidvalidity, (await new_mailbox(database, account, "A")).uidvalidity


async def test_a_mailbox_made_again_has_a_greater_uidvalidity(database: Database) -> None:
    before, after = await uidvalidity_of_a_second(database, await new_account(database))
    assert after > before


async def test_uidvalidity_rises_with_many_at_once(database: Database) -> None:
    account = await new_account(database)
    made = await asyncio.gather(*(new_mailbox(database, account, f"M{n}") for n in range(20)))
    assert len({mailbox.uidvalidity for mailbox in made}) == 20


async def test_a_name_is_taken_once(database: Database) -> None:
    account = await new_account(database)
    await new_mailbox(database, account, "A")
    with pytest.raises(AlreadyExistsError):
        await new_mailbox(database, account, "A")


async def test_renaming_takes_children_along_and_nothing_else(database: Database) -> None:
    account = await new_account(database)
    for name in ("A", "A/b", "A/b/c", "Ab", "A%"):
        await new_mailbox(database, account, name)
    async with database.transaction() as tx:
        await mailboxes.rename(tx, account, "A", "Z/y")
        assert {m.name for m in await mailboxes.listed(tx, account)} == {
            "Z/y",
            "Z/y/b",
            "Z/y/b/c",
            "Ab",
            "A%",
        }


async def test_a_rename_onto_a_taken_child_changes_nothing(database: Database) -> None:
    account = await new_account(database)
    for name in ("A", "A/b", "Z/b"):
        await new_mailbox(database, account, name)
    async with database.transaction() as tx:
        with pytest.raises(AlreadyExistsError):
            await mailboxes.rename(tx, account, "A", "Z")
        assert {m.name for m in await mailboxes.listed(tx, account)} == {"A", "A/b", "Z/b"}


async def test_only_what_changes_gets_a_modseq(database: Database) -> None:
    mailbox = await fill(
        database, await new_mailbox(database, await new_account(database), "A"), [0, SEEN, 0]
    )
    async with database.transaction() as tx:
        changed = await messages.set_flags(tx, await locked(tx, mailbox), [1, 2, 3, 99], "add", SEEN)
    after = await fresh(database, mailbox.id)
    assert changed.messages == 2
    assert await logged(database, mailbox) == [f"{changed.modseq} -1 {SEEN} 1,3"]
    assert changed.modseq == mailbox.highest_modseq + 1 == after.highest_modseq
    assert (mailbox.unseen, after.unseen) == (2, 0)


async def test_a_store_that_changes_nothing_takes_no_modseq(database: Database) -> None:
    mailbox = await fill(database, await new_mailbox(database, await new_account(database), "A"), [SEEN])
    async with database.transaction() as tx:
        changed = await messages.set_flags(tx, await locked(tx, mailbox), [1], "add", SEEN)
    assert changed.messages == 0
    assert await logged(database, mailbox) == []
    assert (await fresh(database, mailbox.id)).highest_modseq == mailbox.highest_modseq
    async with database.connection() as connection:
        waiting = await connection.fetchval(
            "SELECT count(*) FROM outbox WHERE topic = 'rename' AND payload->>'mailbox' = $1", str(mailbox.id)
        )
    assert waiting == 0


@pytest.mark.parametrize(
    ("mode", "flags", "unseen"),
    [("replace", FLAGGED, 2), ("remove", 0, 2), ("add", SEEN | FLAGGED, 0)],
)
async def test_flags_by_mode(mode: StoreMode, flags: int, unseen: int, database: Database) -> None:
    mailbox = await fill(database, await new_mailbox(database, await new_account(database), "A"), [SEEN, 0])
    bits = FLAGGED if mode == "replace" else SEEN | FLAGGED
    async with database.transaction() as tx:
        await messages.set_flags(tx, await locked(tx, mailbox), [1, 2], mode, bits)
        rows = await messages.rows(tx, mailbox, [1, 2])
    assert [row.flags for row in rows] == [flags, flags]
    assert (await fresh(database, mailbox.id)).unseen == unseen


async def test_an_expunge_counts_remembers_and_forgets(database: Database) -> None:
    account = await new_account(database)
    mailbox = await fill(
        database, await new_mailbox(database, account, "A"), [DELETED, 0, DELETED | SEEN, DELETED]
    )
    async with database.transaction() as tx:
        removal = messages.Removal(folder="home/.A", after=60.0)
        expunged = await messages.expunge(
            tx, await locked(tx, mailbox), [1, 2, 3], removal, deleted_only=True
        )
    after = await fresh(database, mailbox.id)
    assert expunged.uids == [1, 3]
    assert (after.messages, after.unseen, after.octets, after.uidnext) == (2, 2, 200, 5)
    async with database.connection() as connection:
        state = await mailboxes.state(connection, mailbox.id, mailbox.highest_modseq)
        unlink = await unlinking(connection, account)
    assert [file.partition("P1Q1")[2] for file in unlink.files()] == [".host,S=100"] * 2
    assert all(file.startswith("home/.A/new/1.M") for file in unlink.files())
    assert unlink.contents.count(",") == 1
    assert state.expunged == ["1,3"]
    assert state.modseq == expunged.modseq


async def test_sets_of_uids_are_short(database: Database) -> None:
    mailbox = await fill(
        database,
        await new_mailbox(database, await new_account(database), "A"),
        [0, 0, SEEN, 0, SEEN, 0, 0, 0],
    )
    async with database.transaction() as tx:
        changed = await messages.set_flags(tx, await locked(tx, mailbox), list(range(1, 9)), "add", SEEN)
        more = await messages.set_flags(tx, await locked(tx, mailbox), list(range(1, 9)), "replace", FLAGGED)
        last = await messages.set_flags(tx, await locked(tx, mailbox), [8, 2], "remove", FLAGGED)
    assert await logged(database, mailbox) == [
        f"{changed.modseq} -1 {SEEN} 1:2,4,6:8",
        f"{more.modseq} 0 {FLAGGED} 1:8",
        f"{last.modseq} {~FLAGGED} 0 2,8",
    ]


async def test_copies_keep_flags_and_translate_keywords(database: Database) -> None:
    account = await new_account(database)
    keyword = 1 << (FIRST_KEYWORD_BIT + 1)
    source = await fill(database, await new_mailbox(database, account, "A"), [SEEN | keyword, 0, keyword])
    target = await fill(database, await new_mailbox(database, account, "B"), [0])
    async with database.transaction() as tx:
        both = await mailboxes.lock(tx, [target.id, source.id])
        copied = await messages.add_copies(
            tx,
            both[source.id],
            both[target.id],
            [(3, "c", ""), (1, "a", "S"), (77, "x", "")],
            [(keyword, 1 << FIRST_KEYWORD_BIT)],
        )
    assert (copied.sources, copied.uids) == ([1, 3], [2, 3])
    async with database.connection() as connection:
        rows = await messages.rows(connection, target, [2, 3])
    assert [row.flags for row in rows] == [SEEN | 1 << FIRST_KEYWORD_BIT, 1 << FIRST_KEYWORD_BIT]
    after = await fresh(database, target.id)
    assert (after.messages, after.unseen, after.octets, after.uidnext) == (3, 2, 300, 4)
    assert after.highest_modseq == copied.modseq


async def test_keywords_are_one_whatever_their_case_and_indexes_look_for_new_ones(database: Database) -> None:
    mailbox = await new_mailbox(database, await new_account(database), "A")
    async with database.connection() as connection:
        bits = await mailboxes.keyword_bits(connection, {mailbox.id: ["Work", "work", "$Junk"]})
        known = await mailboxes.by_id(connection, mailbox.id)
        again = await mailboxes.keyword_bits(connection, {mailbox.id: ["WORK"]})
        after = await mailboxes.by_id(connection, mailbox.id)
    first = 1 << FIRST_KEYWORD_BIT
    assert bits == {mailbox.id: {"Work": first, "work": first, "$Junk": first << 1}}
    assert again == {mailbox.id: {"WORK": first}}
    assert len(known.keywords) == 2
    assert known.highest_modseq == mailbox.highest_modseq + 1
    assert after == known


async def test_a_mailbox_has_so_many_keywords_and_no_more(database: Database) -> None:
    mailbox = await new_mailbox(database, await new_account(database), "A")
    words = [f"word{number}" for number in range(MAX_KEYWORDS)]
    async with database.connection() as connection:
        await mailboxes.keyword_bits(connection, {mailbox.id: words})
        with pytest.raises(LimitError):
            await mailboxes.keyword_bits(connection, {mailbox.id: ["more"]})
        bits = await mailboxes.keyword_bits(connection, {mailbox.id: [words[-1]]})
    assert bits == {mailbox.id: {words[-1]: 1 << 62}}


async def test_a_deleted_mailbox_knows_no_keywords(database: Database) -> None:
    mailbox = await new_mailbox(database, await new_account(database), "A")
    async with database.transaction() as tx:
        await mailboxes.delete(tx, mailbox.id)
    async with database.connection() as connection:
        assert await mailboxes.keyword_bits(connection, {mailbox.id: ["work"]}) == {}


async def test_what_is_said_about_octets_stays_while_a_copy_needs_it(database: Database) -> None:
    account = await new_account(database)
    source = await fill(database, await new_mailbox(database, account, "A"), [0])
    target = await new_mailbox(database, account, "B")
    async with database.transaction() as tx:
        both = await mailboxes.lock(tx, [target.id, source.id])
        await messages.add_copies(tx, both[source.id], both[target.id], [(1, "a", "")], [])
        removal = messages.Removal(folder="home/.A", after=60.0)
        await messages.expunge(tx, both[source.id], [1], removal, deleted_only=False)
        (row,) = await messages.rows(tx, target, [1])
        assert (await unlinking(tx, account)).contents == str(row.content)
        await messages.forget_contents(tx, account, [row.content])
        assert await tx.fetchval("SELECT count(*) FROM content WHERE account_id = $1", account) == 1
        await tx.execute("DELETE FROM outbox")
        await messages.remove_all(tx, target, messages.Removal(folder="home/.B", after=60.0))
        told = await unlinking(tx, account)
        assert (told.files(), told.contents) == (["home/.B/cur/a:2,"], str(row.content))
        assert await tx.fetchval("SHOW statement_timeout") == "0"
        await messages.forget_contents(tx, account, [row.content])
        assert await tx.fetchval("SELECT count(*) FROM content WHERE account_id = $1", account) == 0


async def test_a_deleted_mailbox_cannot_be_locked(database: Database) -> None:
    mailbox = await new_mailbox(database, await new_account(database), "A")
    async with database.transaction() as tx:
        await mailboxes.delete(tx, mailbox.id)
    async with database.transaction() as tx:
        with pytest.raises(NotFoundError):
            await mailboxes.lock(tx, [mailbox.id])


async def test_recent_is_taken_once(database: Database) -> None:
    mailbox = await fill(database, await new_mailbox(database, await new_account(database), "A"), [0, 0])
    async with database.connection() as connection:
        assert mailbox.first_recent == 1
        assert await mailboxes.take_recent(connection, mailbox.id) == (1, 2)
        assert await mailboxes.take_recent(connection, mailbox.id) is None
        counts = await messages.count_recent_and_deleted(connection, [mailbox.id])
        assert counts == {mailbox.id: messages.Count(0, 0, 0)}


async def test_rows_come_as_binary_copy(database: Database) -> None:
    mailbox = await fill(database, await new_mailbox(database, await new_account(database), "A"), [0, 0, 0])

    async def copied(uids: range, after: int = 0) -> int:
        octets = bytearray()

        async def sink(chunk: bytes) -> None:
            octets.extend(chunk)

        async with database.connection() as connection:
            await messages.copy_rows(connection, mailbox.account, mailbox.id, sink, uids=uids, after=after)
        assert octets.startswith(b"PGCOPY\n\xff\r\n\0")
        return octets.count(b"Q1.host,S=100")

    assert await copied(range(4)) == 3
    assert await copied(range(2, 3)) == 1
    assert await copied(range(4), mailbox.highest_modseq - 1) == 1


async def test_what_is_said_about_octets_comes_whether_numbers_are_close_or_not(database: Database) -> None:
    account, other = await new_account(database), await new_account(database)
    mailbox = await new_mailbox(database, account, "A")
    wanted: list[int] = []
    for _ in range(messages.WORTH_ASKING // 100):
        wanted += await described(database, account, 100)
        await described(database, other, 100)

    async def copied(contents: list[int]) -> int:
        async with database.connection() as connection:
            octets = await messages.copy_contents(connection, account, contents)
        return octets.count(b"envelope")

    assert await copied(wanted[:50]) == 50
    assert await copied([wanted[0], wanted[-1]]) == 2
    # All the account has: those between are others'.
    assert await copied(wanted) == len(wanted)
    async with database.transaction() as tx:
        await tx.execute("UPDATE mailbox SET messages = 10000 WHERE id = $1", mailbox.id)
    # A small part of what it has.
    assert await copied(wanted[:-1:2] + wanted[1::2]) == len(wanted)


async def described(database: Database, account: AccountId, count: int) -> list[int]:
    """Make contents, and return their numbers."""
    async with database.transaction() as tx:
        rows = await tx.fetch(
            """
            INSERT INTO content (account_id, size, envelope, bodystructure, body)
            SELECT $1, 100, 'envelope', 's', 'b' FROM generate_series(1, $2::int) RETURNING id
            """,
            account,
            count,
        )
    return [row["id"] for row in rows]
