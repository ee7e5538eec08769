"""What SMTP says about a message besides the message: who brings it, from whom, for whom (RFC 5321 §2.3.1)."""

import msgspec

from esp.core.address import Address
from esp.core.principal import Principal
from esp.core.routing import LocalTarget


class Client(msgspec.Struct, frozen=True):
    """Who is connected, as far as it is known now."""

    address: str
    """IPv4 or IPv6, in its shortest form."""
    helo: str = ""
    """What it calls itself; nobody has checked it."""
    protocol: str = "SMTP"
    """The `with` of Received (RFC 3848, RFC 6531 §4.3)."""
    tls: str | None = None
    """Version and cipher."""
    principal: Principal | None = None
    """Set once it has logged in."""


class MailParameters(msgspec.Struct, frozen=True):
    """What came with MAIL."""

    size: int = 0
    """As declared (RFC 1870); 0 when it was not."""
    smtputf8: bool = False


class Recipient(msgspec.Struct, frozen=True):
    """What came with RCPT."""

    address: Address | None
    """`None` is `<postmaster>` without a domain (RFC 5321 §4.5.1)."""


class Accepted(msgspec.Struct, frozen=True):
    """A recipient that was answered 250."""

    recipient: Recipient
    targets: tuple[LocalTarget, ...]


class Arrived(msgspec.Struct, frozen=True):
    """What the door saw of a message while it passed."""

    size: int
    received: int = 0
    """Number of Received fields."""
    has_date: bool = True
    has_message_id: bool = True
