"""Whose login is looked at, and when."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from esp.core.errors import UnavailableError
from esp.core.principal import AccountId, Principal
from esp.services import presence as presence_module
from esp.services.presence import Presence

PRESENT = [AccountId(1), AccountId(2), AccountId(3)]
LATER = 3600.0


class Mouth:
    """A notifier that says what a test wants."""

    connected = True

    def __init__(self) -> None:
        self.say: Callable[[AccountId | None], None] = lambda _: None

    def subscribe_directory(self, callback: Callable[[AccountId | None], None]) -> None:
        self.say = callback


class Asked:
    """A database that knows of no account, and of whom it was asked; or one that is away."""

    def __init__(self) -> None:
        self.accounts: asyncio.Queue[list[int]] = asyncio.Queue()
        self.away = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Asked"]:
        yield self

    async def fetch(self, _: str, accounts: Collection[int]) -> list[object]:
        self.accounts.put_nowait(sorted(accounts))
        if self.away:
            raise UnavailableError("The database does not answer")
        return []

    async def next(self) -> list[int]:
        async with asyncio.timeout(20):
            return await self.accounts.get()


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Mouth, Asked]]:
    monkeypatch.setattr(presence_module, "GATHERING", 0)
    mouth, asked = Mouth(), Asked()
    presence = Presence(cast("Any", asked), cast("Any", mouth), LATER)
    for account in PRESENT:
        presence.enter(Principal(account, f"user{account}@example.test", ""), lambda: None)
    presence.start()
    yield mouth, asked
    await presence.close()


async def test_word_of_one_account_is_about_nobody_else(scene: tuple[Mouth, Asked]) -> None:
    mouth, asked = scene
    mouth.say(AccountId(99))
    mouth.say(AccountId(2))
    assert await asked.next() == [2]
    mouth.say(AccountId(1))
    mouth.say(None)
    assert await asked.next() == PRESENT
    mouth.say(AccountId(3))
    assert await asked.next() == [3]


async def test_after_a_look_that_failed_the_next_one_is_at_everybody(scene: tuple[Mouth, Asked]) -> None:
    mouth, asked = scene
    asked.away = True
    mouth.say(AccountId(2))
    assert await asked.next() == [2]
    asked.away = False
    mouth.say(AccountId(1))
    assert await asked.next() == PRESENT


async def test_by_the_clock_everybody_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "GATHERING", 0)
    asked = Asked()
    presence = Presence(cast("Any", asked), cast("Any", Mouth()), 0.001)
    for account in PRESENT:
        presence.enter(Principal(account, f"user{account}@example.test", ""), lambda: None)
    presence.start()
    assert await asked.next() == PRESENT
    await presence.close()
