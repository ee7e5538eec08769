"""The directory on a real PostgreSQL: aliases of every kind, tags, and what is remembered."""

import itertools
from collections.abc import Iterable

import pytest

from esp.core.address import Address, parse
from esp.core.errors import LimitError, NotFoundError
from esp.core.mailbox import DEFAULT_MAILBOXES
from esp.core.principal import AccountId
from esp.core.quota import Quota
from esp.core.rights import Grant, Rights
from esp.core.routing import Disabled, Local, NoSuchUser, Remote, Resolution
from esp.services.directory import CAPACITY, REMEMBERED, Directory
from esp.storage.postgres import acl, mailboxes
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database

_numbers = itertools.count(1)


class Town:
    """A domain of its own for each test, and a directory with a clock that stands still."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.name = f"town{next(_numbers)}.test"
        self.now = 1000.0
        self.directory = Directory(database, clock=lambda: self.now)

    def at(self, local_part: str) -> str:
        return local_part if "@" in local_part else f"{local_part}@{self.name}"

    async def domain(self, name: str, alias_of: str | None = None) -> None:
        async with self.database.transaction() as c:
            target = (await rows.domain(c, alias_of)).id if alias_of else None
            await rows.add_domain(c, name, target)

    async def account(self, local_part: str) -> AccountId:
        async with self.database.transaction() as c:
            domain = await rows.domain(c, self.name)
            account = await rows.add_account(
                c, domain.id, local_part, f"{self.name}/{local_part}", quota_octets=None, admin=False
            )
            await rows.add_default_mailboxes(c, account, {n: f".{n}" for n, _ in DEFAULT_MAILBOXES})
        return account

    async def alias(self, local_part: str, *targets: str) -> None:
        async with self.database.connection() as c:
            domain = await rows.domain(c, self.name)
            await rows.add_alias(c, domain.id, local_part, [self.at(t) for t in targets])

    async def resolve(self, local_part: str) -> Resolution:
        return await self.directory.resolve(parse(self.at(local_part)))

    async def receivers(self, local_part: str) -> set[str]:
        resolution = await self.resolve(local_part)
        assert isinstance(resolution, Local), resolution
        return {t.address.removesuffix(f"@{self.name}") for t in resolution.targets} | _texts(
            resolution.forwards
        )


def _texts(addresses: Iterable[Address]) -> set[str]:
    return {str(address) for address in addresses}


@pytest.fixture
async def town(database: Database) -> Town:
    town = Town(database)
    await town.domain(town.name)
    return town


async def test_an_account_is_itself_in_any_case(town: Town) -> None:
    account = await town.account("alice")
    resolution = await town.resolve("ALICE")
    assert isinstance(resolution, Local)
    (target,) = resolution.targets
    assert (target.account, target.folder, target.address) == (
        account,
        f"{town.name}/alice",
        f"alice@{town.name}",
    )


async def test_another_domain_is_remote(town: Town) -> None:
    assert await town.resolve("alice@elsewhere.test") == Remote()
    assert await town.resolve("alice@[192.0.2.1]") == Remote()


async def test_nobody_is_nobody(town: Town) -> None:
    assert await town.resolve("alice") == NoSuchUser()
    assert await town.directory.resolve(Address("", town.name)) == NoSuchUser()


async def test_a_tag_leads_to_the_account_without_it(town: Town) -> None:
    await town.account("alice")
    assert await town.receivers("alice+news+2") == {"alice"}


async def test_an_exact_name_comes_before_the_name_without_tag(town: Town) -> None:
    await town.account("alice")
    await town.account("alice+work")
    await town.alias("alice+list", "bob@elsewhere.test")
    assert await town.receivers("alice+work") == {"alice+work"}
    assert await town.receivers("alice+list") == {"bob@elsewhere.test"}


async def test_the_catch_all_takes_only_what_nobody_else_does(town: Town) -> None:
    await town.account("alice")
    await town.account("boss")
    await town.alias("", "boss")
    assert await town.receivers("anything") == {"boss"}
    assert await town.receivers("alice") == {"alice"}
    assert await town.receivers("alice+tag") == {"alice"}
    assert await town.directory.resolve(Address("", town.name)) == Local((await _local(town, "boss")).targets)


async def _local(town: Town, local_part: str) -> Local:
    resolution = await town.resolve(local_part)
    assert isinstance(resolution, Local)
    return resolution


async def test_aliases_of_aliases_end_in_each_account_once(town: Town) -> None:
    for name in ("alice", "bob"):
        await town.account(name)
    await town.alias("team", "alice", "bob", "friends")
    await town.alias("friends", "bob", "carol@elsewhere.test", "team")
    await town.alias("all", "team", "friends")
    assert await town.receivers("all") == {"alice", "bob", "carol@elsewhere.test"}


async def test_aliases_in_a_circle_lead_nowhere(town: Town) -> None:
    await town.alias("a", "b")
    await town.alias("b", "a")
    assert await town.resolve("a") == NoSuchUser()


async def test_an_alias_of_an_account_may_keep_a_copy_there(town: Town) -> None:
    await town.account("alice")
    await town.account("bob")
    await town.alias("alice", "alice", "bob")
    assert await town.receivers("alice") == {"alice", "bob"}
    assert await town.receivers("alice+x") == {"alice", "bob"}


async def test_an_alias_of_an_account_may_lead_away_from_it_by_two_ways(town: Town) -> None:
    for name in ("alice", "bob"):
        await town.account(name)
    await town.alias("alice", "bob")
    await town.alias("left", "alice")
    await town.alias("right", "alice")
    await town.alias("both", "left", "right")
    assert await town.receivers("both") == {"bob"}


async def test_an_alias_gone_half_dead_still_reaches_the_rest(town: Town) -> None:
    await town.account("alice")
    await town.alias("team", "alice", "nobody")
    await town.alias("ghosts", "nobody")
    assert await town.receivers("team") == {"alice"}
    assert await town.resolve("ghosts") == NoSuchUser()


async def test_a_domain_may_have_other_names(town: Town) -> None:
    await town.account("alice")
    await town.alias("info", "alice")
    await town.domain(f"other-{town.name}", alias_of=town.name)
    for name in ("alice", "info", "alice+tag"):
        assert await town.receivers(f"{name}@other-{town.name}") == {"alice"}
    assert await town.resolve(f"nobody@other-{town.name}") == NoSuchUser()


async def test_what_is_switched_off_is_disabled_and_not_unknown(town: Town) -> None:
    account = await town.account("alice")
    await town.account("boss")
    await town.alias("", "boss")
    async with town.database.connection() as c:
        await rows.set_account_enabled(c, account, False)
    assert await town.resolve("alice") == Disabled()
    async with town.database.connection() as c:
        await rows.set_account_enabled(c, account, True)
        await rows.set_domain_enabled(c, town.name, False)
    assert await town.resolve("alice") == Disabled()
    assert await town.resolve("nobody") == Disabled()


async def test_an_alias_that_leads_to_too_many_is_an_error_and_not_a_selection(town: Town) -> None:
    await town.alias("many", *(f"user{n}@elsewhere.test" for n in range(2000)))
    with pytest.raises(LimitError):
        await town.resolve("many")
    for n in range(20):
        await town.alias(f"deep{n}", f"deep{n + 1}")
    with pytest.raises(LimitError):
        await town.resolve("deep0")


async def test_a_local_part_that_must_be_quoted_is_found(town: Town) -> None:
    await town.account("a b")
    resolution = await town.resolve(f'"A B"@{town.name}')
    assert isinstance(resolution, Local)
    assert resolution.targets[0].address == f'"a b"@{town.name}'


async def test_a_user_made_a_moment_ago_receives(town: Town) -> None:
    assert await town.resolve("alice") == NoSuchUser()
    await town.account("alice")
    assert await town.receivers("alice") == {"alice"}


async def test_what_was_found_is_remembered_until_told_or_for_seconds(town: Town) -> None:
    account = await town.account("alice")
    assert await town.receivers("alice") == {"alice"}
    async with town.database.connection() as c:
        await rows.set_account_enabled(c, account, False)
    assert await town.receivers("alice") == {"alice"}
    town.now += 11
    assert await town.resolve("alice") == Disabled()
    async with town.database.connection() as c:
        await rows.set_account_enabled(c, account, True)
    assert await town.receivers("alice") == {"alice"}
    async with town.database.connection() as c:
        await rows.set_account_enabled(c, account, False)
    town.directory.forget()
    assert await town.resolve("alice") == Disabled()


async def test_a_recipient_is_known_at_once_when_inbox_and_quota_are_remembered(town: Town) -> None:
    account = await town.account("alice")
    alice, tagged = parse(town.at("alice")), parse(town.at("alice+news"))
    assert town.directory.remembered(alice) is None
    await town.resolve("alice")
    assert town.directory.remembered(alice) is None
    quota = await town.directory.quota(account)
    assert town.directory.remembered(alice) == ((await _local(town, "alice")).targets, [quota])
    # A tag may name a mailbox.
    await town.resolve("alice+news")
    assert town.directory.remembered(tagged) is None
    town.now += REMEMBERED
    assert town.directory.remembered(alice) is None


async def test_an_address_that_leads_elsewhere_too_is_never_known_at_once(town: Town) -> None:
    account = await town.account("alice")
    await town.alias("list", "alice", "bob@elsewhere.test")
    await town.resolve("list")
    await town.directory.quota(account)
    assert town.directory.remembered(parse(town.at("list"))) is None


async def test_what_is_remembered_is_bounded(town: Town) -> None:
    await town.account("boss")
    target = await _local(town, "boss")
    for n in range(CAPACITY + 10):
        town.directory._local.put(Address(str(n), "x.test"), target, town.now + 10)
    assert len(town.directory._local) == CAPACITY


async def test_an_account_owns_its_names_and_no_others(town: Town) -> None:
    alice, bob = await town.account("alice"), await town.account("bob")
    await town.alias("info", "alice")
    await town.alias("bob", "bob", "alice")
    await town.domain(f"other-{town.name}", alias_of=town.name)

    async def owns(account: AccountId, text: str) -> bool:
        return await town.directory.owns(account, parse(town.at(text)))

    for text in (
        "alice",
        "Alice",
        "alice+tag",
        "info",
        f"alice@other-{town.name}",
        f"info@other-{town.name}",
    ):
        assert await owns(alice, text), text
        assert not await owns(bob, text), text
    # bob's mail is copied to alice; that does not make his name hers.
    assert await owns(bob, "bob")
    assert not await owns(alice, "bob")
    for text in ("nobody", "alice@elsewhere.test"):
        assert not await owns(alice, text)


async def test_the_owner_of_the_catch_all_may_use_free_names_only(town: Town) -> None:
    boss, alice = await town.account("boss"), await town.account("alice")
    await town.alias("", "boss")
    assert await town.directory.owns(boss, parse(town.at("anything")))
    assert not await town.directory.owns(boss, parse(town.at("alice")))
    assert not await town.directory.owns(alice, parse(town.at("anything")))


async def test_a_quota_counts_all_mailboxes(town: Town) -> None:
    account = await town.account("alice")
    async with town.database.connection() as c:
        await c.execute("UPDATE mailbox SET octets = 100, messages = 2 WHERE account_id = $1", account)
        await rows.set_quota(c, account, 1000, 20)
    assert await town.directory.quota(account) == Quota(600, 1000, 12, 20)
    with pytest.raises(NotFoundError):
        await town.directory.quota(AccountId(-1))


def test_a_quota_is_used_up_to_its_last_octet() -> None:
    quota = Quota(used=900, limit=1000, messages=9, message_limit=10)
    assert quota.fits(100)
    assert not quota.fits(101)
    assert not quota.fits(10, messages=2)
    assert Quota(10**15, None, 10**9, None).fits(10**9)


async def test_a_tag_leads_to_a_mailbox_where_the_sender_may_post(town: Town) -> None:
    alice, bert, carl = [await town.account(name) for name in ("alice", "bert", "carl")]
    inbox, elsewhere = (await _local(town, "alice+ARCHIVE")).targets[0], await _local(town, "alice+other")
    assert inbox.detail == "ARCHIVE"

    async def goes_to_inbox(poster: AccountId | None) -> bool:
        return (await town.directory.folder(inbox, poster)).mailbox == inbox.mailbox

    assert not await goes_to_inbox(alice)
    assert await goes_to_inbox(bert)
    assert await goes_to_inbox(None)
    async with town.database.transaction() as tx:
        box = (await mailboxes.by_names(tx, alice, ["Archive"]))[0]
        await acl.put(tx, box, Grant(bert, "", False, Rights.POST))
    assert not await goes_to_inbox(bert)
    assert await goes_to_inbox(carl)
    assert await goes_to_inbox(None)
    async with town.database.transaction() as tx:
        await acl.put(tx, box, Grant(None, "", False, Rights.POST))
        await acl.put(tx, box, Grant(carl, "", True, Rights.POST))
    assert not await goes_to_inbox(None)
    assert await goes_to_inbox(carl)
    found = await town.directory.folder(inbox, None)
    assert (found.mailbox, found.folder) == (box.id, f"{town.name}/alice/.Archive")
    # A tag that names no mailbox is only a tag.
    assert await town.directory.folder(elsewhere.targets[0], alice) == elsewhere.targets[0]
