"""Whose mailbox a name is: one's own, another user's, or a shared account's (RFC 2342).

INBOX, work/reports                        the user's own
Other Users/bob@example.test/INBOX         what bob lets others see
Shared Folders/team@example.test/INBOX     what belongs to an account that nobody logs in to
"""

import msgspec

from esp.core.mailbox import DELIMITER

OTHER_USERS = "Other Users"
SHARED = "Shared Folders"

# An address may have the delimiter in it; a character that looks like it and is in no address stands for it.
_LOOKALIKE = "\N{DIVISION SLASH}"


class Place(msgspec.Struct, frozen=True):
    """A name, taken apart."""

    owner: str | None
    """Address of the account, `None` for the user's own."""
    name: str
    """Within that account; empty for a name above its mailboxes."""
    shared: bool = False
    """Whether it is named as a shared account's."""


def place(name: str) -> Place:
    """Return whose mailbox a canonical name is."""
    space, _, rest = name.partition(DELIMITER)
    if space not in {OTHER_USERS, SHARED}:
        return Place(None, name)
    owner, _, name = rest.partition(DELIMITER)
    return Place(owner.replace(_LOOKALIKE, DELIMITER), name, shared=space == SHARED)


def shown(owner: str, name: str, *, shared: bool) -> str:
    """Return the name by which others know an account's mailbox."""
    return DELIMITER.join((SHARED if shared else OTHER_USERS, owner.replace(DELIMITER, _LOOKALIKE), name))
