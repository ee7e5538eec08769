"""Processes die at any moment: what was answered 250 is there exactly once, what was refused is not."""

import asyncio
import imaplib
import os
import random
import re
import signal
import ssl
from collections import Counter

from tests.scenarios.load import Ledger, send_until
from tests.support.instance import Instance

USERS = ("alice@example.test", "bob@example.test")
VICTIMS = ("smtp", "imap", "worker", "supervisor", "postgres", "valkey")
KILLS = int(os.environ.get("ESP_CRASH_KILLS", "8"))
SEED = int(os.environ.get("ESP_CRASH_SEED", "20261122"))


def logged_in(instance: Instance, user: str) -> imaplib.IMAP4_SSL:
    """Return a session of the user's, which ends with its context."""
    context = ssl.create_default_context(cafile=str(instance.ca_file))
    client = imaplib.IMAP4_SSL("localhost", instance.ports["imaps"], ssl_context=context, timeout=60)
    client.login(user, instance.passwords[user])
    return client


def message_ids(instance: Instance, user: str) -> Counter[str]:
    """Count the Message-IDs in the user's inbox, read over IMAP."""
    with logged_in(instance, user) as client:
        client.select("INBOX", readonly=True)
        _, answer = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    octets = b"".join(part[1] for part in answer if isinstance(part, tuple))
    return Counter(re.findall(r"<([^>]+)>", octets.decode()))


async def kill_one(instance: Instance, victim: str, chance: random.Random) -> None:
    """SIGKILL a random process of that role (the supervisor with its whole group), and see ESP ready again."""
    if victim == "supervisor":
        await asyncio.to_thread(instance.kill_group)
        await asyncio.to_thread(instance.start)
    else:
        async with asyncio.timeout(60):
            while not (pids := instance.pids(victim)):  # it may be coming back from another's death
                await asyncio.sleep(0.05)
        os.kill(chance.choice(pids), signal.SIGKILL)
        await asyncio.to_thread(instance.wait_ready)


def settle(ledger: Ledger, instance: Instance) -> None:
    """Compare the ledger with what IMAP shows, and ask the repair tool for its opinion."""
    for user in USERS:
        there = message_ids(instance, user)
        lost = ledger.promised - there.keys()
        doubled = {message_id for message_id, count in there.items() if count != 1}
        invented = there.keys() & ledger.refused
        assert (lost, doubled, invented) == (set(), set(), set())
    assert ledger.permanent == set()
    report = instance.cli("mailbox", "check", "--all", "--json")
    assert report["findings"] == []


async def test_kills_lose_nothing_and_invent_nothing(own_instance: Instance) -> None:
    ledger, stop, chance = Ledger(), asyncio.Event(), random.Random(SEED)
    loads = [
        asyncio.create_task(send_until(stop, ledger, own_instance.ports["smtp"], list(USERS)))
        for _ in range(12)
    ]
    victims = [*VICTIMS, *(chance.choice(VICTIMS) for _ in range(KILLS - len(VICTIMS)))]
    for victim in victims:
        before = len(ledger.promised)
        await kill_one(own_instance, victim, chance)
        async with asyncio.timeout(60):
            while len(ledger.promised) < before + 50:  # mail flows again
                await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*loads)
    assert len(ledger.promised) > 50 * len(victims)
    settle(ledger, own_instance)


async def test_a_forgetful_valkey_loses_nothing(own_instance: Instance) -> None:
    ledger, stop = Ledger(), asyncio.Event()
    loads = [
        asyncio.create_task(send_until(stop, ledger, own_instance.ports["smtp"], list(USERS)))
        for _ in range(6)
    ]
    for _ in range(5):
        before = len(ledger.promised)
        await asyncio.to_thread(own_instance.flush_valkey)
        async with asyncio.timeout(30):
            while len(ledger.promised) < before + 50:
                await asyncio.sleep(0.02)
    stop.set()
    await asyncio.gather(*loads)
    assert not ledger.refused
    settle(ledger, own_instance)
