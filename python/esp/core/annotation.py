"""Annotations of mailboxes and of the server: their names and limits (RFC 5464 §3)."""

LONGEST_VALUE = 32 * 1024
"""Octets; RFC 5464 §4.1 wants 1024 at least. A command holds 64 KiB."""
MOST_ENTRIES = 200
"""On one mailbox, or on the server: shared, and private of each user."""

SPECIAL_USE = "/private/specialuse"
"""RFC 6154 §4: what the mailbox is for, as LIST shows it."""
ADMIN = "/shared/admin"
"""RFC 5464 §3.2.1.1: how to reach who runs the server; read-only."""


def is_private(entry: str) -> bool:
    """Return whether an entry is each user's own."""
    return entry == "/private" or entry.startswith("/private/")


def is_within(entry: str, above: str, depth: int | None) -> bool:
    """Return whether `entry` is `above`, or not deeper than `depth` levels below it (RFC 5464 §4.2.2)."""
    if entry == above:
        return True
    if depth == 0 or not entry.startswith(above + "/"):
        return False
    return depth is None or entry.count("/") - above.count("/") <= depth
