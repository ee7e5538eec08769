"""Messages made by chance, of pieces that are odd already."""

import random

from tests.support.corpus.entities import ADDRESSES, DISPOSITIONS, TYPES
from tests.support.corpus.message import lines
from tests.support.corpus.multiparts import multipart

_WORDS = (
    "a",
    "--b",
    "--b--",
    "--bb",
    "",
    " ",
    "\t",
    "x: y",
    "From a",
    ".",
    "..",
    "=C3=84",
    "YQ==",
    "<p>",
    "é",
    "\0",
    "--",
)


def random_message(chance: random.Random) -> bytes:
    """Return a message of anything."""
    fields = ("From", "To", "Cc", "Bcc", "Sender", "Reply-To")
    header = [f"{chance.choice(fields)}: {_random_list(chance)}" for _ in range(chance.randrange(6))]
    header += chance.sample(
        [
            "Subject: " + " ".join(chance.choice(_WORDS) for _ in range(chance.randrange(5))),
            f"Date: Mon, {chance.randrange(40)} Jan 2024 12:00:00 +0{chance.randrange(2000):04}",
            f"Message-ID: <{chance.randrange(10**9)}@example.org>",
            "In-Reply-To: <a@example.org> <b@example.org>",
            "MIME-Version: 1.0",
            "no colon in this line",
            " begins with a blank",
            "X-Empty:",
        ],
        chance.randrange(8),
    )
    chance.shuffle(header)
    return "".join(f"{line}\r\n" for line in header).encode() + _random_entity(chance, 3)


def _random_list(chance: random.Random) -> str:
    separator = chance.choice((", ", ",\r\n\t", "; ", " , "))
    return separator.join(chance.choice(ADDRESSES) for _ in range(chance.randrange(1, 5)))


def _random_entity(chance: random.Random, depth: int) -> bytes:
    body = "\r\n".join(chance.choice(_WORDS) for _ in range(chance.randrange(8)))
    kind = chance.randrange(5 if depth else 2)
    if kind < 2:
        content = [
            f"Content-Type: {chance.choice(TYPES)}",
            f"Content-Disposition: {chance.choice(DISPOSITIONS)}",
        ]
        return lines(*content[: chance.randrange(3)], "") + body.encode()
    if kind == 2:
        return lines("Content-Type: message/rfc822", "") + _random_message_in(chance, depth)
    boundary = chance.choice(("b", "bb", "b=b", "--", "b b"))
    parts = [_random_entity(chance, depth - 1) for _ in range(chance.randrange(4))]
    subtype = chance.choice(("mixed", "alternative", "digest", "Related", "report; report-type=x"))
    end = chance.choice((None, b"", f"--{boundary}--".encode()))
    return multipart(boundary, *parts, subtype=subtype, end=end)


def _random_message_in(chance: random.Random, depth: int) -> bytes:
    return lines(f"Subject: {chance.choice(_WORDS)}", f"From: {_random_list(chance)}") + _random_entity(
        chance, depth - 1
    )
