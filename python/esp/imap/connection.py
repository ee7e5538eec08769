"""One TCP or TLS connection: octets in, events of the Rust reader out, and back-pressure both ways.

While a client is idle there is nothing here but this object: no task, no timer, no buffer. A task runs from the octets
that bring an event until the last event is answered, so pipelined commands are executed one after another
(RFC 3501 §5.5 lets a server do so). A client that sends faster than it is answered is not read from. A client that
does not read is not written to, and a task that waits for it gives up at the connection's deadline.
"""

import asyncio
import ssl
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, cast

from esp.imap.compression import Deflation
from esp.native import (
    AppendLiteral,
    AppendOctets,
    AppendUrl,
    BadCommand,
    Command,
    CommandReader,
    ContinueRequest,
    RawLine,
)
from esp.services.certificates import HANDSHAKE_TIMEOUT, binding_of

if TYPE_CHECKING:
    from esp.core.sasl import ChannelBinding

Event = Command | ContinueRequest | AppendLiteral | AppendUrl | AppendOctets | BadCommand | RawLine

READ_AHEAD = 256 * 1024
"""Octets read but not yet handled at which reading pauses."""
WRITE_HIGH = 256 * 1024
WRITE_LOW = 64 * 1024
INFLATED_AT_ONCE = 64 * 1024
GATHERED = 64 * 1024
"""Octets written at which they are sent without waiting for more."""
PARTS_AT_ONCE = 8
"""Parts of a message handled before other sessions have their turn; they also have it after each command."""
QUIET = 5.0
"""Seconds of silence after which a compressed session lets go of its compressor."""


class Handler(Protocol):
    """What a connection tells its owner."""

    async def handle(self, event: Event) -> None:
        """Answer an event; the next one comes when this returns."""

    async def opened(self) -> None:
        """Write the greeting."""

    def writable(self) -> None:
        """The client has begun to read again."""

    def silent(self) -> None:
        """Nothing has come for as long as `deadline` allowed."""

    def failed(self, error: BaseException) -> None:
        """`handle` raised an error that it should have answered; the connection is being closed."""

    def closed(self) -> None:
        """The connection is gone; called once."""


class Connection(asyncio.Protocol):
    """Feeds a `CommandReader` and runs a `Handler` on its events."""

    __slots__ = ("_closing", "_flow", "_flushing", "_gathered", "_gathering", "_layer", "_line", "_loop", "_lost",
                 "_paused", "_quiet", "_task", "_throttled", "_unsent", "binding", "deadline", "handler", "patience",
                 "peer", "reader", "secure", "slot", "transport")  # fmt: skip

    def __init__(self, handler: Handler, reader: CommandReader, patience: float) -> None:
        self.handler = handler
        self.reader = reader
        self.patience = patience
        """Seconds of silence after which `Handler.silent` is called."""
        self.deadline = 0.0
        self.slot = 0
        self.secure = False
        self.binding: ChannelBinding | None = None
        """What a SASL exchange can be bound to (channel binding)."""
        self.peer = ""
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._flow: asyncio.Future[None] | None = None
        self._line: asyncio.Future[None] | None = None
        self._paused = False
        self._throttled = False
        self._closing = self._lost = False
        self._layer: Deflation | None = None
        self._flushing = False
        self._gathered: list[bytes] = []
        self._gathering = False
        self._unsent = 0
        self._quiet: asyncio.TimerHandle | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self.secure = transport.get_extra_info("ssl_object") is not None
        self.binding = binding_of(transport)
        self.deadline = self._loop.time() + self.patience
        self._task = self._loop.create_task(self._greet())

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self.deadline = self._loop.time() + self.patience
        if self._layer is None:
            self.reader.feed(data)
        else:
            try:
                self._layer.take(data)
                self._inflate()
            except zlib.error:
                self.abort()
                return
        if self._line is not None:
            if not self._line.done():
                self._line.set_result(None)
        elif self._task is None:
            self._task = self._loop.create_task(self._work())
        if not self._throttled and self._is_ahead():
            self._throttled = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.deadline = self._loop.time() + self.patience
        if self._flow is not None and not self._flow.done():
            self._flow.set_result(None)
        self.handler.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._closing = self._lost = True
        if self._quiet is not None:
            self._quiet.cancel()
        for waiter in (self._flow, self._line):
            if waiter is not None and not waiter.done():
                waiter.set_exception(ConnectionResetError("the client is gone"))
        if self._task is not None:
            # The event at hand is still handled to its end, so that other sessions are told of everything durable.
            # Only its waits for the client end, by the exception above.
            self._task.add_done_callback(self._gone)
        else:
            self._gone()

    # What the handler calls

    @property
    def busy(self) -> bool:
        """Whether an event is being handled now."""
        return self._task is not None

    @property
    def paused(self) -> bool:
        """Whether the client does not read what was written."""
        return self._paused

    @property
    def closing(self) -> bool:
        """Whether nothing more will be read."""
        return self._closing

    def write(self, octets: bytes) -> None:
        """Gather octets; they go out at `send`, or when the task waits. To write many, await `drain` in between.

        Sent one by one, each piece would cost a system call and wake the client for what it cannot use yet.
        """
        if not octets or self._closing:
            return
        self._gathered.append(octets)
        self._unsent += len(octets)
        if self._unsent >= GATHERED:
            self.send()
        elif not self._gathering:
            self._gathering = True
            self._loop.call_soon(self._waits)

    def send(self) -> None:
        """Send what was written."""
        if not self._gathered or self._closing:
            return
        octets = self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered)
        self._gathered.clear()
        self._unsent = 0
        if self._layer is None:
            self.transport.write(octets)
            return
        if compressed := self._layer.compress(octets):
            self.transport.write(compressed)
        if not self._flushing:
            # When the task that writes has to wait for something, its batch of responses is complete.
            self._flushing = True
            self._loop.call_soon(self._flush)

    def begin(self, answer: Callable[[], Awaitable[None]]) -> bool:
        """Run `answer`, which no event asked for; events wait until it is done. `False`: an event is being handled."""
        if self._task is not None or self._closing:
            return False
        self._task = self._loop.create_task(self._interlude(answer))
        return True

    async def drain(self) -> None:
        """Wait while the client does not read.

        Raises:
            ConnectionResetError: the client went away.
        """
        if self._closing:
            raise ConnectionResetError("the client is gone")
        self.send()
        if self._paused:
            self._flow = self._loop.create_future()
            try:
                await self._flow
            finally:
                self._flow = None

    async def next_line(self) -> bytes:
        """Wait for a line that is not a command (SASL), and return it.

        Raises:
            ConnectionResetError: the client went away.
            ValueError: the line is too long.
        """
        self.reader.expect_line()
        while (event := self._next()) is None:
            self._resume_reading()
            self._line = self._loop.create_future()
            try:
                await self._line
            finally:
                self._line = None
        if not isinstance(event, RawLine):
            raise ValueError("the line is too long")
        return event.octets

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the TLS handshake; from then on everything is protected.

        Raises:
            ConnectionError, ssl.SSLError, TimeoutError: the handshake failed, and the connection is closed.
        """
        # RFC 9051 §6.2.1, CVE-2011-0411: what the client, or somebody between, has sent in clear text must not count
        # as sent under TLS. It is discarded before the handshake: after it, the first protected octets may be there.
        self.reader.discard()
        self.send()
        transport: asyncio.Transport | None = None
        try:
            transport = await self._loop.start_tls(
                self.transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
            )
        finally:
            if transport is None:
                # asyncio does not tell us of it: between two transports the connection belongs to neither.
                self.abort()
                self.connection_lost(None)
        if transport is None or self._closing:
            raise ConnectionResetError("the client is gone")
        self.transport = transport
        self.transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        self.secure = True
        self.binding = binding_of(transport)

    @property
    def compressed(self) -> bool:
        """Whether there is a compression layer."""
        return self._layer is not None

    def begin_compression(self) -> None:
        """Compress what is written from now on, and inflate what is read (RFC 4978)."""
        self.send()
        self._layer = Deflation()

    def end_compression(self) -> None:
        """End the stream to the client; what it sends from now on is not compressed either (RFC 8437 §4.1)."""
        self.send()
        if self._layer is not None:
            layer, self._layer = self._layer, None
            self.transport.write(layer.finish())
            self.reader.feed(layer.behind)

    def close(self) -> None:
        """End the connection once everything written is sent."""
        if not self._closing:
            self.send()
            self._flush()
            self._closing = True
            self.transport.close()

    def abort(self) -> None:
        """End the connection now."""
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    def expired(self) -> None:
        """Called by the wheel when `deadline` has passed."""
        if self._closing:
            if self.transport is not None:
                self.transport.abort()  # it was closed a whole patience ago, but the client still does not read
        elif self._paused:
            self.abort()
        else:
            self.handler.silent()

    # The task

    async def _greet(self) -> None:
        await self._guarded(self.handler.opened())
        await self._work()

    async def _interlude(self, answer: Callable[[], Awaitable[None]]) -> None:
        await self._guarded(answer())
        await self._work()

    async def _work(self) -> None:
        try:
            parts = 0
            event = self._next()
            while event is not None and not self._closing:
                # Not every answer waits: a client that sends hundreds at once must not have the loop to itself.
                parts = 0 if isinstance(event, Command) else parts + 1
                shares = parts % PARTS_AT_ONCE == 0
                await self._guarded(self.handler.handle(event))
                self.send()
                if self._paused and not self._closing:
                    # Otherwise all responses to a client that sends commands and reads nothing would pile up here.
                    await self._guarded(self.drain())
                self._resume_reading()
                event = None if self._closing else self._next()
                if event is not None and shares:
                    await asyncio.sleep(0)
            # Skipped octets of a refused literal make no event, and may be all that was read ahead.
            self._resume_reading()
        finally:
            self._task = None

    async def _guarded(self, answer: Awaitable[None]) -> None:
        try:
            await answer
        except ConnectionError:
            self.close()
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the top of the door; a Rust panic is not an Exception
            self.handler.failed(error)
            self.close()

    def _gone(self, _: object = None) -> None:
        self.handler.closed()
        # No reference cycle is left from here on: what a connection held (some 25 KiB with TLS) is free at once, not
        # when the garbage collector runs, which it hardly does while little is allocated.
        self.transport = cast("asyncio.Transport", None)
        self.handler = cast("Handler", None)

    def _waits(self) -> None:
        self._gathering = False
        self.send()

    # The compression layer

    def _next(self) -> Event | None:
        event = self.reader.next()
        while event is None and self._layer is not None and self._layer.pending:
            try:
                self._inflate()
            except zlib.error:
                self.abort()
                return None
            event = self.reader.next()
        return event

    def _inflate(self) -> None:
        layer = cast("Deflation", self._layer)
        while layer.pending and self.reader.buffered <= READ_AHEAD:
            self.reader.feed(layer.inflate(INFLATED_AT_ONCE))

    def _flush(self) -> None:
        self._flushing = False
        if self._layer is None or self._closing:
            return
        self.transport.write(self._layer.flush())
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = self._loop.call_later(QUIET, self._fall_silent)

    def _fall_silent(self) -> None:
        if self._layer is not None and not self._flushing:
            self._layer.release()

    # Back-pressure

    def _is_ahead(self) -> bool:
        return self.reader.buffered > READ_AHEAD or (self._layer is not None and self._layer.pending)

    def _resume_reading(self) -> None:
        if self._throttled and not self._closing and not self._is_ahead():
            self._throttled = False
            self.transport.resume_reading()
