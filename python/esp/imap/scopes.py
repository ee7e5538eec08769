"""Which mailboxes NOTIFY and ESEARCH mean (RFC 5465 §6, RFC 7377 §2.2)."""

from collections.abc import Collection

from esp.core import mailbox_name
from esp.core.mailbox import DELIMITER
from esp.services.mailboxes import Listed


def covers(mailbox_filter: str, names: Collection[str], name: Listed) -> bool:
    """Return whether a mailbox is among those that a filter names; `SELECTED` is handled elsewhere.

    Args:
        mailbox_filter: as in the grammar, in upper case.
        names: that follow the filter, canonical.
        name: of the mailbox.
    """
    match mailbox_filter:
        case "SUBSCRIBED":
            return name.subscribed
        case "SUBTREE":
            return any(name.name == above or mailbox_name.is_inferior(name.name, above) for above in names)
        case "SUBTREE-ONE":
            # RFC 7377 §2.2: the mailboxes themselves and what is directly below them.
            return name.name in names or name.name.rpartition(DELIMITER)[0] in names
        case "MAILBOXES":
            return name.name in names
        case _:
            # RFC 5465 §6.3: filters may deliver anywhere, so that INBOXES means the personal mailboxes.
            return name.own
