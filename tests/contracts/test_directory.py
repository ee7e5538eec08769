"""What reception is told of an address, by PostgreSQL and by the fake."""

import pytest
import pytest_asyncio

from esp.core.address import Address
from esp.core.errors import NotFoundError
from esp.core.principal import AccountId
from esp.core.quota import Quota
from esp.core.routing import Disabled, Local, LocalTarget, NoSuchUser, Remote
from esp.services.directory import Directory
from esp.services.reception import Directory as Contract
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database
from tests.support.directory import DOMAIN, FakeDirectory


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def town(database: Database) -> Database:
    """What `FakeDirectory` knows, as rows."""
    async with database.transaction() as tx:
        await rows.add_domain(tx, DOMAIN)
        domain = await rows.domain(tx, DOMAIN)
        for name in ("alice", "bob", "admin", "full", "small", "off"):
            account = await rows.add_account(
                tx, domain.id, name, f"{DOMAIN}/{name}", quota_octets=None, admin=name == "admin"
            )
            await tx.execute(
                "INSERT INTO mailbox (account_id, name, directory) VALUES ($1, 'INBOX', '.'), ($1, 'box', '.box')",
                account,
            )
            match name:
                case "full":
                    await rows.set_quota(tx, account, 100, None)
                    await tx.execute(
                        """
                        UPDATE mailbox SET octets = 100, messages = 1 WHERE account_id = $1 AND name = 'INBOX'
                        """,
                        account,
                    )
                case "small":
                    await rows.set_quota(tx, account, 1000, None)
                case "off":
                    await rows.set_account_enabled(tx, account, False)
        await rows.add_alias(tx, domain.id, "team", [f"alice@{DOMAIN}", f"bob@{DOMAIN}"])
        await rows.add_alias(tx, domain.id, "elsewhere", ["x@other.test"])
    return database


@pytest.fixture(params=["real", "fake"])
def directory(request: pytest.FixtureRequest, town: Database) -> Contract:
    return Directory(town) if request.param == "real" else FakeDirectory()


def at(name: str) -> Address:
    return Address(name, DOMAIN)


async def inboxes(directory: Contract, name: str) -> tuple[LocalTarget, ...]:
    resolution = await directory.resolve(at(name))
    assert isinstance(resolution, Local)
    assert resolution.forwards == ()
    return resolution.targets


@pytest.mark.parametrize("written", ["alice", "ALICE"])
async def test_an_account_is_itself(directory: Contract, written: str) -> None:
    (target,) = await inboxes(directory, written)
    assert (target.folder, target.address, target.detail) == (f"{DOMAIN}/alice", f"alice@{DOMAIN}", "")


async def test_an_alias_is_all_that_it_leads_to(directory: Contract) -> None:
    assert await inboxes(directory, "team") == await inboxes(directory, "alice") + await inboxes(
        directory, "bob"
    )
    assert await directory.resolve(at("elsewhere")) == Local((), (Address("x", "other.test"),))


@pytest.mark.parametrize(
    ("recipient", "resolution"),
    [
        (at("nobody"), NoSuchUser()),
        (at("postmaster"), NoSuchUser()),
        (at("off"), Disabled()),
        (Address("alice", "other.test"), Remote()),
    ],
)
async def test_what_has_no_inbox_says_why(
    directory: Contract, recipient: Address, resolution: NoSuchUser | Disabled | Remote
) -> None:
    assert await directory.resolve(recipient) == resolution


async def test_an_administrator_is_postmaster_where_nobody_else_is(directory: Contract) -> None:
    assert await directory.postmaster() == Local(await inboxes(directory, "admin"))


async def test_what_is_remembered_is_what_asking_would_say(directory: Contract) -> None:
    for name in ("alice", "bob", "team", "full"):
        targets = await inboxes(directory, name)
        quotas = [await directory.quota(target.account) for target in targets]
        assert directory.remembered(at(name)) in (None, (targets, quotas))
    for name in ("bob+tag", "elsewhere", "nobody", "off"):
        await directory.resolve(at(name))
        assert directory.remembered(at(name)) is None


async def test_a_tag_leads_to_a_mailbox_for_its_owner_only(directory: Contract) -> None:
    (alice,), (bob,) = await inboxes(directory, "alice"), await inboxes(directory, "bob")
    (tagged,) = await inboxes(directory, "alice+box")
    (unnamed,) = await inboxes(directory, "alice+nothing")
    assert (tagged.mailbox, tagged.detail) == (alice.mailbox, "box")

    own = await directory.folder(tagged, alice.account)

    assert own.mailbox != alice.mailbox
    assert (own.account, own.folder, own.address) == (alice.account, f"{DOMAIN}/alice/.box", alice.address)
    for poster in (bob.account, None):
        assert await directory.folder(tagged, poster) == tagged
    assert await directory.folder(unnamed, alice.account) == unnamed


@pytest.mark.parametrize(
    ("name", "quota"),
    [
        ("alice", Quota(0, None, 0, None)),
        ("full", Quota(100, 100, 1, None)),
        ("small", Quota(0, 1000, 0, None)),
    ],
)
async def test_a_quota_is_what_is_kept_and_may_be(directory: Contract, name: str, quota: Quota) -> None:
    (target,) = await inboxes(directory, name)
    assert await directory.quota(target.account) == quota


async def test_an_account_that_is_none_has_no_quota(directory: Contract) -> None:
    with pytest.raises(NotFoundError):
        await directory.quota(AccountId(-1))


async def test_an_account_owns_its_names_and_no_others(directory: Contract) -> None:
    (alice,) = await inboxes(directory, "alice")
    names = ["alice", "Alice", "alice+tag", "team", "bob", "elsewhere", "off", "nobody"]
    owned = [name for name in names if await directory.owns(alice.account, at(name))]
    assert owned == ["alice", "Alice", "alice+tag", "team"]
    assert not await directory.owns(alice.account, Address("alice", "other.test"))
