"""`<postmaster>` without a domain always has a reader (RFC 5321 §4.5.1)."""

from esp.core.address import Address
from esp.core.mailbox import DEFAULT_MAILBOXES
from esp.core.routing import Local, NoSuchUser
from esp.services.directory import Directory
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database


async def test_the_postmaster_is_the_first_domains_or_an_administrator(database: Database) -> None:
    directory = Directory(database)
    assert await directory.postmaster() == NoSuchUser()
    async with database.transaction() as connection:
        domain = await rows.add_domain(connection, "first.test", None)
        await rows.add_domain(connection, "second.test")
        domain = await rows.domain(connection, "first.test")
        for name in ("alice", "boss"):
            account = await rows.add_account(
                connection, domain.id, name, f"first.test/{name}", quota_octets=None, admin=name == "boss"
            )
            await rows.add_default_mailboxes(connection, account, {n: f".{n}" for n, _ in DEFAULT_MAILBOXES})
    assert await directory.postmaster() == await directory.resolve(Address("boss", "first.test"))
    async with database.connection() as connection:
        await rows.add_alias(connection, domain.id, "postmaster", ["alice@first.test"])
    directory.forget()
    found = await directory.postmaster()
    assert isinstance(found, Local)
    assert [target.address for target in found.targets] == ["alice@first.test"]
