"""Everything that can go wrong, in one tree.

    EspError
    ├── InvalidError            the request makes no sense as written
    │   └── AddressSyntaxError  not an address of RFC 5321 §4.1.2
    ├── NotFoundError           no such domain, account, mailbox, message
    │   └── MailboxChangedError  the mailbox is not what it was when it was looked up
    ├── AlreadyExistsError      the name is taken
    ├── DeniedError             known who, not allowed
    │   ├── HasChildrenError    a mailbox name that only stands above others
    │   ├── AccountDisabledError  the account or its domain is switched off
    │   ├── NoPermissionError   a right on the mailbox, or being an administrator, is missing
    │   ├── SpecialUseError     the mailbox cannot have this special use
    │   ├── RelayDeniedError    mail for elsewhere, from somebody we do not know
    │   └── SenderDeniedError   the principal does not own the reverse-path
    ├── AuthenticationError     who it is could not be shown
    │   ├── AuthorizationError  the credentials are right, and for somebody else
    │   └── ThrottledError      too many failures; wait
    ├── OverQuotaError          the account's storage or message count is used up
    ├── LimitError              a configured limit (size, count, rate) is exceeded
    │   ├── TooLargeError       the message, or its header, has too many octets
    │   ├── LongAnnotationError  the value of an annotation has too many octets
    │   ├── ManyAnnotationsError  the mailbox, or the server, has too many of them
    │   ├── TooManyRecipientsError  in one transaction; the rest may come in another (transient)
    │   └── MailLoopError       it has been through too many servers
    ├── StorageFullError        the disk, not the account, is full (transient)
    └── UnavailableError        something we depend on does not answer (transient)
        └── NoRouteError        nothing can carry the message to its destination now

`detail` is fit for a stranger's eyes; the cause (`raise … from`) is for the log. `transient` says whether the
same request may succeed later. No wire codes here: each door keeps one table.
"""


class EspError(Exception):
    """Base of every error that ESP raises on purpose."""

    transient = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidError(EspError):
    """The request makes no sense as written."""


class AddressSyntaxError(InvalidError):
    """The text is not an address (RFC 5321 §4.1.2)."""


class NotFoundError(EspError):
    """The thing named does not exist."""


class MailboxChangedError(NotFoundError):
    """The mailbox is gone, or not what it was when it was looked up; it may be looked up again."""


class AlreadyExistsError(EspError):
    """The name is taken."""


class DeniedError(EspError):
    """The principal is known and may not do this."""


class HasChildrenError(DeniedError):
    """The mailbox name is nothing but the superior of others, and cannot be deleted."""


class AccountDisabledError(DeniedError):
    """The account or its domain is switched off."""


class NoPermissionError(DeniedError):
    """The principal lacks a right on the mailbox (RFC 4314), or is no administrator."""


class SpecialUseError(DeniedError):
    """The mailbox cannot have this special use (RFC 6154)."""


class RelayDeniedError(DeniedError):
    """The recipient is elsewhere, and the client is not one that ESP sends for."""


class SenderDeniedError(DeniedError):
    """The principal does not own the address it wants to send from."""


class AuthenticationError(EspError):
    """Who it is could not be shown."""


class AuthorizationError(AuthenticationError):
    """Who it is was shown, but it may not act as whom it named (RFC 4422 §3.4.1)."""


class ThrottledError(AuthenticationError):
    """Too many failed attempts; the client must wait."""

    transient = True


class OverQuotaError(EspError):
    """The account has no room left."""

    transient = True


class LimitError(EspError):
    """A configured limit is exceeded."""


class TooLargeError(LimitError):
    """The message or its header has more octets than allowed."""


class LongAnnotationError(LimitError):
    """The value of an annotation has more octets than allowed."""


class ManyAnnotationsError(LimitError):
    """There are as many annotations as allowed."""


class TooManyRecipientsError(LimitError):
    """The transaction has as many recipients as allowed; others may follow in the next."""

    transient = True


class MailLoopError(LimitError):
    """The message has more Received fields than a journey without a loop needs."""


class StorageFullError(EspError):
    """The disk is full."""

    transient = True


class UnavailableError(EspError):
    """Something ESP depends on does not answer; nothing was changed, or it is not known whether it was."""

    transient = True


class NoRouteError(UnavailableError):
    """Nothing can carry the message to its destination now."""
