"""Logins on a real PostgreSQL and a real Valkey: who gets in, who waits, and what nobody can tell."""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator

import argon2
import pytest
import redis.asyncio

from esp.config import sections
from esp.core.address import parse
from esp.core.errors import AuthenticationError, InvalidError, ThrottledError, UnavailableError
from esp.core.principal import AccountId, Principal
from esp.core.sasl import Challenge, ScramCredentials
from esp.services.authentication import Authentication
from esp.services.passwords import Passwords
from esp.services.throttling import Throttle, client_network
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database
from tests.core.test_sasl import Client

_numbers = itertools.count(1)
HERE = "192.0.2.1"


class Stage:
    """Accounts and an authentication whose clock stands still."""

    def __init__(
        self, database: Database, passwords: Passwords, redis_client: redis.asyncio.Redis | None
    ) -> None:
        self.database = database
        self.passwords = passwords
        self.redis = redis_client
        self.now = 1000.0
        self.domain = f"login{next(_numbers)}.test"
        self.authentication = self.process()

    def process(self, **settings: float) -> Authentication:
        """Another process of the same installation."""
        section = sections.Security(**{"login_failures": 3, **settings})  # type: ignore[arg-type]
        throttle = Throttle(self.redis, section, clock=lambda: self.now)
        return Authentication(self.database, self.passwords, throttle, clock=lambda: self.now)

    async def account(self, local_part: str, password: str) -> AccountId:
        kept = await self.passwords.new(password)
        async with self.database.transaction() as c:
            try:
                domain = await rows.domain(c, self.domain)
            except rows.NotFoundError:
                await rows.add_domain(c, self.domain)
                domain = await rows.domain(c, self.domain)
            account = await rows.add_account(
                c, domain.id, local_part, f"{self.domain}/{local_part}", quota_octets=None, admin=False
            )
            await rows.set_password(c, account, kept)
        return account

    async def login(self, local_part: str, password: str, remote: str = HERE) -> Principal:
        return await self.authentication.password(
            f"{local_part}@{self.domain}", password, remote=remote, door="imap"
        )

    async def fail(self, local_part: str, remote: str, times: int) -> None:
        for _ in range(times):
            with pytest.raises(AuthenticationError):
                await self.login(local_part, "wrong", remote)


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords(threads=2)


@pytest.fixture(params=["shared", "alone"])
async def stage(
    request: pytest.FixtureRequest, database: Database, passwords: Passwords, valkey: str
) -> AsyncIterator[Stage]:
    client = redis.asyncio.Redis.from_url(valkey) if request.param == "shared" else None
    if client:
        await client.flushall()
    yield Stage(database, passwords, client)
    if client:
        await client.aclose()


async def test_the_right_password_makes_a_principal(stage: Stage) -> None:
    account = await stage.account("alice", "correct horse")
    principal = await stage.login("ALICE", "correct horse")
    assert principal == Principal(
        account, f"alice@{stage.domain}", f"{stage.domain}/alice", credentials=principal.credentials
    )
    assert len(principal.credentials) == 16


async def test_a_password_is_the_same_however_it_was_composed(stage: Stage) -> None:
    await stage.account("alice", "pa\u0308ss\u00a0wörd")
    await stage.login("alice", "pä" + "ss wo\u0308rd")


async def test_another_name_of_the_domain_logs_in_too(stage: Stage) -> None:
    account = await stage.account("alice", "secret")
    async with stage.database.transaction() as c:
        domain = await rows.domain(c, stage.domain)
        await rows.add_domain(c, f"other-{stage.domain}", domain.id)
    principal = await stage.authentication.password(
        f"alice@other-{stage.domain}", "secret", remote=HERE, door="imap"
    )
    assert (principal.account, principal.address) == (account, f"alice@{stage.domain}")


@pytest.mark.parametrize(
    "username", ["alice", "", "nobody@nowhere.test", "\x00", "a" * 5000, "\ud800", "@", "a b@c"]
)
async def test_nobody_is_refused_like_anybody(stage: Stage, username: str) -> None:
    with pytest.raises(AuthenticationError, match="^Authentication failed$"):
        await stage.authentication.password(username, "secret", remote=HERE, door="imap")


@pytest.mark.parametrize("password", ["", "wrong", "\x00", "x" * 100_000, "\ud800", "Secret", "secret "])
async def test_a_wrong_password_is_refused(stage: Stage, password: str) -> None:
    await stage.account("alice", "secret")
    with pytest.raises(AuthenticationError, match="^Authentication failed$"):
        await stage.login("alice", password)


async def test_an_account_without_a_password_lets_nobody_in(stage: Stage) -> None:
    account = await stage.account("alice", "secret")
    async with stage.database.connection() as c:
        await c.execute("UPDATE account SET password_hash = NULL WHERE id = $1", account)
    for password in ("", "secret", "None"):
        with pytest.raises(AuthenticationError):
            await stage.login("alice", password)


async def test_who_is_switched_off_does_not_get_in(stage: Stage) -> None:
    account = await stage.account("alice", "secret")
    async with stage.database.connection() as c:
        await rows.set_account_enabled(c, account, False)
    with pytest.raises(AuthenticationError, match="^Authentication failed$"):
        await stage.login("alice", "secret")
    async with stage.database.connection() as c:
        await rows.set_account_enabled(c, account, True)
        await rows.set_domain_enabled(c, stage.domain, False)
    with pytest.raises(AuthenticationError):
        await stage.login("alice", "secret")


class Counting(Passwords):
    """Counts comparisons, which are what takes long."""

    compared = 0

    async def matches(self, kept: str | None, password: str) -> bool:
        self.compared += 1
        return await super().matches(kept, password)


async def test_word_of_a_change_does_not_have_everybodys_password_compared_again(stage: Stage) -> None:
    stage.passwords = passwords = Counting(threads=1)
    stage.authentication = stage.process()
    account = await stage.account("alice", "secret")
    first = await stage.login("alice", "secret")
    for _ in range(3):
        stage.authentication.forget()
        assert await stage.login("alice", "secret") == first
    assert passwords.compared == 1

    async with stage.database.connection() as c:
        await rows.set_account_enabled(c, account, False)
    stage.authentication.forget()
    with pytest.raises(AuthenticationError):
        await stage.login("alice", "secret")
    passwords.close()


async def test_a_success_is_remembered_until_told_or_for_a_minute(stage: Stage) -> None:
    account = await stage.account("alice", "old")
    await stage.login("alice", "old")
    kept = await stage.passwords.new("new")
    async with stage.database.connection() as c:
        await rows.set_password(c, account, kept)
    await stage.login("alice", "old")
    stage.authentication.forget()
    with pytest.raises(AuthenticationError):
        await stage.login("alice", "old")
    await stage.login("alice", "new")
    async with stage.database.connection() as c:
        await rows.set_account_enabled(c, account, False)
    await stage.login("alice", "new")
    stage.now += 61
    with pytest.raises(AuthenticationError):
        await stage.login("alice", "new")


async def test_a_remembered_success_costs_little_and_is_for_that_password_only(stage: Stage) -> None:
    await stage.account("alice", "secret")
    await stage.login("alice", "secret")
    began = time.perf_counter()
    for _ in range(20):
        await stage.login("alice", "secret")
    assert (time.perf_counter() - began) / 20 < 0.01
    with pytest.raises(AuthenticationError):
        await stage.login("alice", "secret2")


async def test_after_so_many_failures_the_client_has_to_wait(stage: Stage) -> None:
    await stage.account("alice", "secret")
    for name in ("alice", "bob", "carol"):
        await stage.fail(name, HERE, 1)
    with pytest.raises(ThrottledError):
        await stage.login("alice", "secret")
    await stage.login("alice", "secret", "192.0.2.2")


async def test_loopback_has_to_wait_too(stage: Stage) -> None:
    await stage.account("alice", "secret")
    for remote in ("127.0.0.1", "::1"):
        await stage.fail(f"nobody{remote[0]}", remote, 3)
        with pytest.raises(ThrottledError):
            await stage.login("alice", "secret", remote)


async def test_after_so_many_failures_the_address_has_to_wait(stage: Stage) -> None:
    await stage.account("alice", "secret")
    for n in range(3):
        await stage.fail("alice", f"192.0.2.{10 + n}", 1)
    with pytest.raises(ThrottledError):
        await stage.login("alice", "secret", "192.0.2.99")


async def test_the_failures_of_others_do_not_lock_the_owner_out(stage: Stage) -> None:
    await stage.account("alice", "secret")
    await stage.login("alice", "secret")
    for n in range(3):
        await stage.fail("alice", f"192.0.2.{10 + n}", 1)
    await stage.login("alice", "secret")
    stage.authentication.forget()
    await stage.login("alice", "secret")


async def test_a_success_does_not_wipe_the_count(stage: Stage) -> None:
    await stage.account("mallory", "hers")
    await stage.fail("alice", HERE, 2)
    await stage.login("mallory", "hers")
    await stage.fail("alice", HERE, 1)
    with pytest.raises(ThrottledError):
        await stage.login("mallory", "hers")


async def test_many_guesses_at_once_are_no_more_than_one_after_another(stage: Stage) -> None:
    await stage.account("alice", "secret")
    outcomes = await asyncio.gather(
        *(stage.login("alice", f"guess{n}") for n in range(40)), return_exceptions=True
    )
    looked_at = [o for o in outcomes if type(o) is AuthenticationError]
    # The limit, and what the other thread had begun by then.
    assert 3 <= len(looked_at) <= 4
    assert sum(isinstance(o, ThrottledError) for o in outcomes) == 40 - len(looked_at)


async def test_waiting_ends_with_the_window() -> None:
    now = 0.0
    throttle = Throttle(
        None, sections.Security(login_failures=1, login_failure_window=600), clock=lambda: now
    )
    await throttle.failed("alice", HERE)
    now = 599.0
    with pytest.raises(ThrottledError):
        await throttle.check("alice", HERE)
    await throttle.failed("alice", HERE)
    now = 601.0
    await throttle.check("alice", HERE)


async def test_processes_count_together(database: Database, passwords: Passwords, valkey: str) -> None:
    client = redis.asyncio.Redis.from_url(valkey)
    await client.flushall()
    stage = Stage(database, passwords, client)
    await stage.account("alice", "secret")
    await stage.fail("alice", HERE, 3)
    other = stage.process()
    with pytest.raises(ThrottledError):
        await other.password(f"alice@{stage.domain}", "secret", remote=HERE, door="smtp")
    ttl = await client.pttl(f"esp:login:client:{HERE}")
    assert 0 < ttl <= 600_000
    await client.aclose()


async def test_without_redis_logins_go_on_and_are_counted(database: Database, passwords: Passwords) -> None:
    client = redis.asyncio.Redis.from_url("unix:///nonexistent/valkey.sock")
    stage = Stage(database, passwords, client)
    await stage.account("alice", "secret")
    await stage.login("alice", "secret")
    await stage.fail("alice", HERE, 3)
    with pytest.raises(ThrottledError):
        await stage.login("alice", "secret")


async def test_a_database_that_is_away_refuses_nobody_for_good(
    database_settings: sections.Database, passwords: Passwords
) -> None:
    closed = await Database.open(database_settings)
    await closed.close()
    stage = Stage(closed, passwords, None)
    with pytest.raises(UnavailableError):
        await stage.login("alice", "secret")


async def test_a_hash_of_yesterdays_parameters_is_renewed(stage: Stage) -> None:
    account = await stage.account("alice", "secret")
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("secret")
    async with stage.database.connection() as c:
        await c.execute("UPDATE account SET password_hash = $2 WHERE id = $1", account, weak)
        await stage.login("alice", "secret")
        renewed = await c.fetchval("SELECT password_hash FROM account WHERE id = $1", account)
    assert renewed != weak
    assert not stage.passwords.outdated(renewed)
    stage.authentication.forget()
    await stage.login("alice", "secret")


async def test_the_unknown_take_as_long_as_the_known(stage: Stage) -> None:
    await stage.account("alice", "secret")
    authentication = stage.process(login_failures=1000)

    async def seconds(name: str) -> float:
        began = time.perf_counter()
        with pytest.raises(AuthenticationError):
            await authentication.password(f"{name}@{stage.domain}", "wrong", remote=HERE, door="imap")
        return time.perf_counter() - began

    known, unknown = [], []
    for _ in range(7):
        known.append(await seconds("alice"))
        unknown.append(await seconds("nobody"))
    ratio = statistics.median(known) / statistics.median(unknown)
    assert 0.5 < ratio < 2


async def scram(
    stage: Stage, username: str, password: str, authentication: Authentication | None = None
) -> Principal:
    exchange = (authentication or stage.authentication).exchange("SCRAM-SHA-256", remote=HERE, door="imap")
    client = Client(username, password)
    first = await exchange.respond(client.first())
    assert isinstance(first, Challenge)
    verifier = await exchange.respond(client.final(first.data))
    assert isinstance(verifier, Challenge)
    assert verifier.data.startswith(b"v=")
    principal = await exchange.respond(b"")
    assert isinstance(principal, Principal)
    return principal


async def test_scram_makes_the_same_principal(stage: Stage) -> None:
    await stage.account("alice", "secret")
    assert await scram(stage, f"Alice@{stage.domain}", "secret") == await stage.login("alice", "secret")


async def test_scram_failures_count(stage: Stage) -> None:
    await stage.account("alice", "secret")
    for _ in range(3):
        with pytest.raises(AuthenticationError):
            await scram(stage, f"alice@{stage.domain}", "wrong")
    with pytest.raises(ThrottledError):
        await scram(stage, f"alice@{stage.domain}", "secret")


async def test_scram_refuses_who_is_switched_off(stage: Stage) -> None:
    account = await stage.account("alice", "secret")
    async with stage.database.connection() as c:
        await rows.set_account_enabled(c, account, False)
    with pytest.raises(AuthenticationError):
        await scram(stage, f"alice@{stage.domain}", "secret")


async def credentials_of(authentication: Authentication, name: str) -> ScramCredentials:
    *_, credentials = await authentication.begin_scram(name)
    return credentials


async def test_scram_tells_the_unknown_what_it_told_before(stage: Stage) -> None:
    await stage.account("alice", "secret")
    one, other = stage.process(), stage.process()
    for name in (f"nobody@{stage.domain}", "no address"):
        credentials = await credentials_of(one, name)
        assert credentials == await credentials_of(other, name)
        assert credentials.iterations == (await credentials_of(one, f"alice@{stage.domain}")).iterations
        assert len(credentials.salt) == 16
    assert (await credentials_of(one, "a@x.test")).salt != (await credentials_of(one, "b@x.test")).salt
    with pytest.raises(AuthenticationError):
        await scram(stage, f"nobody@{stage.domain}", "secret")


@pytest.mark.parametrize(
    ("mechanism", "responses"),
    [
        ("PLAIN", [b"\0{}\0secret"]),
        ("plain", [None, b"{}\0{}\0secret"]),
        ("LOGIN", [None, b"{}", b"secret"]),
        ("LOGIN", [b"{}", b"secret"]),
    ],
)
async def test_every_way_to_show_a_password_works(
    stage: Stage, mechanism: str, responses: list[bytes | None]
) -> None:
    await stage.account("alice", "secret")
    address = f"alice@{stage.domain}".encode()
    exchange = stage.authentication.exchange(mechanism, remote=HERE, door="submission")
    outcome: Challenge | Principal = Challenge(b"")
    for response in responses:
        assert isinstance(outcome, Challenge)
        outcome = await exchange.respond(response and response.replace(b"{}", address))
    assert isinstance(outcome, Principal)
    assert parse(outcome.address) == parse(f"alice@{stage.domain}")


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "SCRAM-SHA-256-PLUS", "", "ANONYMOUS"])
def test_what_is_not_offered_cannot_be_begun(
    database: Database, passwords: Passwords, mechanism: str
) -> None:
    stage = Stage(database, passwords, None)
    with pytest.raises(InvalidError):
        stage.authentication.exchange(mechanism, remote=HERE, door="imap")


@pytest.mark.parametrize("password", ["", "x" * 1025, "a\nb"])
async def test_what_cannot_be_typed_again_is_no_password(passwords: Passwords, password: str) -> None:
    with pytest.raises(InvalidError):
        await passwords.new(password)


@pytest.mark.parametrize(
    ("remote", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("local", "local"),
    ],
)
def test_one_client_is_one_network(remote: str, network: str) -> None:
    assert client_network(remote) == network


async def test_logging_in_again_and_again_asks_redis_once_a_second(valkey: str) -> None:
    client = redis.asyncio.Redis.from_url(valkey)
    await client.flushall()
    now = 0.0
    here, there = (
        Throttle(client, sections.Security(login_failures=1, login_failure_window=600), clock=lambda: now)
        for _ in range(2)
    )
    await here.check("alice", HERE)
    await there.failed("alice", HERE)
    await here.check("alice", HERE)
    now = 1.5
    with pytest.raises(ThrottledError):
        await here.check("alice", HERE)
    await client.aclose()


async def test_a_failure_is_not_overlooked_for_what_was_heard_before(valkey: str) -> None:
    client = redis.asyncio.Redis.from_url(valkey)
    await client.flushall()
    here, there = (
        Throttle(client, sections.Security(login_failures=2, login_failure_window=600), clock=lambda: 0.0)
        for _ in range(2)
    )
    await here.check("alice", HERE)
    await there.failed("alice", HERE)
    await here.failed("alice", HERE)
    with pytest.raises(ThrottledError):
        await here.check("alice", HERE)
    await client.aclose()
