"""Dialogues of `tests/golden/imap`: what a client sends and what it must get, line by line.

`C:` is sent, `S:` must come; `C2:`/`S2:` are a second session of the same account. `…` stands for anything.
`{address}` in a line is the account's, `{plain}` its response to AUTHENTICATE PLAIN, `{LF}` a bare LF. Lines that
begin with `#` say what it is about. A first line `Account: quota=2048 messages=4` gives the account these limits.
"""

import re
from base64 import b64encode
from pathlib import Path

import pytest

from tests.imap.client import Client
from tests.imap.world import World

pytestmark = pytest.mark.usefixtures("prompt_refusals")

FOLDER = Path(__file__).parent.parent / "golden" / "imap"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.txt")))
async def test_dialogue(name: str, world: World) -> None:
    lines = dict(enumerate((FOLDER / f"{name}.txt").read_text().splitlines(), 1))
    limits = re.findall(r"(quota|messages)=(\d+)", lines.pop(1)) if lines[1].startswith("Account:") else ()
    address = await world.account(**{limit: int(value) for limit, value in limits})
    plain = b64encode(f"\0{address}\0secret".encode()).decode()
    words = {"{address}": address, "{plain}": plain, "{LF}": "\n"}
    clients: dict[str, Client] = {}
    try:
        for number, text in lines.items():
            match = re.fullmatch(r"(C|S)(\d?): ?(.*)", text)
            if match is None:
                assert not text or text.startswith("#"), f"line {number}: {text!r}"
                continue
            who, session, said = match.groups()
            if session not in clients:
                clients[session] = await Client.connect(world.doors[0].port)
            client = clients[session]
            for word, meant in words.items():
                said = said.replace(word, meant)
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
