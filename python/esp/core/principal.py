"""Who is asking: the outcome of authentication, carried through every service call."""

from typing import NewType

import msgspec

AccountId = NewType("AccountId", int)
DomainId = NewType("DomainId", int)


class Principal(msgspec.Struct, frozen=True):
    """An authenticated account."""

    account: AccountId
    address: str
    """The account's own address, normalised (`core.address`)."""
    maildir: str
    """Folder of the account below `storage.path`."""
    admin: bool = False
    credentials: bytes = b""
    """Tells the credentials shown at login from those that may follow them; not of use to log in with."""
