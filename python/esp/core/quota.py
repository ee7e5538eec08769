"""How much an account may keep, and whether more fits (RFC 9208)."""

import msgspec

WARNINGS = (80, 90, 95, 100)
"""Percent of a limit at which the account is said to be filling up."""


class Quota(msgspec.Struct, frozen=True):
    """What an account keeps and may keep; a limit of `None` is none."""

    used: int
    """Octets: the sum of RFC822.SIZE over all messages of all mailboxes."""
    limit: int | None
    messages: int
    message_limit: int | None

    @property
    def unlimited(self) -> bool:
        """Whether anything fits."""
        return self.limit is None and self.message_limit is None

    @property
    def percent(self) -> int | None:
        """How full it is, by the resource that is fuller; `None` without a limit."""
        shares = [
            100 if limit == 0 else used * 100 // limit
            for used, limit in ((self.used, self.limit), (self.messages, self.message_limit))
            if limit is not None
        ]
        return max(shares, default=None)

    def fits(self, octets: int, messages: int = 1) -> bool:
        """Return whether so much more may be kept."""
        if self.limit is not None and self.used + octets > self.limit:
            return False
        return self.message_limit is None or self.messages + messages <= self.message_limit
