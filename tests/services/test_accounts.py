"""Accounts, domains and aliases as administrators handle them: rows, Maildirs, word to other processes."""

import asyncio
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from esp.core.address import Address, parse
from esp.core.errors import AlreadyExistsError, DeniedError, InvalidError, NotFoundError
from esp.core.mailbox import DEFAULT_MAILBOXES, MailboxId, ModSeq
from esp.core.principal import AccountId
from esp.core.routing import Local, NoSuchUser
from esp.native import Store
from esp.services.accounts import GONE, Accounts
from esp.services.directory import Directory
from esp.services.domains import Aliases, Domains, alias_address
from esp.services.passwords import Passwords
from esp.storage.maildir import Maildirs
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database

_numbers = itertools.count(1)


class Heard:
    """A notifier whose listeners hear at once."""

    def __init__(self) -> None:
        self.directory = 0
        self.mailboxes: list[tuple[MailboxId, ModSeq]] = []

    async def publish_directory(self, account: AccountId | None = None) -> None:
        self.directory += 1

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        self.mailboxes += changes


class House:
    """One installation with a domain of its own."""

    def __init__(self, database: Database, root: Path, passwords: Passwords) -> None:
        self.root = root
        self.database = database
        self.name = f"house{next(_numbers)}.test"
        self.heard = Heard()
        self.maildirs = Maildirs(Store(str(root), 2, False, "host"), root)
        self.accounts = Accounts(database, self.maildirs, passwords, self.heard)  # type: ignore[arg-type]
        self.domains = Domains(database, self.heard)  # type: ignore[arg-type]
        self.aliases = Aliases(database, self.heard)  # type: ignore[arg-type]
        self.directory = Directory(database)

    def at(self, local_part: str) -> Address:
        return Address(local_part, self.name)


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords(threads=2)


@pytest.fixture
async def house(database: Database, tmp_path: Path, passwords: Passwords) -> House:
    house = House(database, tmp_path, passwords)
    await house.domains.add(house.name)
    return house


async def test_a_new_account_has_its_mailboxes_in_rows_and_folders(house: House) -> None:
    made = await house.accounts.create(house.at("Alice"), "secret", quota=1000)
    assert (made.address, made.maildir, made.quota.limit) == (
        f"alice@{house.name}",
        f"{house.name}/alice",
        1000,
    )
    async with house.database.connection() as c:
        mailboxes = await c.fetch(
            "SELECT name, directory, uidvalidity, special_use FROM mailbox WHERE account_id = $1", made.id
        )
        subscribed = await c.fetch("SELECT name FROM subscription WHERE account_id = $1", made.id)
    assert {m["name"]: m["special_use"] for m in mailboxes} == dict(DEFAULT_MAILBOXES)
    assert {s["name"] for s in subscribed} == {name for name, _ in DEFAULT_MAILBOXES}
    for mailbox in mailboxes:
        folder = house.root / made.maildir / mailbox["directory"]
        card = json.loads((folder / "esp-mailbox.json").read_text())
        assert (card["name"], card["uidvalidity"]) == (mailbox["name"], mailbox["uidvalidity"])
        assert {"cur", "new", "tmp"} <= {entry.name for entry in folder.iterdir()}
    assert isinstance(await house.directory.resolve(house.at("alice")), Local)
    assert house.heard.directory == 2


@pytest.mark.parametrize(
    "local_part", ["a/b", "..", ".", "a b", "jörg", "%2f", "x" * 64, "\u0130" * 20, "~", "a\\b"]
)
async def test_no_local_part_leaves_the_folder_of_its_domain(house: House, local_part: str) -> None:
    made = await house.accounts.create(house.at(local_part), None)
    home = (house.root / made.maildir).resolve()
    assert home.parent == house.root / house.name
    assert (home / "cur").is_dir()


async def test_addresses_alike_but_for_case_are_one(house: House) -> None:
    await house.accounts.create(house.at("alice"), None)
    for again in ("alice", "ALICE"):
        with pytest.raises(AlreadyExistsError):
            await house.accounts.create(house.at(again), None)


async def test_two_accounts_never_share_a_folder(house: House) -> None:
    one = await house.accounts.create(house.at("a/b"), None)
    async with house.database.connection() as c:
        await c.execute("UPDATE account SET maildir = $2 WHERE id = $1", one.id, f"{house.name}/taken")
    other = await house.accounts.create(house.at("taken"), None)
    assert other.maildir == f"{house.name}/taken~2"


async def test_what_cannot_be_made_leaves_nothing(house: House) -> None:
    with pytest.raises(NotFoundError):
        await house.accounts.create(Address("alice", "elsewhere.test"), None)
    with pytest.raises(InvalidError):
        await house.accounts.create(house.at("alice"), "")
    assert await house.accounts.listed(house.name) == []


async def test_many_made_at_once_are_all_there(house: House) -> None:
    await asyncio.gather(*(house.accounts.create(house.at(f"u{n}"), None, announce=False) for n in range(30)))
    assert len(await house.accounts.listed(house.name)) == 30
    assert house.heard.directory == 1


async def test_a_removed_account_is_gone_with_its_mail(house: House) -> None:
    made = await house.accounts.create(house.at("alice"), "secret")
    (house.root / made.maildir / "new" / "1.M1P1Q1.host,S=1").write_text("x")
    async with house.database.connection() as c:
        inbox = await c.fetchval("SELECT id FROM mailbox WHERE account_id = $1 AND name = 'INBOX'", made.id)
        await c.execute(
            "INSERT INTO message"
            " (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date, file)"
            " VALUES ($1, $2, 1, 1, 1, 0, 1, now(), '1.M1P1Q1.host,S=1')",
            made.id,
            inbox,
        )
    await house.accounts.remove(house.at("ALICE"))
    assert not (house.root / made.maildir).exists()
    assert list((house.root / "quarantine").iterdir()) == []
    assert (inbox, GONE) in house.heard.mailboxes
    async with house.database.connection() as c:
        for table in ("message", "mailbox", "subscription"):
            assert await c.fetchval(f"SELECT count(*) FROM {table} WHERE account_id = $1", made.id) == 0
    assert await house.directory.resolve(house.at("alice")) == NoSuchUser()
    again = await house.accounts.create(house.at("alice"), "secret")
    assert list((house.root / again.maildir / "new").iterdir()) == []


async def test_a_change_is_told_to_every_process(house: House) -> None:
    await house.accounts.create(house.at("alice"), "secret")
    before = house.heard.directory
    await house.accounts.set_password(house.at("alice"), "another")
    await house.accounts.set_quota(house.at("alice"), 10, 20)
    await house.accounts.set_enabled(house.at("alice"), False)
    assert house.heard.directory == before + 3
    changed = await house.accounts.find(house.at("alice"))
    assert (changed.quota.limit, changed.quota.message_limit, changed.enabled) == (10, 20, False)


async def test_nobody_cannot_be_changed(house: House) -> None:
    for change in (
        house.accounts.set_password(house.at("nobody"), "x"),
        house.accounts.set_quota(house.at("nobody"), 1),
        house.accounts.set_enabled(house.at("nobody"), True),
        house.accounts.remove(house.at("nobody")),
        house.accounts.principal(house.at("nobody")),
    ):
        with pytest.raises(NotFoundError):
            await change


async def test_a_domain_has_one_form_and_one_owner(house: House) -> None:
    added = await house.domains.add(f"BÜCHER.{house.name}")
    assert added.name == f"xn--bcher-kva.{house.name}"
    with pytest.raises(AlreadyExistsError):
        await house.domains.add(f"bücher.{house.name}")
    for name in ("", "a b", "[192.0.2.1]", "-a.test"):
        with pytest.raises(InvalidError):
            await house.domains.add(name)


async def test_another_name_of_a_domain_is_only_that(house: House) -> None:
    other = await house.domains.add(f"other.{house.name}", alias_of=house.name)
    assert other.alias_of == house.name
    with pytest.raises(InvalidError, match="another name"):
        await house.domains.add(f"third.{house.name}", alias_of=other.name)
    with pytest.raises(InvalidError, match="another name"):
        await house.accounts.create(Address("alice", other.name), None)
    with pytest.raises(InvalidError, match="another name"):
        await house.aliases.add(Address("alice", other.name), [house.at("bob")])
    with pytest.raises(NotFoundError):
        await house.domains.add(f"fourth.{house.name}", alias_of="nowhere.test")


async def test_a_domain_with_accounts_is_not_removed_by_accident(house: House) -> None:
    await house.accounts.create(house.at("alice"), None)
    await house.aliases.add(house.at("info"), [house.at("alice")])
    with pytest.raises(DeniedError, match="1 account"):
        await house.domains.remove(house.name)
    await house.accounts.remove(house.at("alice"))
    await house.domains.remove(house.name)
    with pytest.raises(NotFoundError):
        await house.domains.find(house.name)
    assert house.name not in {d.name for d in await house.domains.listed()}


async def test_aliases_are_made_listed_followed_and_removed(house: House) -> None:
    await house.accounts.create(house.at("alice"), None)
    info, everything = alias_address(f"Info@{house.name}"), alias_address(f"@{house.name.upper()}")
    await house.aliases.add(info, [house.at("alice"), house.at("alice"), parse("bob@elsewhere.test")])
    await house.aliases.add(everything, [house.at("alice")])
    with pytest.raises(AlreadyExistsError):
        await house.aliases.add(info, [house.at("alice")])
    listed = await house.aliases.listed(house.name)
    assert [(a.local_part, a.targets) for a in listed] == [
        ("", (f"alice@{house.name}",)),
        ("info", (f"alice@{house.name}", "bob@elsewhere.test")),
    ]
    assert isinstance(await house.directory.resolve(house.at("whoever")), Local)
    await house.aliases.remove(everything)
    house.directory.forget()
    assert await house.directory.resolve(house.at("whoever")) == NoSuchUser()
    with pytest.raises(NotFoundError):
        await house.aliases.remove(everything)


async def test_an_alias_leads_somewhere(house: House) -> None:
    with pytest.raises(InvalidError):
        await house.aliases.add(house.at("info"), [])
    with pytest.raises(NotFoundError):
        await house.aliases.add(Address("info", "elsewhere.test"), [house.at("alice")])


async def test_an_alias_leads_to_nobody_that_we_would_know(house: House) -> None:
    await house.accounts.create(house.at("alice"), None)
    other = await house.domains.add(f"other.{house.name}", alias_of=house.name)
    for lost in ("bob", "bob+tag", "postmaster", "info"):
        for domain in (house.name, other.name):
            with pytest.raises(NotFoundError, match=rf"no account or alias {re.escape(lost)}@{domain}: make"):
                await house.aliases.add(house.at("info"), [house.at("alice"), Address(lost, domain)])
    # By any name, with a tag, through another alias, or elsewhere.
    reachable = [Address("Alice", other.name), house.at("alice+tag"), parse("bob@elsewhere.test")]
    await house.aliases.add(house.at("info"), reachable)
    await house.aliases.add(house.at("sales"), [house.at("info")])
    await house.aliases.add(house.at("alice"), [house.at("alice"), parse("bob@elsewhere.test")])
    await house.aliases.add(alias_address(f"@{house.name}"), [house.at("alice")])
    await house.aliases.add(house.at("all"), [house.at("whoever")])


async def test_aliases_that_lead_to_nobody_are_known(house: House) -> None:
    other = await house.domains.add(f"other.{house.name}", alias_of=house.name)
    for name in ("alice", "bob"):
        await house.accounts.create(house.at(name), None)
    await house.aliases.add(house.at("info"), [Address("Alice", other.name), house.at("bob")])
    await house.aliases.add(house.at("sales"), [house.at("alice+sales"), parse("x@elsewhere.test")])
    await house.aliases.add(house.at("alice"), [house.at("alice"), house.at("bob")])  # a copy for bob
    await house.aliases.add(house.at("all"), [house.at("info")])
    aliases = await house.aliases.listed(house.name)
    assert await house.aliases.dangling(aliases) == [[], [], [], []]
    assert await house.aliases.left_by(house.at("alice")) == []

    await house.accounts.remove(house.at("alice"))
    # The alias of her name takes what leads to her; only its own way to her is at an end.
    assert await house.aliases.left_by(house.at("Alice")) == [house.at("alice")]
    await house.aliases.remove(house.at("alice"))
    assert await house.aliases.left_by(house.at("alice")) == [house.at("info"), house.at("sales")]
    aliases = await house.aliases.listed(house.name)
    left = dict(zip([a.local_part for a in aliases], await house.aliases.dangling(aliases), strict=True))
    assert left == {"all": [], "info": [f"Alice@{other.name}"], "sales": [f"alice+sales@{house.name}"]}

    await house.aliases.add(house.at(""), [house.at("bob")])
    assert await house.aliases.left_by(house.at("alice")) == []  # the catch-all takes it


async def test_only_aliases_into_a_domain_are_read_for_what_is_removed_there(
    house: House, database: Database
) -> None:
    for name in ("bob", "a@b"):
        await house.accounts.create(house.at(name), None)
    away = await house.domains.add(f"away.{house.name}")
    await house.aliases.add(house.at("in"), [parse("x@elsewhere.test"), parse(f'"a@b"@{house.name}')])
    await house.aliases.add(Address("from-afar", away.name), [house.at("bob")])
    await house.aliases.add(house.at("out"), [parse(f'"c@{house.name}"@elsewhere.test')])
    async with database.connection() as connection:
        found = await rows.aliases_into(connection, [house.name])
    assert [f"{alias.local_part}@{alias.domain}" for alias in found] == [
        f"from-afar@{away.name}", f"in@{house.name}",
    ]  # fmt: skip


async def test_a_catch_all_that_goes_leaves_aliases_behind(house: House) -> None:
    await house.accounts.create(house.at("bob"), None)
    await house.aliases.add(house.at(""), [house.at("bob")])
    await house.aliases.add(house.at("info"), [house.at("whoever")])
    await house.aliases.remove(house.at(""))
    assert await house.aliases.left_by(house.at("")) == [house.at("info")]


async def test_a_catch_all_does_not_take_its_own_target(house: House) -> None:
    await house.accounts.create(house.at("bob"), None)
    await house.aliases.add(house.at(""), [house.at("bob")])
    await house.accounts.remove(house.at("bob"))
    assert await house.directory.resolve(house.at("whoever")) == NoSuchUser()
    assert await house.aliases.left_by(house.at("bob")) == [house.at("")]
