"""Serves the thread before a door's sessions: recipients, deliveries, and sessions for everything else.

The thread (`rust/esp-smtp/src/front.rs`) has the sockets of a door, and answers what all messages have in common. A
connection that needs anything else is handed over with all that was said so far, and a `SmtpSession` continues it.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from esp.core.envelope import Client, Recipient
from esp.core.errors import EspError
from esp.native import SmtpArrived, SmtpAsked, SmtpClosed, SmtpDeparture, SmtpExhausted, SmtpFront
from esp.services.reception import Located
from esp.smtp.delivery import deliver
from esp.smtp.replies import LOCAL_ERROR
from esp.smtp.session import SmtpSession, parameters_of, path_of
from esp.telemetry.log import Logger

if TYPE_CHECKING:
    from esp.smtp.door import Door

_REMEMBERED = 1.0
"""Seconds for which the thread remembers a recipient and does not ask again."""


class Front:
    """The thread of a door, and the work in the event loop that it asks for."""

    def __init__(self, door: "Door", thread: SmtpFront) -> None:
        self._door = door
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._adoptions: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self.deliveries: set[asyncio.Task[None]] = set()
        """Messages that were handed over and are not answered yet."""
        self._loop.add_reader(self, self._ready)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to do."""
        return self._thread.fileno()

    def forget(self) -> None:
        """Look every recipient up again: something about them has changed."""
        self._thread.forget()

    async def stop(self) -> None:
        """Take no more connections; return when all are closed or were handed over to a session."""
        self._thread.stop()
        await self._closed.wait()
        while self._adoptions:
            await asyncio.wait(self._adoptions)

    def close(self) -> None:
        """End the thread, and break off its remaining connections."""
        self._loop.remove_reader(self)
        self._thread.close()

    def report(self, count: Callable[[str, bytes, int], None]) -> int:
        """Report the replies given since the last time; return the number of connections taken."""
        for verb, code, number in self._thread.counts():
            count(verb, code.encode(), number)
        return self._thread.entered()

    def _ready(self) -> None:
        for notice in self._thread.notices():
            match notice:
                case SmtpArrived():
                    self._begin(self.deliveries, self._deliver(notice))
                case SmtpAsked():
                    self._begin(self._asking, self._ask(notice))
                case SmtpDeparture():
                    self._begin(self._adoptions, self._adopt(notice))
                case SmtpExhausted():
                    self._door.log.warning("accept_failed", source=__name__, error=notice.error)
                case SmtpClosed():
                    self._closed.set()

    def _begin(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _ask(self, asked: SmtpAsked) -> None:
        try:
            located = await self._locate(asked)
        except EspError:
            # A session looks it up again, and tells the client why not.
            self._thread.leave(asked.connection)
        except Exception:
            self._door.log.exception("recipient_failed", source=__name__, connection=asked.connection)
            self._thread.leave(asked.connection)
        else:
            self._thread.accept(asked.connection, located)

    async def _locate(self, asked: SmtpAsked) -> Located:
        recipient = Recipient(path_of(asked.local_part, asked.domain))
        reception = self._door.reception
        located = await reception.locate(recipient)
        located.check(asked.size)
        # Not the answer found above: something may have changed since, and `forget` came before this is remembered.
        known = reception.remembered(recipient)
        if known is not None:
            self._thread.remember(asked.local_part, asked.domain, known, room=known.room, lasting=_REMEMBERED)
        return located

    async def _deliver(self, arrived: SmtpArrived) -> None:
        door, mail = self._door, arrived.mail
        log = door.log.bind(source=__name__, connection=arrived.connection, user=None)
        try:
            transaction = door.reception.resume(
                _client(arrived.address, arrived.hello, arrived.extended, door.lmtp),
                path_of(mail.local_part, mail.domain),
                parameters_of(mail),
                arrived.recipients,
            )
        except Exception:
            log.exception("transaction_not_taken_over")
            refusals = [LOCAL_ERROR] * (len(arrived.recipients) if door.lmtp else 1)
            self._answer(arrived.connection, log, None, refusals)
        else:
            answer = partial(self._answer, arrived.connection, log, transaction.id)
            await deliver(door, log, transaction, arrived.message, answer)

    def _answer(self, connection: int, log: Logger, transaction: str | None, replies: list[bytes]) -> None:
        errors = sum(reply >= b"500" for reply in replies)
        there = self._thread.reply(connection, b"\r\n".join((*replies, b"")), errors)
        for reply in replies:
            self._door.count("MESSAGE", reply[:3])
        if not there:
            log.info(
                "client_left_before_reply",
                transaction=transaction,
                replies=[reply.decode() for reply in replies],
            )

    async def _adopt(self, departure: SmtpDeparture) -> None:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.socket(fileno=departure.descriptor))
            if departure.entered:
                stack.callback(self._door.census.leave, departure.address)
            with contextlib.suppress(OSError):
                await self._loop.connect_accepted_socket(
                    # The thread knows its address: the socket of a client that is gone has none any more.
                    lambda: SmtpSession(self._door, departure.address, departure),
                    connection,
                )
                stack.pop_all()


@lru_cache(maxsize=4096)
def _client(address: str, hello: str, extended: bool, lmtp: bool) -> Client:
    return Client(address, hello, "LMTP" if lmtp else "ESMTP" if extended else "SMTP")
