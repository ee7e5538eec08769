"""Logins as they really are, over TLS: channel binding, tokens, and sessions that end with what let them in."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from esp.config import sections
from esp.core.errors import UnavailableError
from esp.services.authentication import Authentication
from esp.services.certificates import server_context
from esp.services.passwords import Passwords
from esp.services.throttling import Throttle
from esp.storage.postgres import directory as rows
from esp.storage.postgres.pool import Database
from tests.core import test_sasl
from tests.imap.client import Client
from tests.imap.world import World

pytestmark = pytest.mark.usefixtures("prompt_refusals")


class Tokens:
    """A verifier of tokens that are addresses in base64."""

    down = False

    async def verify(self, token: str) -> str | None:
        if self.down:
            raise UnavailableError("The token service does not answer")
        return None if token == "worthless" else base64.b64decode(token).decode()

    @staticmethod
    def of(address: str) -> str:
        return base64.b64encode(address.encode()).decode()


class Stage:
    """A door that checks passwords and tokens."""

    def __init__(self, world: World, tls: tuple[sections.Tls, ssl.SSLContext]) -> None:
        self.world = world
        self.tls = tls
        self.tokens = Tokens()
        self.passwords = Passwords(threads=1)
        self.authentication = Authentication(
            world.database,
            self.passwords,
            Throttle(None, sections.Security(), clock=lambda: 0.0),
            tokens=self.tokens,
        )
        context = server_context(tls[0])
        assert context is not None
        assert context.binding is not None
        self.binding = context.binding

    async def account(self, password: str) -> str:
        address = await self.world.account()
        await self.change(address, password)
        return address

    async def change(self, address: str, password: str) -> None:
        account = self.world.fake.principals[address].account
        async with self.world.database.transaction() as tx:
            await rows.set_password(tx, account, await self.passwords.new(password))

    async def connect(self) -> tuple[Client, str]:
        client = await Client.connect(self.world.doors[0].imaps_port, tls=self.tls[1])
        return client, await client.line()

    async def exchange(self, client: Client, mechanism: str, *responses: bytes) -> list[str]:
        """Send responses as they are asked for; return the challenges and the answer."""
        client.send(f"x AUTHENTICATE {mechanism}\r\n")
        got = []
        for response in responses:
            got.append(await client.line())
            client.send(base64.b64encode(response) + b"\r\n")
        got.append(await client.line())
        return got

    async def scram(self, client: Client, mechanism: str, user: test_sasl.Client) -> list[str]:
        client.send(f"x AUTHENTICATE {mechanism} {base64.b64encode(user.first()).decode()}\r\n")
        challenge = await client.line()
        if not challenge.startswith("+ "):
            return [challenge]
        client.send(base64.b64encode(user.final(base64.b64decode(challenge[2:]))) + b"\r\n")
        last = await client.line()
        if last.startswith("+ "):
            client.send("\r\n")
            last = await client.line()
        return [challenge, last]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(
    database: Database,
    valkey: str,
    tmp_path_factory: pytest.TempPathFactory,
    tls: tuple[sections.Tls, ssl.SSLContext],
) -> AsyncIterator[Stage]:
    world = World(database, valkey, tmp_path_factory.mktemp("mail"), tls[0])
    made = Stage(world, tls)
    world.authentication = made.authentication
    await world.open_door()
    yield made
    for imap in tuple(world.doors):
        await world.close_door(imap)
    made.passwords.close()


async def test_scram_plus_is_bound_to_the_certificate(stage: Stage) -> None:
    address = await stage.account("pencil")
    client, greeting = await stage.connect()
    assert "AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=OAUTHBEARER AUTH=XOAUTH2 AUTH=PLAIN" in greeting
    user = test_sasl.Client(address, "pencil", "p=tls-server-end-point,,", stage.binding.data)
    assert (await stage.scram(client, "SCRAM-SHA-256-PLUS", user))[-1].startswith("x OK")
    await client.close()


async def test_scram_plus_is_bound_to_the_handshake_below_tls_1_3(stage: Stage) -> None:
    """RFC 5802 §6.1; of TLS 1.3 it is not defined."""
    address = await stage.account("pencil")
    older = ssl.create_default_context(cafile=str(stage.tls[0].certificate))
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    port = stage.world.doors[0].imaps_port
    for context, answer in ((older, "x OK"), (stage.tls[1], "x BAD")):
        client = await Client.connect(port, tls=context)
        await client.line()
        unique = client.writer.get_extra_info("ssl_object").get_channel_binding("tls-unique")
        user = test_sasl.Client(address, "pencil", "p=tls-unique,,", unique)
        assert (await stage.scram(client, "SCRAM-SHA-256-PLUS", user))[-1].startswith(answer)
        await client.close()


@pytest.mark.parametrize(
    ("mechanism", "header"),
    [
        ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"),  # with another channel's binding
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,"),
        ("SCRAM-SHA-256", "y,,"),  # RFC 5802 §6: somebody has hidden that -PLUS is offered
    ],
)
async def test_a_channel_that_somebody_stands_in_is_refused(
    stage: Stage, mechanism: str, header: str
) -> None:
    address = await stage.account("pencil")
    client, _ = await stage.connect()
    user = test_sasl.Client(address, "pencil", header, b"another channel" if "p=" in header else b"")
    assert (await stage.scram(client, mechanism, user))[-1].startswith(("x NO", "x BAD"))
    await client.close()


async def test_without_tls_there_is_nothing_to_bind_to(stage: Stage) -> None:
    address = await stage.account("pencil")
    client = await Client.connect(stage.world.doors[0].port)
    assert "SCRAM-SHA-256-PLUS" not in await client.line()
    assert (await stage.scram(client, "SCRAM-SHA-256", test_sasl.Client(address, "pencil", "y,,")))[
        -1
    ].startswith("x OK")
    await client.close()


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_a_token_logs_in(stage: Stage, mechanism: str) -> None:
    address = await stage.account("pencil")
    head = f"n,a={address},\x01" if mechanism == "OAUTHBEARER" else f"user={address}\x01"
    client, _ = await stage.connect()
    answers = await stage.exchange(
        client, mechanism, f"{head}auth=Bearer {Tokens.of(address)}\x01\x01".encode()
    )
    assert answers[-1].startswith("x OK")
    await client.ok("SELECT INBOX")
    await client.close()


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_a_worthless_token_is_explained(stage: Stage, mechanism: str) -> None:
    address, other = await stage.account("pencil"), await stage.account("pencil")
    for token in ("worthless", Tokens.of(other), Tokens.of("nobody@example.test")):
        head = f"n,a={address},\x01" if mechanism == "OAUTHBEARER" else f"user={address}\x01"
        client, _ = await stage.connect()
        shown = f"{head}auth=Bearer {token}\x01\x01".encode()
        answers = await stage.exchange(client, mechanism, shown, b"\x01")
        assert json.loads(base64.b64decode(answers[1][2:]))["schemes"] == "bearer"
        assert answers[-1].startswith("x NO [AUTHENTICATIONFAILED]")
        await client.close()


async def test_a_verifier_that_does_not_answer_is_no_wrong_token(stage: Stage) -> None:
    client, _ = await stage.connect()
    stage.tokens.down = True
    answers = await stage.exchange(client, "OAUTHBEARER", b"n,,\x01auth=Bearer abc\x01\x01")
    stage.tokens.down = False
    assert answers[-1].startswith("x NO [UNAVAILABLE]")
    await client.close()


async def test_without_a_verifier_no_tokens_are_offered(stage: Stage) -> None:
    without = Authentication(
        stage.world.database, stage.passwords, Throttle(None, sections.Security(), clock=lambda: 0.0)
    )
    assert without.mechanisms(bound=True) == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")


async def test_only_who_has_shown_who_it_is_hears_that_it_may_not_be_another(stage: Stage) -> None:
    # RFC 5530 §3
    address, other = await stage.account("pencil"), await stage.account("pencil")
    client, _ = await stage.connect()
    right = await stage.exchange(client, "PLAIN", f"{other}\0{address}\0pencil".encode())
    assert right[-1].startswith("x NO [AUTHORIZATIONFAILED]")
    wrong = await stage.exchange(client, "PLAIN", f"{other}\0{address}\0wrong".encode())
    assert wrong[-1].startswith("x NO [AUTHENTICATIONFAILED]")
    own = await stage.exchange(client, "PLAIN", f"{address}\0{address}\0pencil".encode())
    assert own[-1].startswith("x OK")
    await client.close()


@pytest.mark.parametrize("change", ["password", "disabled", "domain"])
async def test_a_session_ends_with_what_let_it_in(stage: Stage, change: str) -> None:
    address, stays = await stage.account("pencil"), await stage.account("pencil")
    client, bystander = (await stage.connect())[0], (await stage.connect())[0]
    await client.ok(f"LOGIN {address} pencil")
    await bystander.ok(f"LOGIN {stays} pencil")
    client.send("i IDLE\r\n")
    await client.until("+ ")
    account = stage.world.fake.principals[address].account
    notifier = stage.world.doors[0].notifier
    if change == "password":
        await stage.change(address, "brush")
    else:
        async with stage.world.database.transaction() as tx:
            if change == "disabled":
                await tx.execute("UPDATE account SET enabled = false WHERE id = $1", account)
            else:
                await tx.execute(
                    """
                    WITH other AS (INSERT INTO domain (name, enabled) VALUES ('off.test', false) RETURNING id)
                    UPDATE account SET domain_id = other.id FROM other WHERE account.id = $1
                    """,
                    account,
                )
    await notifier.publish_directory()
    assert (await client.line()).startswith("* BYE")
    assert await client.line() == ""
    await bystander.ok("NOOP")
    for connected in (client, bystander):
        await connected.close()


async def test_a_new_hash_of_the_same_password_ends_nothing(stage: Stage) -> None:
    address = await stage.account("pencil")
    client, _ = await stage.connect()
    await client.ok(f"LOGIN {address} pencil")
    async with stage.world.database.connection() as connection:
        await connection.execute(
            "UPDATE account SET password_hash = password_hash || ' ' WHERE id = $1",
            stage.world.fake.principals[address].account,
        )
    await stage.world.doors[0].door.presence._look()
    await asyncio.sleep(0)
    await client.ok("NOOP")
    await client.close()
