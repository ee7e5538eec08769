"""Mailbox names: what one may look like, and which names it stands among (RFC 3501 §5.1, RFC 9051 §5.1)."""

import unicodedata
from collections.abc import Iterable

from esp.core.errors import InvalidError
from esp.core.mailbox import DELIMITER

INBOX = "INBOX"
LONGEST_NAME = 1000
"""Octets in UTF-8; well below what a line of any client holds."""
MOST_LEVELS = 50

_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


def canonical(name: str) -> str:
    """Return the one spelling of a name: composed (NFC), its INBOX in capitals (RFC 3501 §5.1: case-insensitive)."""
    name = unicodedata.normalize("NFC", name)
    first, delimiter, rest = name.partition(DELIMITER)
    return INBOX + delimiter + rest if first.upper() == INBOX else name


def for_creation(name: str) -> str:
    """Return the canonical form of a name that a mailbox may be given.

    Raises:
        InvalidError: it is none: empty levels, wildcards, controls, or too long.
    """
    name = canonical(name)
    if not name:
        raise InvalidError("A mailbox name is not empty")
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        raise InvalidError("The mailbox name is too long")
    levels = name.split(DELIMITER)
    if len(levels) > MOST_LEVELS:
        raise InvalidError("The mailbox name has too many levels")
    if not all(levels):
        raise InvalidError("A mailbox name has no empty levels")
    if any(level in {".", ".."} for level in levels):
        raise InvalidError("A level of a mailbox name is not only dots")
    # RFC 3501 §6.3.8: "%" and "*" could not be listed; RFC 9051 §5.1: no controls, no line separators.
    if any(c in "%*" or unicodedata.category(c) in _FORBIDDEN_CATEGORIES for c in name):
        raise InvalidError("The mailbox name has a character that is not allowed")
    return name


def superiors(name: str) -> list[str]:
    """Return the names above a name, the highest first: `a/b/c` has `a` and `a/b`."""
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]


def is_inferior(name: str, superior: str) -> bool:
    """Return whether `name` is somewhere below `superior`."""
    return name.startswith(superior + DELIMITER)


def with_children(names: Iterable[str]) -> frozenset[str]:
    """Return all names that have one of `names` below them."""
    return frozenset(above for name in names for above in superiors(name))
