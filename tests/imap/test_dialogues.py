"""Dialogues of `tests/golden/imap`: what a client sends and what it must get, line by line.

`C:` is sent, `S:` must come; `C2:`/`S2:` are a second session of the same account. `…` stands for anything.
`{address}` in a line is the account's, `{LF}` a bare LF. Lines that begin with `#` say what it is about.
"""

import re
from pathlib import Path

import pytest

from tests.imap.client import Client
from tests.imap.world import World

FOLDER = Path(__file__).parent.parent / "golden" / "imap"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.txt")))
async def test_dialogue(name: str, world: World) -> None:
    address = await world.account()
    clients: dict[str, Client] = {}
    try:
        for number, text in enumerate((FOLDER / f"{name}.txt").read_text().splitlines(), 1):
            match = re.fullmatch(r"(C|S)(\d?): ?(.*)", text)
            if match is None:
                assert not text or text.startswith("#"), f"line {number}: {text!r}"
                continue
            who, session, said = match.groups()
            if session not in clients:
                clients[session] = await Client.connect(world.doors[0].port)
            client = clients[session]
            said = said.replace("{address}", address).replace("{LF}", "\n")
            if who == "C":
                client.send(said + "\r\n")
                continue
            line = (await _line(client)).decode()
            pattern = ".*".join(re.escape(part) for part in said.split("…"))
            assert re.fullmatch(pattern, line), f"line {number}: expected {said!r}, got {line!r}"
    finally:
        for client in clients.values():
            await client.close()


async def _line(client: Client) -> bytes:
    import asyncio

    async with asyncio.timeout(10):
        return (await client.reader.readline()).removesuffix(b"\r\n")
