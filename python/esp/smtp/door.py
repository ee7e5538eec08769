"""One listening port: what its connections share, how many there may be, and when they are given up."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from esp.config.sections import Security, Smtp
from esp.core.errors import InvalidError
from esp.core.network import Networks
from esp.core.proxy import FIXED_LENGTH, remaining, source
from esp.native import SmtpCensus, SmtpFront, SmtpLimits, SmtpNumbers, Spool
from esp.services.authentication import Authentication
from esp.services.certificates import HANDSHAKE_TIMEOUT
from esp.services.listening import BACKLOG, listener
from esp.services.reception import Reception
from esp.smtp.connection import SmtpConnection
from esp.smtp.front import Front
from esp.smtp.replies import closing
from esp.smtp.session import SmtpSession
from esp.telemetry import lasting, metrics
from esp.telemetry.log import get_logger

_HEADER_LIMIT = 512 * 1024
"""Octets of a message's header; other widely used servers allow less."""
_MEMORY_BUDGET = 64 * 1024 * 1024
"""Octets of incoming messages that one process keeps in memory."""
_SWEEP = 1.0
_PROXY_TIMEOUT = 10.0


class Door:
    """A port and its sessions."""

    def __init__(
        self,
        name: str,
        *,
        address: str,
        port: int,
        hostname: str,
        reception: Reception,
        spool: Callable[[], Spool],
        smtp: Smtp,
        security: Security,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        lmtp: bool = False,
        authentication: Authentication | None = None,
        numbers: SmtpNumbers | None = None,
        sweep: float = _SWEEP,
    ) -> None:
        """`authentication` makes it a submission door; all others accept no login.

        `numbers` number the connections, and are shared by the doors of a process: the log identifies a connection by
        its number.
        """
        self.name = name
        # Bound now: the lazy logger would be bound again for each event, even for those that are not logged.
        self.log = get_logger(__name__).bind(door=name)
        self.numbers = SmtpNumbers() if numbers is None else numbers
        self.hostname = hostname
        self.reception = reception
        self.spool = spool
        self.tls = tls
        self.lmtp = lmtp
        self.authentication = authentication
        self.submission = authentication is not None
        self.idle_timeout = smtp.idle_timeout
        self.data_timeout = smtp.data_timeout
        self.max_errors = smtp.max_errors
        self.max_message_size = smtp.max_message_size
        self.max_recipients = smtp.max_recipients
        self.limits = SmtpLimits(
            size_limit=smtp.max_message_size,
            header_limit=min(_HEADER_LIMIT, smtp.max_message_size),
            authserv_id=hostname,
            memory_limit=smtp.memory_limit,
            memory_budget=_MEMORY_BUDGET,
        )
        self.greeting = f"220 {hostname} {'LMTP' if lmtp else 'ESMTP'} ESP\r\n".encode()
        self.hello = b"LHLO" if lmtp else b"EHLO"
        self.hidden = {"smtp_HELO", "smtp_EHLO"} if lmtp else {"smtp_LHLO"}
        if not self.submission:
            self.hidden.add("smtp_AUTH")
        self.draining = False
        self.loop: asyncio.AbstractEventLoop
        self._address = address
        self.port = port
        """The port in use, once open, if 0 was configured."""
        self._implicit_tls = implicit_tls
        self._max_connections = smtp.max_connections
        self._max_per_address = smtp.max_connections_per_ip
        self._exempt = Networks.parse(security.limit_exempt_networks)
        self._plaintext_login = Networks.parse(security.plaintext_login_networks)
        self._proxies = Networks.parse(security.proxy_networks)
        self._sweep_interval = sweep
        self._sessions: set[SmtpConnection] = set()
        self.census = SmtpCensus()
        self._features: dict[tuple[bool, bool, bool], bytes] = {}
        self._replies: Counter[tuple[str, bytes]] = Counter()
        self._entered = 0
        self._octets = 0
        self._empty = asyncio.Event()
        self._orphans: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._acceptor: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._meeting: set[asyncio.Task[None]] = set()
        self.front: Front | None = None
        """Answers before the sessions, once open, unless TLS begins with the first octet or there is a login."""

    # --- opening and closing ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken or not permitted.
        """
        self.loop = asyncio.get_running_loop()
        tls = self.tls if self._implicit_tls else None
        listening = listener(self._address, self.port)
        self.port = listening.getsockname()[1]
        if self._proxies.members:
            self._listener = listening
            self._acceptor = lasting.start("proxy-acceptor", partial(self._accept, listening))
        elif tls is None and not self.submission:
            self.front = Front(self, self._thread(listening))
        else:
            self._server = await self.loop.create_server(
                lambda: SmtpSession(self),
                sock=listening,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT if tls is not None else None,
                backlog=BACKLOG,
            )
        self._sweeper = self.loop.call_later(self._sweep_interval, self._sweep)

    def _thread(self, listening: socket.socket) -> SmtpFront:
        return SmtpFront(
            listening.detach(),
            greeting=self.greeting,
            hostname=self.hostname,
            features=self.features(tls=False, login=False, bound=False),
            lmtp=self.lmtp,
            max_message_size=self.max_message_size,
            max_recipients=self.max_recipients,
            limits=self.limits,
            census=self.census,
            numbers=self.numbers,
            most=self._max_connections,
            most_each=self._max_per_address,
            idle=self.idle_timeout,
            data=self.data_timeout,
        )

    def stop_listening(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()
        if self._acceptor is not None:
            self._acceptor.cancel()
        if self._listener is not None:
            self._listener.close()

    async def drain(self, timeout: float) -> None:
        """Take no more connections, let transactions end, then break off everything but deliveries."""
        self.stop_listening()
        self.draining = True
        for session in list(self._sessions):
            session.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if self.front is not None:
                    await self.front.stop()
                while self._sessions:
                    # Cleared again: it may have been set before the front handed over its last connections.
                    self._empty.clear()
                    await self._empty.wait()
        deliveries = [session.task for session in self._sessions if session.task is not None]
        deliveries += self._orphans
        if self.front is not None:
            deliveries += self.front.deliveries
        for session in list(self._sessions):
            session.abort()
        if self.front is not None:
            self.front.close()
        if deliveries:
            # A delivery that hangs must not keep the process alive: its reply was never sent, so nothing is lost.
            await asyncio.wait(deliveries, timeout=timeout)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._report()
        self.front = None

    def forget(self) -> None:
        """Look every recipient up again: something about them has changed."""
        if self.front is not None:
            self.front.forget()

    # --- what sessions ask --------------------------------------------------------------------------------------

    def enter(self, session: SmtpConnection, address: IPv4Address | IPv6Address) -> bytes | None:
        """Count a new session in, or return the reply that refuses it."""
        self._entered += 1
        if self.draining:
            return closing("4.3.2", self.hostname, "Shutting down")
        crowd = self.census.enter(address, self._max_connections, self._max_per_address)
        if crowd == "address" and address in self._exempt:
            crowd = self.census.enter(address, self._max_connections, None)
        if crowd == "all":
            return closing("4.7.0", self.hostname, "Too many connections")
        if crowd == "address":
            return closing("4.7.0", self.hostname, "Too many connections from your address")
        self._sessions.add(session)
        return None

    def adopt(self, session: SmtpConnection) -> None:
        """Add a session that was counted in already."""
        self._sessions.add(session)

    def leave(self, session: SmtpConnection, address: IPv4Address | IPv6Address) -> None:
        """Count a session out."""
        self._sessions.discard(session)
        self.census.leave(address)
        if session.task is not None:
            # It delivers what the client has handed over, and no client waits for its reply any more.
            self._orphans.add(session.task)
            session.task.add_done_callback(self._orphans.discard)
        if self.draining and not self._sessions:
            self._empty.set()

    @property
    def sessions(self) -> set[SmtpConnection]:
        """The sessions that are connected."""
        return self._sessions

    def plaintext_login(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether a client at `address` may send a password without TLS."""
        return address in self._plaintext_login

    def features(self, *, tls: bool, login: bool, bound: bool) -> bytes:
        """Return the reply to EHLO."""
        known = self._features.get((tls, login, bound))
        if known is None:
            lines = [
                self.hostname,
                "PIPELINING",
                f"SIZE {self.max_message_size}",
                "8BITMIME",
                "SMTPUTF8",
                "CHUNKING",
                "ENHANCEDSTATUSCODES",
            ]
            if self.tls is not None and not tls:
                lines.append("STARTTLS")
            if login and self.authentication is not None:
                lines.append("AUTH " + " ".join(self.authentication.mechanisms(bound=bound)))
            lines.append("HELP")
            known = "\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]).encode()
            self._features[tls, login, bound] = known
        return known

    def count(self, verb: str, code: bytes, number: int = 1) -> None:
        """Count replies; the metrics get them once a second, since their files cost more than a reply."""
        self._replies[verb, code] += number

    def accepted(self, size: int) -> None:
        """Count a message."""
        self._octets += size

    # --- once a second ------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(self._sweep_interval, self._sweep)
        now = self.loop.time()
        for session in [session for session in self._sessions if session.is_late(now)]:
            session.expire()
        self._report()

    def _report(self) -> None:
        metrics.SMTP_SESSIONS.labels(self.name).set(self.census.total)
        if self.front is not None:
            self._entered += self.front.report(self.count)
        if self._entered:
            metrics.SMTP_CONNECTIONS.labels(self.name).inc(self._entered)
            self._entered = 0
        if self._octets:
            metrics.MESSAGES_ACCEPTED_BYTES.labels(self.name).inc(self._octets)
            self._octets = 0
        replies, self._replies = self._replies, Counter()
        for (verb, code), number in replies.items():
            text = code.decode()
            metrics.SMTP_REPLIES.labels(self.name, verb, text).inc(number)
            if verb == "MESSAGE":
                if text == "250":
                    metrics.MESSAGES_ACCEPTED.labels(self.name).inc(number)
                else:
                    metrics.MESSAGES_REFUSED.labels(self.name, text).inc(number)

    # --- behind a proxy -----------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, peer = await self.loop.sock_accept(listener)
            except OSError as error:
                # Out of file descriptors: those in use will be free again.
                self.log.warning("accept_failed", error=str(error))
                await asyncio.sleep(0.1)
                continue
            task = self.loop.create_task(self._meet(connection, peer))
            self._meeting.add(task)
            task.add_done_callback(self._meeting.discard)

    async def _meet(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        """Read the client's address, which the proxy sends first, before anything else reads from the socket."""
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            connection.setblocking(False)
            who = peer[0]
            try:
                if peer[0] in self._proxies:
                    async with asyncio.timeout(_PROXY_TIMEOUT):
                        fixed = await self._exactly(connection, FIXED_LENGTH)
                        proxied = source(fixed, await self._exactly(connection, remaining(fixed)))
                    if proxied is not None:
                        who = str(proxied.address)
            except (InvalidError, OSError, TimeoutError) as error:
                self.log.warning("no_proxy_header", proxy=peer[0], error=str(error))
                return
            tls = self.tls if self._implicit_tls else None
            try:
                await self.loop.connect_accepted_socket(
                    lambda: SmtpSession(self, who),
                    connection,
                    ssl=tls,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT if tls is not None else None,
                )
            except (OSError, ssl.SSLError, TimeoutError):
                return
            stack.pop_all()

    async def _exactly(self, connection: socket.socket, length: int) -> bytes:
        octets = b""
        while len(octets) < length:
            more = await self.loop.sock_recv(connection, length - len(octets))
            if not more:
                raise InvalidError("The connection ended in the PROXY header")
            octets += more
        return octets
