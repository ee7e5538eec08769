"""What somebody may do with a mailbox (RFC 4314 §2).

In: letters as clients write them, and the entries of a mailbox's access control list. Out: `Rights`, and what of them
somebody has. The owner has all rights unless an entry of their own says otherwise, and keeps `l` and `a` in any case,
so that no mailbox can lock its owner out.
"""

from collections.abc import Iterable
from enum import Flag

import msgspec

from esp.core.errors import InvalidError
from esp.core.message import FIRST_KEYWORD_BIT, SystemFlag
from esp.core.principal import AccountId

ANYONE = "anyone"
"""The identifier of everybody in the owner's domain. RFC 4314 §2 has it mean all users of the server; those of other
domains are strangers to each other here, as if each domain were a server of its own."""


class Rights(Flag):
    """The standard rights (RFC 4314 §2.1), in the order in which they are written."""

    NONE = 0
    LOOKUP = 1
    READ = 2
    SEEN = 4
    WRITE = 8
    INSERT = 16
    POST = 32
    CREATE = 64
    DELETE = 128
    DELETE_MESSAGES = 256
    EXPUNGE = 512
    ADMINISTER = 1024


LETTERS: tuple[tuple[str, Rights], ...] = tuple(zip("lrswipkxtea", list(Rights), strict=True))
ALL = Rights(2047)
KEPT_BY_OWNER = Rights.LOOKUP | Rights.ADMINISTER

# RFC 4314 §2.1.1: the rights of RFC 2086 that were split, as those have them for whom `c` covers DELETE.
_VIRTUAL = (("c", Rights.CREATE | Rights.DELETE), ("d", Rights.DELETE_MESSAGES | Rights.EXPUNGE))
_RIGHTS_OF = {**dict(LETTERS), **dict(_VIRTUAL)}


class Grant(msgspec.Struct, frozen=True):
    """An entry of an access control list."""

    account: AccountId | None
    """`None` for `ANYONE`."""
    identifier: str
    """The account's address, or `ANYONE`."""
    negative: bool
    """Whether the rights are taken away (RFC 4314 §2)."""
    rights: Rights


def parse(letters: str) -> Rights:
    """Return the rights that letters stand for.

    Raises:
        InvalidError: a letter is no right; RFC 4314 §3.1 forbids to pass over it.
    """
    rights = Rights.NONE
    for letter in letters:
        try:
            rights |= _RIGHTS_OF[letter]
        except KeyError:
            raise InvalidError(f"The right {letter!a} is not supported") from None
    return rights


def letters(rights: Rights) -> str:
    """Return the letters of rights, without the virtual ones."""
    return "".join(letter for letter, right in LETTERS if right in rights)


def shown(rights: Rights) -> str:
    """Return the letters as clients are told them: with `c` and `d` where a member is there (RFC 4314 §2.1.1)."""
    return letters(rights) + "".join(letter for letter, members in _VIRTUAL if members & rights)


def effective(grants: Iterable[Grant], account: AccountId, *, owner: bool) -> Rights:
    """Return what an account may do.

    Args:
        grants: those that concern it: its own and those of `ANYONE`.
        account: whose rights are wanted.
        owner: whether the mailbox is its own.
    """
    given = taken = Rights.NONE
    own = False
    for grant in grants:
        if grant.account is not None and grant.account != account:
            continue
        if grant.negative:
            taken |= grant.rights
        else:
            given |= grant.rights
            own |= grant.account is not None
    if not owner:
        return given & ~taken
    return ((given if own else ALL) & ~taken) | KEPT_BY_OWNER


def settable_flags(rights: Rights) -> int:
    """Return which bits of a message's flags may be changed (RFC 4314 §4), keywords among them."""
    bits = 0
    if Rights.WRITE in rights:
        bits = ~int(SystemFlag.SEEN | SystemFlag.DELETED)
    if Rights.SEEN in rights:
        bits |= int(SystemFlag.SEEN)
    if Rights.DELETE_MESSAGES in rights:
        bits |= int(SystemFlag.DELETED)
    return bits


def allows_keywords(bits: int) -> bool:
    """Return whether keywords are among the bits of `settable_flags`."""
    return bool(bits >> FIRST_KEYWORD_BIT & 1)
