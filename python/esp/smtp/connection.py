"""One connection: octets to events, events to replies, in order and within bounds (RFC 5321 §4.5.3.2, RFC 2920).

Octets go from `data_received` through the native reader, which returns typed events. Each event is answered at once or,
if something has to be waited for, by the one task that a connection may have. A silent connection has no task, stream
or timer. The class is derived from aiosmtpd's: its commands see the same `push`, `session`, `transport`.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, ClassVar, cast

from aiosmtpd.smtp import SMTP, Session

from esp.core.envelope import Client
from esp.core.errors import EspError
from esp.core.sasl import ChannelBinding
from esp.native import SmtpDeparture, SmtpLine, SmtpProblem, SmtpReader, Spool
from esp.services.certificates import binding_of
from esp.smtp.replies import LOCAL_ERROR, closing, reply_for
from esp.telemetry.log import Logger

if TYPE_CHECKING:
    from esp.core.principal import Principal
    from esp.services.reception import Transaction
    from esp.smtp.door import Door

_READ_AHEAD = 64 * 1024
"""Octets a client may send ahead while it waits for a reply."""
_AT_ONCE = 200
"""Events handled before other connections get their turn."""
_REPLIES_AT_ONCE = 32 * 1024

Waiting = Coroutine[Any, Any, None]


class SmtpConnection(SMTP, ABC):
    """A connection to a `Door`."""

    # The native reader returns whole chunks; these would be per-connection copies of what never changes.
    enable_SMTPUTF8 = True  # noqa: N815 - aiosmtpd's name
    _auth_required = False
    _tls_protocol = None
    _binding: ChannelBinding | None = None
    _original_transport = None
    _handler_coroutine = None
    handlers: ClassVar[dict[type, Callable[..., Waiting | None]]] = {}
    """Handlers by type of event; filled by the subclass."""

    def __init__(self, door: "Door", peer: str | None = None, departure: SmtpDeparture | None = None) -> None:
        # Not `super().__init__`: it looks through all members of two objects and makes a stream, which is half of the
        # cost of a connection. What it would set is set here or by the class.
        self.door = door
        self.loop = door.loop
        self.hostname = door.hostname
        self.tls_context = door.tls
        self.event_handler = door
        self.transport: asyncio.Transport | None = None
        self.session: Session | None = None
        self.envelope = None
        self.native = SmtpReader(door.limits) if departure is None else departure.reader
        self.deadline = 0.0
        """When the connection is given up; the door checks once a second."""
        self.number = next(door.numbers) if departure is None else departure.number
        self.principal: Principal | None = None
        self._log: Logger | None = None
        self._peer = peer
        self._departure = departure
        self._address: IPv4Address | IPv6Address | None = None
        self._client: Client | None = None
        self._transaction: Transaction | None = None
        self._chunking = False
        self._refused: bytes | None = None
        self._spool: Spool | None = None
        self._spool_error: EspError | None = None
        self._data_deadline: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._line: asyncio.Future[SmtpLine | SmtpProblem] | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._errors = 0
        self._scheduled = False
        self._write_paused = False
        self._read_paused = False
        self._eof = False
        self._closing = False
        self._counted = False

    def __del__(self) -> None:
        """Do nothing: the parent's method looks for a stream."""

    # --- the transport's side -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse the connection if there are too many."""
        self.transport = cast("asyncio.Transport", transport)
        host = self._peer or transport.get_extra_info("peername")[0]
        self._address = _address(host)
        self.session = Session(self.loop)
        self.session.peer = host
        if transport.get_extra_info("sslcontext") is not None:
            self._remember_tls(transport)
        self.deadline = self.loop.time() + self.door.idle_timeout
        departure, self._departure = self._departure, None
        if departure is not None and departure.entered:
            self._counted = True
            self.door.adopt(self)
            # Only once the transport reads: until then it cannot be told to pause reading.
            self._scheduled = True
            self.loop.call_soon(self._go_on, departure)
            return
        refusal = self.door.enter(self, self._address)
        if refusal is not None:
            self.transport.write(refusal + b"\r\n")
            self._closing = True
            transport.close()
            return
        self._counted = True
        self.transport.write(self.door.greeting)

    @abstractmethod
    def _go_on(self, departure: SmtpDeparture) -> None:
        """Continue what the front has begun; it has sent the greeting and counted the connection in."""

    def data_received(self, data: bytes) -> None:
        """Take octets, and answer what they complete."""
        if self._closing:
            return
        self.deadline = self.loop.time() + self.door.idle_timeout
        self.native.feed(data)
        if self._line is not None:
            self._give_line(self._line)
        elif self._task is None and not self._scheduled:
            self._advance()
        else:
            self._hold_back()

    def eof_received(self) -> bool:
        """Answer what came before the end; then close."""
        self._eof = True
        if (self._task is None and not self._scheduled) or self._line is not None:
            # Nothing is under way, or the line that AUTH waits for will not come.
            self._close()
        # A TLS transport closes whatever is returned, and logs a warning for `True`.
        return self._tls_protocol is None and not self._closing

    def connection_lost(self, error: Exception | None) -> None:
        """Drop everything but a delivery: after the client's final dot, the message is ours (RFC 5321 §6.1)."""
        self._closing = True
        self._client = None
        if self._counted:
            self._counted = False
            self.door.leave(self, cast("IPv4Address | IPv6Address", self._address))
        if self._line is not None and not self._line.done():
            self._line.set_exception(ConnectionResetError())
        if self._task is None:
            self._forget()
        self.transport = None

    def pause_writing(self) -> None:
        """The client does not read its replies: send nothing more, and do not read from it."""
        self._write_paused = True
        self._hold_back()

    def resume_writing(self) -> None:
        """Continue to send and read."""
        self._write_paused = False
        if self._task is None and not self._scheduled:
            self._advance()

    def is_late(self, now: float) -> bool:
        """Whether the client has been silent for too long."""
        return self.deadline < now or (self._data_deadline is not None and self._data_deadline < now)

    def expire(self) -> None:
        """Give the connection up: nothing came for too long, or a message takes too long."""
        if self._task is not None and self._line is None:
            # The server itself takes long; the client is not to blame.
            return
        if self._write_paused:
            self._abort()
            return
        self._reply(closing("4.4.2", self.hostname, "Timeout, closing connection"), "TIMEOUT")
        self._close()

    def drain(self) -> None:
        """Close, unless a transaction is open; then close at its end."""
        if self._transaction is None and self._task is None and not self._scheduled:
            self._reply(closing("4.3.2", self.hostname, "Shutting down"), "DRAIN")
            self._close()

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The task that the connection waits for."""
        return self._task

    def abort(self) -> None:
        """Break the connection off; a delivery that has begun goes on."""
        self._abort()

    # --- from event to event ------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Handle events until one has to wait for something, or none is left."""
        waiting = self._handle()
        if waiting is not None:
            self._task = self.loop.create_task(self._work(waiting))
        else:
            self._settle()

    async def _work(self, waiting: Waiting | None) -> None:
        try:
            while waiting is not None:
                await self._guarded(waiting)
                waiting = self._handle()
        finally:
            self._task = None
            if self._closing:
                self._forget()
            else:
                # The time that the server took is not the client's delay.
                self.deadline = self.loop.time() + self.door.idle_timeout
                self._settle()

    def _settle(self) -> None:
        self._flush()
        if self._closing:
            return
        if self._eof and not self._scheduled:
            self._close()
        elif self.door.draining:
            self.drain()
        elif self._read_paused and not self._write_paused and not self._scheduled:
            self._read_paused = False
            cast("asyncio.Transport", self.transport).resume_reading()

    def _handle(self) -> Waiting | None:
        """Handle events until one has to wait for something; return what that one waits for."""
        handlers = self.handlers
        for _ in range(_AT_ONCE):
            if self._closing or self._write_paused:
                return None
            event = self.native.next()
            if event is None:
                return None
            try:
                waiting = handlers[type(event)](self, event)
            except Exception as error:
                self._failed(error)
                continue
            if waiting is not None:
                return waiting
            if self._out_size > _REPLIES_AT_ONCE:
                self._flush()
        if not self._scheduled:
            self._scheduled = True
            self._hold_back()
            self.loop.call_soon(self._resume)
        return None

    def _resume(self) -> None:
        self._scheduled = False
        if self._task is None:
            self._advance()

    async def _guarded(self, waiting: Waiting) -> None:
        """Wait for a handler, and answer any error."""
        try:
            await waiting
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Answer an error of a handler; called from the `except` block."""
        if isinstance(error, EspError):
            return self._reply(reply_for(error), "")
        if isinstance(error, (ConnectionError, ssl.SSLError, TimeoutError)):
            return self._abort()
        log = self.log.bind(source=__name__)
        log.exception("command_failed", peer=str(self._address))
        if self._data_deadline is None:
            return self._reply(LOCAL_ERROR, "")
        # Among a message's octets no reply is due: the client would match it, and all later ones, to other commands.
        self._reply(closing("4.3.0", self.hostname, "Local error, closing connection"), "")
        return self._close()

    def _hold_back(self) -> None:
        if (
            not self._read_paused
            and self.transport is not None
            and (self._write_paused or self.native.buffered > _READ_AHEAD)
        ):
            self._read_paused = True
            self.transport.pause_reading()

    def _reply(self, reply: bytes, verb: str) -> None:
        """Queue one reply; count it, and end the session at too many refusals."""
        self._queue(reply, verb)
        if reply >= b"500":
            self._count_errors(1)

    def _reply_each(self, replies: Sequence[bytes], verb: str) -> None:
        """Queue what each recipient is told, all of it before the session ends (RFC 2033 §4.2)."""
        for reply in replies:
            self._queue(reply, verb)
        self._count_errors(sum(reply >= b"500" for reply in replies))

    def _queue(self, reply: bytes, verb: str) -> None:
        self._out.append(reply)
        self._out_size += len(reply)
        self.door.count(verb, reply[:3])

    def _count_errors(self, number: int) -> None:
        self._errors += number
        if self._errors > self.door.max_errors:
            self._out.append(closing("4.7.0", self.hostname, "Too many errors"))
            self._close()

    def _answer(self, reply: bytes, verb: str) -> Waiting | None:
        """Reply, for a handler that has nothing to wait for."""
        self._reply(reply, verb)
        return None

    def _flush(self) -> None:
        if self._out and self.transport is not None and not self.transport.is_closing():
            self._out.append(b"")
            self.transport.write(b"\r\n".join(self._out))
            self._out.clear()
            self._out_size = 0

    async def push(self, status: str | bytes) -> None:
        """Send a reply for one of aiosmtpd's commands; written with the next flush."""
        self._reply(status.encode() if isinstance(status, str) else status, "")

    def _close(self) -> None:
        self._flush()
        self._closing = True
        if self.transport is not None:
            self.transport.close()

    def _abort(self) -> None:
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    def _forget(self) -> None:
        """End the transaction."""
        self._transaction = None
        self._chunking = False
        self._refused = None
        self._spool_error = None
        self._data_deadline = None
        self.native.forget()
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    # --- lines that are not commands ----------------------------------------------------------------------------

    async def readline(self) -> SmtpLine | SmtpProblem:
        """Return the client's next line, which is not a command (RFC 4954 §4), or why it is invalid."""
        self.native.expect_line()
        self._flush()
        line: asyncio.Future[SmtpLine | SmtpProblem] = self.loop.create_future()
        self._give_line(line)
        if not line.done():
            self._line = line
            self._settle()
        try:
            return await line
        finally:
            self._line = None

    def _give_line(self, line: "asyncio.Future[SmtpLine | SmtpProblem]") -> None:
        event = self.native.next()
        if event is not None and not line.done():
            line.set_result(cast("SmtpLine | SmtpProblem", event))

    # --- the log ------------------------------------------------------------------------------------------------

    @property
    def log(self) -> Logger:
        """Logs with the number of the connection, and with the account that has logged in; made when first needed."""
        if self._log is None:
            user = None if self.principal is None else self.principal.address
            source = type(self).__module__
            self._log = self.door.log.bind(source=source, connection=self.number, user=user)
        return self._log

    # --- what is known of the client ----------------------------------------------------------------------------

    def _who(self, *, smtputf8: bool) -> Client:
        """Return the client as Received describes it; made once, until something changes."""
        if self._client is None or smtputf8:
            session = cast("Session", self.session)
            protocol = "LMTP" if self.door.lmtp else "ESMTP" if session.extended_smtp else "SMTP"
            if protocol != "SMTP":
                # RFC 3848, RFC 6531 §4.3.
                base = f"UTF8{protocol.removeprefix('E')}" if smtputf8 else protocol
                protocol = base + ("S" if self._tls_protocol else "") + ("A" if self.principal else "")
            client = Client(
                str(self._address), session.host_name or "", protocol, self._tls_protocol, self.principal
            )
            if smtputf8:
                return client
            self._client = client
        return self._client

    def _remember_tls(self, transport: asyncio.BaseTransport) -> None:
        self._binding = binding_of(transport)
        tls = transport.get_extra_info("ssl_object")
        cipher = tls.cipher() if tls is not None else None
        # aiosmtpd only asks whether there is a `_tls_protocol`.
        self._tls_protocol = f"{tls.version()} with cipher {cipher[0]}" if cipher else "TLS"


@lru_cache(maxsize=4096)
def _address(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
