"""Redis or Valkey: notifications of changes from process to process, all of which may be lost at any moment.

In: mailboxes and their new mod-sequences. Out: the same, in every process that subscribed, some 150 µs later. A server
that is away, flushed or restarted costs only this speed: nothing here raises an error for it, and listeners compare
with PostgreSQL from time to time (`Notifier.connected` says how often that is worth it).
"""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from esp.config import sections
from esp.core.change import AccountChange, Changes
from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId
from esp.telemetry import lasting
from esp.telemetry.log import get_logger
from esp.telemetry.outage import Outage

MAILBOX_CHANNEL = "esp:mailbox"
"""JSON `[[mailbox, modseq], …]`, one publication for each batch."""
DIRECTORY_CHANNEL = "esp:directory"
"""`changed`, or the number of the one account that changed: what is cached of domains, accounts and aliases is to be
dropped."""

ACCOUNT_CHANNEL = "esp:account"
"""JSON of an `AccountChange`, as an array."""

GATHERING = 0.02
"""Seconds. Under load each publication costs every listening process more than the change itself; the first is sent
at once."""
TIMEOUT = 2.0
LONGEST_PAUSE = 5.0
CHECK_INTERVAL = 15.0
"""Seconds. A subscription over a dead network does not notice, so a ping is sent after so much silence."""

log = get_logger(__name__)

_decode = msgspec.json.Decoder(list[tuple[int, int]]).decode
_decode_account = msgspec.json.Decoder(AccountChange).decode
_encode = msgspec.json.Encoder().encode


def connect(settings: sections.Redis) -> "redis.asyncio.Redis":
    """Return a client that connects at its first use."""
    return redis.asyncio.Redis.from_url(  # type: ignore[no-any-return, unused-ignore]
        settings.url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        health_check_interval=0,
        max_connections=32,
    )


class Notifier:
    """Notifies other processes of changes, and is notified of theirs.

    One for each process. `start` keeps one subscription alive until `close`; without it, the object can only publish.
    """

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._client = client
        self._mailbox_callbacks: list[Callable[[Changes], None]] = []
        self._directory_callbacks: list[Callable[[AccountId | None], None]] = []
        self._account_callbacks: list[Callable[[AccountChange], None]] = []
        self._connection_callbacks: list[Callable[[bool], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._quiet_until = 0.0
        self._publish_outage = Outage()
        self._listen_outage = Outage()
        self._changes: dict[MailboxId, ModSeq] = {}
        self._published = -GATHERING
        self._timer: asyncio.TimerHandle | None = None
        self._publishing: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether notifications are received now; if not, changes have to be looked for."""
        return self._connected.is_set()

    async def until_connected(self) -> None:
        """Wait until notifications are received."""
        await self._connected.wait()

    async def publish(self, changes: Changes) -> None:
        """Notify every process of changed mailboxes; never raises, for polling makes up for a loss.

        What follows within `GATHERING` of the last publication is sent together later; its callers do not wait.
        """
        for mailbox, modseq in changes:
            # Changes need not come here in the order in which PostgreSQL committed them.
            self._changes[mailbox] = max(modseq, self._changes.get(mailbox, modseq))
        if not self._changes or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._published + GATHERING - loop.time()
        if wait > 0:
            self._timer = loop.call_later(wait, self._publish_later)
        else:
            await self._publish_changes()

    async def publish_directory(self, account: AccountId | None = None) -> None:
        """Notify every process that one account, or (`None`) domains, accounts or aliases changed; never raises."""
        await self._publish(DIRECTORY_CHANNEL, b"changed" if account is None else b"%d" % account)

    async def publish_account(self, change: AccountChange) -> None:
        """Notify every process, this one included, of changed names, subscriptions or annotations; never raises."""
        await self._publish(ACCOUNT_CHANNEL, _encode(change))
        if not self.connected:
            self._told_account(change)

    def subscribe(self, callback: Callable[[Changes], None]) -> None:
        """Have `callback` called with every publication of changed mailboxes; it must not block."""
        self._mailbox_callbacks.append(callback)

    def subscribe_directory(self, callback: Callable[[AccountId | None], None]) -> None:
        """Have `callback` called when domains, accounts or aliases change, and when notifications may have been lost.

        It gets the account that changed, if only one did.
        """
        self._directory_callbacks.append(callback)

    def subscribe_accounts(self, callback: Callable[[AccountChange], None]) -> None:
        """Have `callback` called when names, subscriptions or annotations of an account change; it must not block."""
        self._account_callbacks.append(callback)

    def subscribe_connection(self, callback: Callable[[bool], None]) -> None:
        """Have `callback` called with `True` when the subscription works (again) and with `False` when it ends."""
        self._connection_callbacks.append(callback)

    def start(self) -> None:
        """Begin to listen, in a task that keeps trying to connect."""
        if self._task is None:
            self._task = lasting.start("redis-notifier", self._listen)

    async def close(self) -> None:
        """Stop listening and close the connections."""
        await lasting.stop(self._task)
        self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._publish_later()
        if self._publishing:
            await asyncio.wait(self._publishing)
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    def _publish_later(self) -> None:
        self._timer = None
        # A publication may take longer than `GATHERING`, and a task without a reference may be collected at any moment.
        task = asyncio.create_task(self._publish_changes())
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish_changes(self) -> None:
        changes, self._changes = self._changes, {}
        self._published = asyncio.get_running_loop().time()
        await self._publish(MAILBOX_CHANNEL, _encode(list(changes.items())))

    async def _publish(self, channel: str, payload: bytes) -> None:
        # With a dead server, not every delivery must wait for the time-out; one try a second finds out when it is back.
        loop = asyncio.get_running_loop()
        if loop.time() < self._quiet_until:
            return
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._client.publish(channel, payload)
        except (RedisError, OSError, TimeoutError) as error:
            self._quiet_until = loop.time() + 1.0
            if self._publish_outage.begins():
                log.warning("redis_publish_failed", channel=channel, error=repr(error))
        else:
            if self._publish_outage.ends():
                log.warning("redis_publish_works_again")

    def _channels(self) -> list[str]:
        # A busy server's mailboxes change many times a second: a process without a listener does not subscribe.
        asked = {MAILBOX_CHANNEL: self._mailbox_callbacks, ACCOUNT_CHANNEL: self._account_callbacks}
        return [DIRECTORY_CHANNEL, *(channel for channel, callbacks in asked.items() if callbacks)]

    async def _listen(self) -> None:
        pause = 0.1
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    async with asyncio.timeout(TIMEOUT):
                        await pubsub.subscribe(*self._channels())
                    if self._listen_outage.ends():
                        log.warning("redis_subscription_back")
                    self._hearing(True)
                    pause = 0.1
                    await self._hear(pubsub)
            except (RedisError, OSError, TimeoutError) as error:
                if self._listen_outage.begins():
                    log.warning("redis_subscription_lost", error=repr(error))
            finally:
                self._hearing(False)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _hear(self, pubsub: "redis.asyncio.client.PubSub") -> None:
        loop = asyncio.get_running_loop()
        last, asked = loop.time(), False
        while True:
            message = await pubsub.get_message(timeout=CHECK_INTERVAL)
            if message is not None:
                last, asked = loop.time(), False
                if message["type"] == "message":
                    self._told(message["channel"].decode(), message["data"])
            elif loop.time() - last >= CHECK_INTERVAL / 2:
                if asked:
                    raise TimeoutError("no answer to a ping")
                asked = True
                async with asyncio.timeout(TIMEOUT):
                    await pubsub.ping()

    def _told(self, channel: str, data: bytes) -> None:
        if channel == DIRECTORY_CHANNEL:
            self._told_directory(AccountId(int(data)) if data.isdigit() else None)
            return
        try:
            if channel == ACCOUNT_CHANNEL:
                self._told_account(_decode_account(data))
                return
            changes = [(MailboxId(mailbox), ModSeq(modseq)) for mailbox, modseq in _decode(data)]
        except msgspec.DecodeError:
            log.warning("redis_message_unreadable", channel=channel)
            return
        for callback in self._mailbox_callbacks:
            callback(changes)

    def _told_directory(self, account: AccountId | None) -> None:
        for callback in self._directory_callbacks:
            callback(account)

    def _told_account(self, change: AccountChange) -> None:
        for callback in self._account_callbacks:
            callback(change)

    def _hearing(self, now: bool) -> None:
        if now == self._connected.is_set():
            return
        if now:
            self._connected.set()
            self._told_directory(None)
        else:
            self._connected.clear()
        for callback in self._connection_callbacks:
            callback(now)
