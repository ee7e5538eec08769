"""Which messages belong together (RFC 8621 §3, RFC 8474 §5.2).

In: the identifiers that messages name and their base subjects. Out: thread ids. Two messages are of one
thread when they share an identifier (Message-ID, In-Reply-To, References) and have the same base subject. A
thread id never changes once given; so a message that comes between two threads joins the older one, and
they stay two.
"""

import hashlib
from collections.abc import Iterable, MutableMapping

import msgspec

from esp.core.mailbox import ContentId


class Threaded(msgspec.Struct, frozen=True):
    """What threading looks at in one message."""

    content: ContentId
    references: frozenset[int]
    """See `reference_hashes`."""


def reference_hashes(identifiers: Iterable[str], base_subject: str) -> frozenset[int]:
    """Return a 64-bit number for each identifier together with the subject.

    RFC 8621 §3: subjects are compared without white space; that case makes no difference is ours (and of
    RFC 5256 §2.1, whose collation it is).
    """
    subject = "".join(base_subject.split()).casefold().encode("utf-8", "surrogatepass")
    return frozenset(
        int.from_bytes(
            hashlib.blake2b(
                identifier.encode("utf-8", "surrogatepass") + b"\0" + subject, digest_size=8
            ).digest(),
            "big",
            signed=True,
        )
        for identifier in identifiers
        if identifier
    )


def assign(messages: Iterable[Threaded], known: MutableMapping[int, int]) -> dict[ContentId, int]:
    """Return a thread id for each message, and add what they make known to `known` (reference to thread)."""
    threads: dict[ContentId, int] = {}
    for message in sorted(messages, key=lambda m: m.content):
        joined = [known[reference] for reference in message.references if reference in known]
        # A new thread has the number of its first message: never used before, and the same if done again.
        thread = min(joined, default=int(message.content))
        for reference in message.references:
            known.setdefault(reference, thread)
        threads[message.content] = thread
    return threads
