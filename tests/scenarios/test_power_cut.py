"""The power goes at any moment: what was answered 250 or OK is there afterwards, whole and once (ADR 4).

SIGKILL leaves the kernel's page cache; here it is lost as well, on the file systems mail servers have.
"""

import asyncio
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.diary import Diary
from tests.scenarios.load import Ledger, send_until
from tests.scenarios.test_crash import USERS, logged_in, settle
from tests.support import debian
from tests.support.instance import Instance
from tests.support.power import Disk, available

SIZES = (500, 2_000, 2_000, 8_000, 60_000, 2_000_000)
"""Octets of the messages of each sender."""
CUTS = int(os.environ.get("ESP_POWER_CUTS", "2"))
SEED = int(os.environ.get("ESP_CRASH_SEED", "20261128"))

pytestmark = pytest.mark.skipif(
    not available(), reason="NOT TESTED: a disk of one's own needs root, FUSE and loop devices"
)


class Machine:
    """An ESP on a disk whose power can be cut."""

    def __init__(self, folder: Path, disk: Disk, name: str = "esp", **environment: str) -> None:
        self.disk = disk
        here = '["127.0.0.1/32"]'
        self.instance = Instance(
            disk.mount / name, ESP_SECURITY__PLAINTEXT_LOGIN_NETWORKS=here, **environment
        )
        self.instance.log = folder / "esp.log"
        self.ledger = Ledger()

    async def cut(self, chance: random.Random, kept: float, until: Callable[[], bool], diary: Diary) -> None:
        """Have mail come in and a client at work, cut the power when it is time, and start again."""
        instance, stop = self.instance, asyncio.Event()
        await asyncio.to_thread(instance.start)
        loads = [
            asyncio.create_task(send_until(stop, self.ledger, instance.ports["smtp"], list(USERS), size=size))
            for size in SIZES
        ]
        writing = asyncio.create_task(diary.write(instance))
        async with asyncio.timeout(60):
            while not until():
                if writing.done():
                    await writing
                    raise AssertionError("The client gave up before the power was cut")
                await asyncio.sleep(chance.random() / 50)
        self.disk.cut(chance, kept)
        await asyncio.to_thread(instance.kill_all)
        stop.set()
        await asyncio.gather(*loads, writing)
        self.disk.restore()
        await asyncio.to_thread(instance.start)

    def close(self) -> None:
        """Leave nobody on the disk."""
        process = self.instance.process
        if process is not None and process.poll() is None:
            self.instance.kill_all()


def assert_whole(instance: Instance) -> None:
    """See that each message has the octets that were sent."""
    for user in USERS:
        with logged_in(instance, user) as client:
            client.select("INBOX", readonly=True)
            _, answer = client.uid("FETCH", "1:*", "(BODY.PEEK[TEXT])")
        texts = [part[1] for part in answer if isinstance(part, tuple)]
        assert texts
        assert all(re.fullmatch(rb"(?:x{70}\r\n)+", text) for text in texts)
        assert {len(text) for text in texts} <= {size // 72 * 72 for size in SIZES}


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
async def test_nothing_promised_is_lost(kind: str, tmp_path: Path) -> None:
    debian.require(f"mkfs.{kind}")
    chance = random.Random(f"{SEED} {kind}")
    with Disk(tmp_path, kind) as disk:
        machine = Machine(tmp_path, disk)
        diary = Diary(USERS[0], chance)
        try:
            for kept in (0.0, *(chance.random() for _ in range(CUTS - 1))):
                mail = len(machine.ledger.promised) + chance.randint(40, 200)
                commands = diary.promised + chance.randint(10, 60)

                def enough(mail: int = mail, commands: int = commands) -> bool:
                    return len(machine.ledger.promised) > mail and diary.promised > commands

                await machine.cut(chance, kept, enough, diary)
                settle(machine.ledger, machine.instance)
                assert_whole(machine.instance)
                await diary.verify(machine.instance)
                await asyncio.to_thread(machine.instance.stop)
        finally:
            machine.close()


async def test_without_syncs_mail_is_lost(tmp_path: Path) -> None:
    """So this disk does forget what it was not told to flush, and the test above can fail."""
    debian.require("mkfs.ext4")
    chance = random.Random(SEED)
    with Disk(tmp_path, "ext4") as disk:
        machine = Machine(tmp_path, disk, ESP_STORAGE__SYNC="false")
        try:
            ledger, diary = machine.ledger, Diary(USERS[0], chance)
            await machine.cut(chance, 0.0, lambda: len(ledger.promised) > 40 and diary.promised > 5, diary)
            with pytest.raises(AssertionError):
                settle(ledger, machine.instance)
            await asyncio.to_thread(machine.instance.stop)
        finally:
            machine.close()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_a_first_start_that_was_cut_off_is_made_whole(kind: str, tmp_path: Path) -> None:
    debian.require(f"mkfs.{kind}")
    chance = random.Random(f"{SEED} {kind} first")
    with Disk(tmp_path, kind) as disk:
        for number in range((CUTS + 1) // 2):
            machine = Machine(tmp_path, disk, str(number))
            instance = machine.instance
            try:
                instance.start(wait=False)
                await asyncio.sleep(chance.random() * 5)
                disk.cut(chance, chance.choice((0.0, chance.random())))
                instance.kill_all()
                disk.restore()
                await asyncio.to_thread(instance.start)
                stop = asyncio.Event()
                await send_until(stop, machine.ledger, instance.ports["smtp"], list(USERS), limit=3)
                settle(machine.ledger, instance)
                await asyncio.to_thread(instance.stop)
            finally:
                machine.close()
