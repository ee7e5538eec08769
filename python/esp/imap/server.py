"""The listening door: takes connections, holds what sessions share, and lets them go when it closes."""

import asyncio
import itertools
from collections import Counter
from typing import TypeVar

from esp.config.sections import Settings
from esp.core.network import Networks
from esp.core.principal import AccountId, Principal
from esp.imap.connection import Connection
from esp.imap.memory import Trimmer
from esp.imap.selected import Selected
from esp.imap.session import Session
from esp.imap.wheel import Wheel
from esp.native import Spool, Store
from esp.services import certificates
from esp.services.annotations import Annotations
from esp.services.appends import Appends
from esp.services.authentication import Authentication
from esp.services.contents import Contents
from esp.services.file_failures import file_errors
from esp.services.listening import BACKLOG, listener
from esp.services.mailboxes import Mailboxes
from esp.services.messages import Messages
from esp.services.open_mailboxes import OpenMailboxes
from esp.services.presence import Presence
from esp.services.quotas import Quotas
from esp.services.search import Searching
from esp.services.sharing import Sharing
from esp.services.watching import Watching
from esp.telemetry import metrics
from esp.telemetry.log import get_logger

MOST_CONNECTIONS_PER_ADDRESS = 1000
"""Connections to one process; does not hold for `security.limit_exempt_networks`."""

log = get_logger(__name__)


class ImapServer:
    """The IMAP door of one process, and what its sessions share.

    `start` begins to listen; `drain` says goodbye to all clients.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        authentication: Authentication,
        mailboxes: Mailboxes,
        annotations: Annotations,
        sharing: Sharing,
        quotas: Quotas,
        messages: Messages,
        open_mailboxes: OpenMailboxes,
        searching: Searching,
        appends: Appends,
        presence: Presence,
        contents: Contents,
        watching: Watching,
    ) -> None:
        """Make the door; nothing listens yet.

        Raises:
            OSError: the certificate or its key cannot be read.
            ssl.SSLError: they are not a certificate and a key, or do not belong together.
        """
        self.settings = settings.imap
        self.hostname = settings.server.hostname
        self.authentication = authentication
        self.mailboxes = mailboxes
        self.annotations = annotations
        self.sharing = sharing
        self.quotas = quotas
        self.messages = messages
        self.open_mailboxes = open_mailboxes
        self.searching = searching
        self.appends = appends
        self.presence = presence
        self.watching = watching
        self.tls = certificates.server_context(settings.tls)
        self.ports: list[int] = []
        """The ports it listens on; they differ from the settings when these say 0 in a test."""
        self.numbers = itertools.count(1)
        """Numbers for its sessions."""
        self.contents = contents
        self.wheel: Wheel
        self._store = store
        self._tls_settings = settings.tls
        self._plaintext = Networks.parse(settings.security.plaintext_login_networks)
        self._exempt = Networks.parse(settings.security.limit_exempt_networks)
        self._sessions: set[Session] = set()
        self._by_address: Counter[str] = Counter()
        self._by_account: Counter[AccountId] = Counter()
        self._servers: list[asyncio.Server] = []
        self._draining = False
        self._trimmer = Trimmer()
        self._empty = asyncio.Event()

    # The life of the door

    async def start(self) -> None:
        """Listen on the configured ports (0: not); several processes can listen on the same ones.

        Raises:
            OSError: an address is in use, or not one of this machine.
        """
        await self.listen(self.settings.port or None, self.settings.imaps_port or None)

    async def listen(self, port: int | None, imaps_port: int | None) -> None:
        """Listen on two ports; `None` for no port, 0 for any that is free.

        Raises:
            OSError: an address is in use, or not one of this machine.
        """
        loop = asyncio.get_running_loop()
        self.wheel = Wheel(loop)
        for wanted, secure in ((port, False), (imaps_port, True)):
            if wanted is None:
                continue
            if secure and self.tls is None:
                log.warning("no_certificate_no_imaps_door", port=wanted)
                continue
            server = await loop.create_server(
                self._connection,
                sock=listener(self.settings.address, wanted),
                ssl=self.tls if secure else None,
                ssl_handshake_timeout=certificates.HANDSHAKE_TIMEOUT if secure else None,
                backlog=BACKLOG,
            )
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])
        self.open_mailboxes.start()
        self.presence.start()
        self.watching.start()
        log.info("listening", door="imap", ports=self.ports)

    def reload(self) -> None:
        """Read the certificate again; open connections keep theirs, and a bad one changes nothing.

        Raises:
            OSError, ssl.SSLError: as when the door was made.
        """
        if self.tls is not None:
            certificates.reload(self.tls, self._tls_settings)

    async def drain(self, timeout: float) -> None:
        """Take no more connections, say BYE, and wait for commands that are being answered."""
        self._draining = True
        for server in self._servers:
            server.close()
        for session in tuple(self._sessions):
            if not session.connection.busy:
                session.bye("The server is going down")
        try:
            async with asyncio.timeout(timeout):
                while self._sessions:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            for session in tuple(self._sessions):
                session.bye("The server is going down")
                session.connection.abort()
        self.wheel.close()
        await self.open_mailboxes.close()
        await self.presence.close()
        await self.watching.close()

    @property
    def draining(self) -> bool:
        """Whether sessions are to end after their current command."""
        return self._draining

    # Connections and logins

    def _connection(self) -> Connection:
        return Session(self).connection

    def admit(self, session: Session) -> str | None:
        """Count a connection in; return the reason if it may not stay."""
        connection = session.connection
        self._sessions.add(session)
        self._by_address[connection.peer] += 1
        self.wheel.add(connection)
        metrics.IMAP_SESSIONS.set(len(self._sessions))
        metrics.IMAP_CONNECTIONS.labels("imaps" if connection.secure else "imap").inc()
        if self._draining:
            return "The server is going down"
        if len(self._sessions) > self.settings.max_connections:
            return "[UNAVAILABLE] Too many connections"
        if (
            self._by_address[connection.peer] > MOST_CONNECTIONS_PER_ADDRESS
            and connection.peer not in self._exempt
        ):
            return "[UNAVAILABLE] Too many connections from this address"
        return None

    def admit_login(self, session: Session, principal: Principal) -> str | None:
        """Count a login in; return the reason if it is not allowed."""
        if (
            self._by_account[principal.account] >= self.settings.max_connections_per_user
            and session.connection.peer not in self._exempt
        ):
            return "Too many connections of this account"
        self._by_account[principal.account] += 1
        self.presence.enter(principal, session.end_login)
        return None

    def dismiss(self, session: Session) -> None:
        """Count a connection out."""
        if session not in self._sessions:
            return
        self.wheel.remove(session.connection)
        self._trimmer.closed()
        self._sessions.discard(session)
        metrics.IMAP_SESSIONS.set(len(self._sessions))
        _decrease(self._by_address, session.connection.peer)
        self.dismiss_login(session)
        if not self._sessions:
            self._empty.set()

    def dismiss_login(self, session: Session) -> None:
        """Count a login out, if there is one."""
        if session.principal is not None:
            self.presence.exit(session.principal, session.end_login)
            _decrease(self._by_account, session.principal.account)

    def is_plaintext_network(self, peer: str) -> bool:
        """Return whether a client at `peer` may send a password without TLS (`security.plaintext_login_networks`)."""
        return peer in self._plaintext

    # What sessions share

    def close_selected(self, selected: Selected) -> None:
        """Give a selected mailbox back."""
        self.open_mailboxes.release(selected.opened)

    def spool(self) -> Spool:
        """Return a spool file on the disk for a large message.

        Raises:
            StorageFullError, UnavailableError: it cannot be made.
        """
        with file_errors():
            return self._store.spool()


Key = TypeVar("Key")


def _decrease(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
