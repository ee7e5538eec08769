"""Dialogues of `tests/golden/smtp`: `C:` is sent, `S:` is expected; a `*` at the end stands for anything.

`S: 250-*` stands for all lines of a reply, `S:` alone for the end of the connection.
"""

import pytest

from esp.config.sections import Security
from tests.smtp.support import GOLDEN, Talk, world


async def play(talk: Talk, script: str) -> None:
    expected: list[str] = []
    for number, line in enumerate(script.splitlines(), 1):
        if line.startswith("#") or not line:
            continue
        side, _, text = line.partition(":")
        text = text.removeprefix(" ")
        if side == "C":
            assert not expected, f"line {number}: the server said more: {expected}"
            talk.send(text + "\r\n")
            continue
        if text == "":
            assert await talk.closed(), f"line {number}: the connection is open"
            continue
        if not expected:
            expected = (await talk.reply()).split("\n")
        got = expected.pop(0)
        if text.endswith("-*"):
            expected.clear()
        matches = got.startswith(text[:-1]) if text.endswith("*") else got == text
        assert matches, f"line {number}: expected {text!r}, got {got!r}"


@pytest.mark.parametrize(
    "name", ["transaction", "order", "relay", "outcomes", "chunking", "lmtp", "submission"]
)
async def test_a_dialogue_goes_as_written(name: str) -> None:
    options = {
        "lmtp": {"lmtp": True},
        "submission": {
            "submission": True,
            "security": Security(plaintext_login_networks=("127.0.0.0/8",)),
        },
    }
    async with world(**options.get(name, {})) as made:
        await play(await Talk.to(made, greet=False), (GOLDEN / f"{name}.txt").read_text())
