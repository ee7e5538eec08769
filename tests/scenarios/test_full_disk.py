"""A full disk answers 452 or 451, loses nothing, and mail flows again once there is room."""

import asyncio
import os
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.load import Ledger, send_until
from tests.scenarios.test_crash import USERS, settle
from tests.support.instance import Instance

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0755", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def reply_to_one_message(port: int) -> int:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        try:
            client.sendmail("a@load.test", [USERS[0]], b"Subject: one\r\n\r\n" + b"y" * 4000 + b"\r\n")
        except smtplib.SMTPRecipientsRefused as refused:
            return next(iter(refused.recipients.values()))[0]
        except smtplib.SMTPResponseException as error:
            return error.smtp_code
    return 250


async def test_no_room_for_mail(small_disk: Path, instance_factory) -> None:
    instance: Instance = instance_factory(ESP_STORAGE__PATH=str(small_disk / "mail"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (16 * 1024 * 1024))
    ledger, stop = Ledger(), asyncio.Event()
    loads = [
        asyncio.create_task(
            send_until(stop, ledger, instance.ports["smtp"], [USERS[0], USERS[1]], size=16384)
        )
        for _ in range(4)
    ]
    async with asyncio.timeout(120):
        while len(ledger.refused) < 20:
            await asyncio.sleep(0.05)
    assert ledger.promised
    assert await asyncio.to_thread(reply_to_one_message, instance.ports["smtp"]) in {451, 452}
    ballast.unlink()
    before = len(ledger.promised)
    async with asyncio.timeout(60):
        while len(ledger.promised) < before + 20:
            await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*loads)
    settle(ledger, instance)
