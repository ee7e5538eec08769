"""A session's selected mailbox."""

from esp.core.rights import Rights
from esp.imap.contexts import Contexts
from esp.native import View
from esp.services.open_mailboxes import OpenMailbox


class Selected:
    """An index shared with other sessions, and what this one knows of it."""

    __slots__ = ("acl_version", "contexts", "name", "opened", "rights", "view")

    def __init__(self, name: str, opened: OpenMailbox, view: View, rights: Rights, acl_version: int) -> None:
        self.name = name
        self.opened = opened
        self.view = view
        self.rights = rights
        self.acl_version = acl_version
        """Of the list that gave `rights`."""
        self.contexts = Contexts()
