"""Which mailbox a folder from elsewhere becomes.

Another server's names may hold what ours cannot: our delimiter within a level, wildcards, controls. Such characters
become `_`; two names may become one, and their messages then share a mailbox.
"""

import unicodedata
from collections.abc import Sequence

from esp.core.mailbox import DELIMITER
from esp.core.mailbox_name import INBOX, canonical

_UNWANTED = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REPLACEMENT = "_"


def mailbox_for(levels: Sequence[str], below: str = "") -> str:
    """Return the name for a folder with these levels (none: the inbox), below another mailbox if that is given."""
    name = DELIMITER.join(map(_level, levels))
    if below:
        return f"{below}{DELIMITER}{name}" if name and name.upper() != INBOX else below
    return canonical(name) if name else INBOX


def _level(level: str) -> str:
    kept = "".join(
        _REPLACEMENT if c in f"%*{DELIMITER}" or unicodedata.category(c) in _UNWANTED else c for c in level
    )
    return kept if kept.strip(".") else _REPLACEMENT * max(len(kept), 1)
