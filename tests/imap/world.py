"""Doors over real stores, as processes have them; only who may log in is faked."""

import itertools
import sys
from pathlib import Path

import msgspec

from esp.config import sections
from esp.core.mailbox import DEFAULT_MAILBOXES
from esp.core.principal import AccountId, Principal
from esp.imap import ImapServer
from esp.native import Store
from esp.server.wiring import imap_server
from esp.services.authentication import Authentication
from esp.services.dispatch import Dispatch
from esp.storage import redis
from esp.storage.postgres.pool import Database
from tests.imap.client import Client
from tests.support.authentication import FakeAuthentication

_numbers = itertools.count(1)


class Imap:
    """One door, as a process has it."""

    def __init__(self, door: ImapServer, notifier: redis.Notifier, dispatch: Dispatch) -> None:
        self.door = door
        self.port = 0
        self.imaps_port = 0
        self.notifier = notifier
        self.dispatch = dispatch

    async def login(self, username: str) -> Client:
        return await Client.login(self.port, username)


class World:
    """Stores, accounts, and as many doors as a test wants."""

    def __init__(self, database: Database, valkey: str, root: Path, tls: sections.Tls) -> None:
        self.database = database
        self.valkey = valkey
        self.root = root
        self.tls = tls
        self.fake = FakeAuthentication(login_failures=sys.maxsize)
        self.authentication: Authentication = self.fake
        self.plaintext: tuple[str, ...] = ("127.0.0.0/8",)
        self.doors: list[Imap] = []

    async def account(self, quota: int | None = None, messages: int | None = None) -> str:
        """Make an account with the default mailboxes, and return its address."""
        number = next(_numbers)
        address = f"user{number}@example.test"
        async with self.database.transaction() as tx:
            domain = await tx.fetchval(
                """
                INSERT INTO domain (name) VALUES ('example.test')
                ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id
                """
            )
            account = await tx.fetchval(
                """
                INSERT INTO account (domain_id, local_part, maildir, quota_octets, quota_messages)
                VALUES ($1, $2, $3, $4, $5) RETURNING id
                """,
                domain,
                f"user{number}",
                f"example.test/user{number}",
                quota,
                messages,
            )
        principal = Principal(AccountId(account), address, f"example.test/user{number}")
        mailboxes = self.doors[0].door.mailboxes
        for name, use in DEFAULT_MAILBOXES:
            await mailboxes.create(principal, name, use)
            await mailboxes.subscribe(principal, name)
        self.fake.principals[address] = principal
        return address

    async def database_value(self, query: str, *arguments: object) -> object:
        """Return what the database says."""
        async with self.database.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def open_door(
        self, *, valkey: str | None = None, poll_interval: float = 60.0, **settings: object
    ) -> Imap:
        """Open a further door, as a further process would."""
        store = Store(str(self.root), 4, False, "test")
        notifier = redis.Notifier(redis.connect(sections.Redis(url=valkey or self.valkey)))
        dispatch = Dispatch(store, self.database, notifier)
        door = imap_server(
            sections.Settings(
                server=sections.Server(hostname="mail.example.test"),
                storage=sections.Storage(path=self.root),
                tls=self.tls,
                imap=msgspec.structs.replace(
                    sections.Imap(address="127.0.0.1", poll_interval=poll_interval), **settings
                ),
                security=sections.Security(
                    plaintext_login_networks=self.plaintext, limit_exempt_networks=("127.0.0.0/8",)
                ),
            ),
            database=self.database,
            store=store,
            notifier=notifier,
            authentication=self.authentication,
            dispatch=dispatch,
        )
        imap = Imap(door, notifier, dispatch)
        notifier.start()
        await door.listen(0, 0)
        imap.port, imap.imaps_port = door.ports
        self.doors.append(imap)
        return imap

    async def close_door(self, imap: Imap) -> None:
        """Close one."""
        self.doors.remove(imap)
        await imap.door.drain(2.0)
        await imap.dispatch.close()
        await imap.notifier.close()
