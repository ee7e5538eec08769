"""Mailboxes: their identity, their names, their special uses (RFC 3501 §5.1, RFC 9051 §5.1, RFC 6154)."""

from enum import StrEnum
from typing import NewType

import msgspec

from esp.core.principal import AccountId

MailboxId = NewType("MailboxId", int)
ContentId = NewType("ContentId", int)
Uid = NewType("Uid", int)
ModSeq = NewType("ModSeq", int)
GONE = ModSeq(2**63 - 1)
"""Told of a mailbox that was deleted: later than anything a session knows, so all look and find it gone."""

DELIMITER = "/"


class SpecialUse(StrEnum):
    """What a mailbox is for (RFC 6154 §2)."""

    ARCHIVE = "\\Archive"
    DRAFTS = "\\Drafts"
    JUNK = "\\Junk"
    SENT = "\\Sent"
    TRASH = "\\Trash"


DEFAULT_MAILBOXES: tuple[tuple[str, SpecialUse | None], ...] = (
    ("INBOX", None),
    ("Sent", SpecialUse.SENT),
    ("Drafts", SpecialUse.DRAFTS),
    ("Trash", SpecialUse.TRASH),
    ("Junk", SpecialUse.JUNK),
    ("Archive", SpecialUse.ARCHIVE),
)
"""Made with every account, subscribed, in this order."""


class Mailbox(msgspec.Struct, frozen=True):
    """One mailbox as the database has it."""

    id: MailboxId
    account: AccountId
    home: str
    """Folder of its account's Maildirs, below `storage.path`."""
    name: str
    """Unicode, levels parted by `DELIMITER`; the inbox is always spelled `INBOX`."""
    directory: str
    """Folder of its Maildir, below `home` (`.` for INBOX, `.Sent` …)."""
    uidvalidity: int
    uidnext: Uid
    highest_modseq: ModSeq
    messages: int
    unseen: int
    octets: int
    special_use: SpecialUse | None
    keywords: tuple[str, ...]
    """Keyword n of a message's flag set is bit `FIRST_KEYWORD_BIT + n` (`core.message`)."""

    @property
    def object_id(self) -> str:
        """MAILBOXID (RFC 8474 §4): as UIDVALIDITY, one for each mailbox there ever was, through all its names."""
        return f"M{self.uidvalidity}"

    limited: bool
    """Whether its account has a quota."""
    acl_version: int
    """Rises with its access control list; 0 as long as it has had none."""
    first_recent: Uid
    """UIDs from here were shown to no read-write session yet (RFC 3501 §2.3.2)."""
