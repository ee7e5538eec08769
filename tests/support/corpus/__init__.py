"""Messages of every kind: those that other programs are tested with, and nasty ones made here.

for message in corpus.messages(): …deliver message.octets; what comes back must be the same octets…
"""

import random
from functools import cache

from tests.support.corpus.chance import random_message
from tests.support.corpus.entities import entities
from tests.support.corpus.foreign import FAMILIES, foreign
from tests.support.corpus.message import Message
from tests.support.corpus.multiparts import multiparts, nested, wide

__all__ = ["FAMILIES", "Message", "foreign", "generated", "messages", "nested", "wide"]


@cache
def messages() -> tuple[Message, ...]:
    """Return all messages this machine has, generated ones last; names are unique."""
    return (*foreign(), *generated())


@cache
def generated() -> tuple[Message, ...]:
    """Return messages made here, the same at every run."""
    made = [Message(f"made/{name}", octets) for name, octets in (*entities(), *multiparts())]
    chance = random.Random(5321)
    made += [Message(f"chance/{number}", random_message(chance)) for number in range(120)]
    return tuple(made)
