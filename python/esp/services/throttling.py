"""How often a password may be guessed: failures are counted for each address and for each client.

In: an address, and where its client is. Out: nothing, or `ThrottledError`. The counts are shared through Redis and also
kept in memory, so that the limits of this process hold while Redis is away. A client from a place where the address
logged in lately is not held up by the failures of others, or anybody could lock anybody out.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from esp.config import sections
from esp.core.errors import ThrottledError
from esp.core.expiring import Expiring
from esp.telemetry.log import get_logger
from esp.telemetry.outage import Outage

if TYPE_CHECKING:
    from redis.asyncio import Redis

KNOWN_FOR = 30 * 24 * 3600
CAPACITY = 100_000
REDIS_TIMEOUT = 1.0
TOLD = 10_000
TOLD_FOR = 1.0
"""Seconds for which failure counts from Redis are believed, so that a client that logs in again and again does not
cost a query each time. A failure here ends that time, and our own counts are always current."""

_Keys = tuple[str, str, str]

log = get_logger(__name__)


class Throttle:
    """Counts failures in a window that begins with the first failure."""

    def __init__(
        self,
        redis: "Redis | None",
        settings: sections.Security,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._limit = settings.login_failures
        self._window = settings.login_failure_window
        self._clock = clock
        self._counts: Expiring[str, list[int]] = Expiring(CAPACITY)
        self._known: Expiring[str, bool] = Expiring(CAPACITY)
        self._told_lately: Expiring[tuple[str, str], tuple[_Keys, tuple[int, ...]]] = Expiring(TOLD)
        self._quiet_until = 0.0
        self._outage = Outage()

    async def check(self, address: str, remote: str) -> None:
        """Check that an attempt may be made.

        Raises:
            ThrottledError: too many have failed for this address, or from this client.
        """
        (by_address, by_client, known), shared = await self._told(address, remote)
        if self._count(by_client, shared[1]) >= self._limit:
            raise ThrottledError("Too many failed attempts; try again later")
        if self._count(by_address, shared[0]) >= self._limit:
            if shared[2] or self._known.get(known, self._clock()):
                return
            raise ThrottledError("Too many failed attempts; try again later")

    async def failed(self, address: str, remote: str) -> None:
        """Count a failure."""
        by_address, by_client, _ = _keys(address, remote)
        now = self._clock()
        self._told_lately.drop((address, remote))
        for key in (by_address, by_client):
            count = self._counts.get(key, now)
            if count is None:
                self._counts.put(key, [1], now + self._window)
            else:
                count[0] += 1
        if self._redis is None or now < self._quiet_until:
            return
        async with self._bounded():
            pipeline = self._redis.pipeline(transaction=False)
            for key in (by_address, by_client):
                pipeline.incr(key)
                # NX: the window begins with the first failure, and ends whatever follows.
                pipeline.pexpire(key, max(1, int(self._window * 1000)), nx=True)
            await pipeline.execute()

    async def succeeded(self, address: str, remote: str) -> None:
        """Remember that the address's owner logs in from there."""
        known = _keys(address, remote)[2]
        now = self._clock()
        if self._known.get(known, now):
            return
        self._known.put(known, True, now + 3600)
        if self._redis is None or now < self._quiet_until:
            return
        async with self._bounded():
            await self._redis.set(known, b"1", ex=KNOWN_FOR)

    async def _told(self, address: str, remote: str) -> "tuple[_Keys, tuple[int, ...]]":
        """Return the keys of an attempt and the counts that Redis had for them recently."""
        now = self._clock()
        told = self._told_lately.get((address, remote), now)
        if told is None:
            keys = _keys(address, remote)
            told = keys, await self._shared(*keys)
            self._told_lately.put((address, remote), told, now + TOLD_FOR)
        return told

    def _count(self, key: str, shared: int) -> int:
        own = self._counts.get(key, self._clock())
        return max(own[0] if own else 0, shared)

    async def _shared(self, *keys: str) -> tuple[int, ...]:
        values: Sequence[bytes | str | None] = [None] * len(keys)
        if self._redis is not None and self._clock() >= self._quiet_until:
            async with self._bounded():
                values = await self._redis.mget(keys)
        return tuple(int(value or 0) for value in values)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """Bound a conversation with Redis in time; if it fails, the login does not."""
        try:
            async with asyncio.timeout(REDIS_TIMEOUT):
                yield
        except (RedisError, OSError, TimeoutError) as error:
            # Not every login must wait for a dead server; one try a second finds out when it is back.
            self._quiet_until = self._clock() + 1.0
            if self._outage.begins():
                log.warning("login_throttle_without_redis", error=repr(error))
        else:
            if self._outage.ends():
                log.warning("login_throttle_with_redis_again")


def _keys(address: str, remote: str) -> _Keys:
    # Hashed: what was typed as a name is of any length, and may have been a password.
    name = hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    network = client_network(remote)
    return f"esp:login:address:{name}", f"esp:login:client:{network}", f"esp:login:known:{name}:{network}"


def client_network(remote: str) -> str:
    """Return what stands for one client: an IPv4 address, an IPv6 /64, or the text itself if it is no address."""
    try:
        address = ip_address(remote)
    except ValueError:
        return remote
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        # One customer has a /64 at least, and can use all of its addresses.
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)
