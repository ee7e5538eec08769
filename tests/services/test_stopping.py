"""What looks now and then can be stopped at any moment, also at the one in which it is told to look."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from esp.services.open_mailboxes import OpenMailboxes
from esp.services.presence import Presence
from esp.services.watching import Watching


class Word:
    """Takes subscriptions, and tells when the test does."""

    connected = False

    def __init__(self) -> None:
        self.tell: list[Callable[[], object]] = []

    def subscribe(self, _: object) -> None:
        """Of mailboxes: not told of here."""

    def subscribe_accounts(self, _: object) -> None:
        """Of accounts: not told of here."""

    def subscribe_directory(self, callback: Callable[[], None]) -> None:
        """Be told that domains or accounts changed."""
        self.tell.append(callback)

    def subscribe_connection(self, callback: Callable[[bool], None]) -> None:
        """Be told that hearing begins or ends."""
        self.tell.append(lambda: callback(True))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("kind", [OpenMailboxes, Presence, Watching])
async def test_told_to_look_and_to_stop_at_once_it_stops(kind: type[Any], turns: int, tmp_path: Path) -> None:
    word = Word()
    nothing = cast("Any", None)
    others = {OpenMailboxes: (word, tmp_path), Presence: (word,), Watching: (nothing, word)}[kind]
    looking = kind(nothing, *others, 60.0)
    looking.start()
    for _ in range(3):
        await asyncio.sleep(0)  # it waits by now

    for tell in word.tell:
        tell()
    for _ in range(turns):
        await asyncio.sleep(0)  # on its way from the event to the task

    async with asyncio.timeout(5):
        await looking.close()
