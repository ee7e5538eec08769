"""A session's selected mailbox."""

from esp.imap.contexts import Contexts
from esp.native import View
from esp.services.access import Reached
from esp.services.open_mailboxes import OpenMailbox


class Selected:
    """An index shared with other sessions, and what this session knows of it."""

    __slots__ = ("acl_version", "contexts", "name", "object_id", "opened", "own", "rights", "view")

    def __init__(self, reached: Reached, opened: OpenMailbox, view: View) -> None:
        self.name = reached.name
        self.object_id = reached.mailbox.object_id
        self.opened = opened
        self.view = view
        self.own = reached.own
        self.rights = reached.rights
        self.acl_version = reached.mailbox.acl_version
        """The version of the access control list that `rights` come from."""
        self.contexts = Contexts()
