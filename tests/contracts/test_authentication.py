"""What a door is told of who logs in, by PostgreSQL with argon2 and by the fake."""

from collections.abc import Iterator

import msgspec
import pytest
import pytest_asyncio

from esp.config.sections import Security
from esp.core.errors import AuthenticationError, AuthorizationError, InvalidError, ThrottledError
from esp.core.principal import Principal
from esp.core.sasl import Challenge, ChannelBinding
from esp.services.authentication import Authentication
from esp.services.passwords import Passwords
from esp.services.throttling import Throttle
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database
from tests.core.test_sasl import Client
from tests.support.authentication import FakeAuthentication

ALICE = "alice@example.test"
BINDING = ChannelBinding("tls-server-end-point", b"certificate")


@pytest.fixture(scope="module")
def passwords() -> Iterator[Passwords]:
    made = Passwords(threads=1)
    yield made
    made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alice(database: Database, passwords: Passwords) -> Principal:
    """An account, as rows."""
    kept = await passwords.new("secret")
    async with database.transaction() as tx:
        await rows.add_domain(tx, "example.test")
        domain = await rows.domain(tx, "example.test")
        account = await rows.add_account(
            tx, domain.id, "alice", "example.test/alice", quota_octets=None, admin=True
        )
        await rows.set_password(tx, account, kept)
    return Principal(account, ALICE, "example.test/alice", admin=True)


@pytest.fixture(params=["real", "fake"])
def authentication(
    request: pytest.FixtureRequest, database: Database, passwords: Passwords, alice: Principal
) -> Authentication:
    if request.param == "fake":
        return FakeAuthentication(alice)
    return Authentication(database, passwords, Throttle(None, Security(login_failures=3)))


async def login(authentication: Authentication, username: str = ALICE, password: str = "secret") -> Principal:
    return await authentication.password(username, password, remote="192.0.2.1", door="imap")


async def exchange(
    authentication: Authentication, mechanism: str, *responses: bytes | None
) -> Challenge | Principal:
    """Return what the last response led to."""
    begun = authentication.exchange(mechanism, remote="192.0.2.1", door="imap")
    step: Challenge | Principal = Challenge(b"")
    for response in responses:
        assert isinstance(step, Challenge)
        step = await begun.respond(response)
    return step


async def scram(
    authentication: Authentication, mechanism: str, user: Client, *bindings: ChannelBinding
) -> Challenge | Principal:
    begun = authentication.exchange(mechanism, remote="192.0.2.1", door="imap", bindings=bindings)
    first = await begun.respond(user.first())
    assert isinstance(first, Challenge)
    verifier = await begun.respond(user.final(first.data))
    assert isinstance(verifier, Challenge)
    assert verifier.data.startswith(b"v=")
    return await begun.respond(b"")


async def test_all_ways_in_make_the_same_principal(authentication: Authentication, alice: Principal) -> None:
    shown = await login(authentication)
    # What tells one password of the account from the next is for who made it.
    assert msgspec.structs.replace(shown, credentials=b"") == alice
    assert await login(authentication, "Alice@EXAMPLE.test") == shown
    address = ALICE.encode()
    assert await exchange(authentication, "PLAIN", b"\0%b\0secret" % address) == shown
    assert await exchange(authentication, "plain", None, b"%b\0%b\0secret" % (address, address)) == shown
    assert await exchange(authentication, "LOGIN", None, address, b"secret") == shown
    assert await scram(authentication, "SCRAM-SHA-256", Client(ALICE, "secret")) == shown
    bound = Client(ALICE, "secret", "p=tls-server-end-point,,", BINDING.data)
    assert await scram(authentication, "SCRAM-SHA-256-PLUS", bound, BINDING) == shown


@pytest.mark.parametrize(
    ("username", "password"), [(ALICE, "wrong"), (ALICE, "Secret"), ("nobody@example.test", "secret")]
)
async def test_who_is_refused_is_not_told_why(
    authentication: Authentication, username: str, password: str
) -> None:
    with pytest.raises(AuthenticationError, match="^Authentication failed$"):
        await login(authentication, username, password)
    with pytest.raises(AuthenticationError, match="^Authentication failed$"):
        await scram(authentication, "SCRAM-SHA-256", Client(username, password))


async def test_nobody_acts_as_somebody_else(authentication: Authentication) -> None:
    with pytest.raises(AuthorizationError):
        await exchange(authentication, "PLAIN", b"bob@example.test\0%b\0secret" % ALICE.encode())


async def test_after_so_many_failures_even_the_right_password_has_to_wait(
    authentication: Authentication,
) -> None:
    for username in (ALICE, "nobody@example.test"):
        with pytest.raises(AuthenticationError):
            await login(authentication, username, "wrong")
    with pytest.raises(AuthenticationError):
        await scram(authentication, "SCRAM-SHA-256", Client(ALICE, "wrong"))
    with pytest.raises(ThrottledError):
        await login(authentication)
    with pytest.raises(ThrottledError):
        await scram(authentication, "SCRAM-SHA-256", Client(ALICE, "secret"))


def test_the_strongest_mechanism_is_offered_first(authentication: Authentication) -> None:
    assert authentication.mechanisms(bound=False) == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    assert authentication.mechanisms(bound=True) == (
        "SCRAM-SHA-256-PLUS",
        *authentication.mechanisms(bound=False),
    )


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "SCRAM-SHA-256-PLUS", ""])
def test_what_is_not_offered_cannot_be_begun(authentication: Authentication, mechanism: str) -> None:
    with pytest.raises(InvalidError):
        authentication.exchange(mechanism, remote="192.0.2.1", door="imap")
