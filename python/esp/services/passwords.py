"""Passwords: what is stored of one, and whether a given one matches (argon2id, RFC 9106; SCRAM, RFC 7677).

In: a password as typed. Out: `NewPassword` for the database, or yes and no. The work is slow on purpose and done by few
threads, each of which needs the memory of one hash. When too many callers wait, the next is told to come again.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from esp.core.errors import InvalidError, UnavailableError
from esp.core.sasl import prepared, scram_credentials
from esp.storage.postgres.directory import NewPassword

R = TypeVar("R")

MEMORY = 19 * 1024
"""KiB. With two passes, this is the least that OWASP's password storage guide names; 20 ms of one core."""
PASSES = 2
SCRAM_ITERATIONS = 10_000
"""RFC 7677 §4 asks for 4096 at least; the client computes them too, at every login."""
LONGEST_PASSWORD = 1024
"""Octets."""
LONGEST_WAIT = 10.0
MOST_WAITING = 500

_NOBODY = f"$argon2id$v=19$m={MEMORY},t={PASSES},p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43
"""A hash that no password has; comparing with it takes as long as with any other."""


class Passwords:
    """Hashes and compares in its own threads; `close` ends them."""

    def __init__(self, threads: int = 0) -> None:
        count = threads or min(os.cpu_count() or 1, 4)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="password")
        self._free = asyncio.Semaphore(count)
        self._waiting = 0
        self._hasher = argon2.PasswordHasher(time_cost=PASSES, memory_cost=MEMORY, parallelism=1)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a thread to be free, and hold it.

        Raises:
            UnavailableError: too many wait, or it took too long.
        """
        if self._waiting >= MOST_WAITING:
            raise UnavailableError("Too many logins at once")
        self._waiting += 1
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await self._free.acquire()
        except TimeoutError as error:
            raise UnavailableError("Too many logins at once") from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()

    async def matches(self, kept: str | None, password: str) -> bool:
        """Return whether `password` matches the hash; takes as long when there is none. Call it within a `turn`."""
        return await self._run(lambda: self._matches(kept, password))

    def outdated(self, kept: str) -> bool:
        """Return whether the hash was made with other parameters than the current ones."""
        return self._hasher.check_needs_rehash(kept)

    async def rehashed(self, password: str) -> str:
        """Return the hash of a password with the current parameters. Call it within a `turn`."""
        return await self._run(lambda: self._hasher.hash(prepared(password)))

    async def new(self, password: str) -> NewPassword:
        """Return what to store of a password.

        Raises:
            InvalidError: it is empty, too long, or has characters that cannot be used.
            UnavailableError: see `turn`.
        """
        text = prepared(password)
        if len(text.encode()) > LONGEST_PASSWORD:
            raise InvalidError(f"The password is longer than {LONGEST_PASSWORD} octets")
        async with self.turn():
            return await self._run(lambda: self.kept(text))

    def kept(self, text: str) -> NewPassword:
        """Return what to store of a prepared password; computed in the calling thread."""
        scram = scram_credentials(text, secrets.token_bytes(16), SCRAM_ITERATIONS)
        return NewPassword(
            password_hash=self._hasher.hash(text),
            scram_salt=scram.salt,
            scram_iterations=scram.iterations,
            scram_stored_key=scram.stored_key,
            scram_server_key=scram.server_key,
        )

    def close(self) -> None:
        """End the threads once they have finished their work."""
        self._threads.shutdown(wait=False)

    def _matches(self, kept: str | None, password: str) -> bool:
        try:
            text = prepared(password[:LONGEST_PASSWORD])
        except InvalidError:
            kept, text = None, "."
        try:
            return self._hasher.verify(kept or _NOBODY, text) and kept is not None
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
