"""Where mail for a recipient goes, and whether the one who brings it may send it there.

The directory says what an address is (`Resolution`); `route` turns that into a decision. RFC 5321 §3.6.2 leaves
relaying to policy, and ours is: for principals only.
"""

import msgspec

from esp.core.address import Address
from esp.core.errors import AccountDisabledError, EspError, NoRouteError, NotFoundError, RelayDeniedError
from esp.core.mailbox import MailboxId
from esp.core.principal import AccountId


class LocalTarget(msgspec.Struct, frozen=True):
    """An inbox that mail for a recipient ends in."""

    account: AccountId
    mailbox: MailboxId
    """The account's INBOX."""
    folder: str
    """Its Maildir, below `storage.path`."""
    address: str
    """The account's own address, normalised."""
    detail: str = ""
    """What parted from the address as its tag (RFC 5233): a mailbox of the account may have this name."""


class Local(msgspec.Struct, frozen=True):
    """An address of ours: these inboxes and, from aliases, these addresses elsewhere."""

    targets: tuple[LocalTarget, ...]
    forwards: tuple[Address, ...] = ()


class Remote(msgspec.Struct, frozen=True):
    """An address of a domain that is not ours."""


class NoSuchUser(msgspec.Struct, frozen=True):
    """The domain is ours, the local part is nobody's."""


class Disabled(msgspec.Struct, frozen=True):
    """The domain or the account is ours and switched off."""


Resolution = Local | Remote | NoSuchUser | Disabled


def route(resolution: Resolution, *, authenticated: bool) -> tuple[LocalTarget, ...] | EspError:
    """Return the inboxes to deliver to, or the reason to refuse the recipient."""
    match resolution:
        case Local(targets=targets, forwards=forwards):
            # Until ESP has a queue, an alias that also leads elsewhere must not lose that half: the client keeps it.
            if forwards:
                return NoRouteError("Forwarding is not possible at present")
            return targets
        case Remote():
            if authenticated:
                return NoRouteError("Mail for other servers cannot be sent at present")
            return RelayDeniedError("Relaying denied")
        case NoSuchUser():
            return NotFoundError("No such user here")
        case Disabled():
            return AccountDisabledError("This account is switched off")
