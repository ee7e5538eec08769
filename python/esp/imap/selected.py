"""A session's selected mailbox."""

from esp.native import View
from esp.services.open_mailboxes import OpenMailbox


class Selected:
    """An index shared with other sessions, and what this one knows of it."""

    __slots__ = ("name", "opened", "view")

    def __init__(self, name: str, opened: OpenMailbox, view: View) -> None:
        self.name = name
        self.opened = opened
        self.view = view
