"""Response codes for errors: one table from `core.errors` to the wire (RFC 5530, RFC 3501 §7.1)."""

from collections.abc import Iterator
from contextlib import contextmanager

from esp.core.annotation import LONGEST_VALUE
from esp.core.errors import (
    AccountDisabledError,
    AlreadyExistsError,
    AuthenticationError,
    AuthorizationError,
    DeniedError,
    EspError,
    HasChildrenError,
    InvalidError,
    LimitError,
    LongAnnotationError,
    ManyAnnotationsError,
    NoPermissionError,
    NotFoundError,
    OverQuotaError,
    SpecialUseError,
    StorageFullError,
    ThrottledError,
    TooLargeError,
    UnavailableError,
)

_CODES: dict[type[EspError], str] = {
    InvalidError: "CANNOT",
    NotFoundError: "NONEXISTENT",
    AlreadyExistsError: "ALREADYEXISTS",
    DeniedError: "CANNOT",
    NoPermissionError: "NOPERM",
    SpecialUseError: "USEATTR",
    HasChildrenError: "HASCHILDREN",  # RFC 9051 §7.1
    # RFC 5530 §3: CONTACTADMIN says that only the administrator can help.
    AccountDisabledError: "CONTACTADMIN",
    AuthenticationError: "AUTHENTICATIONFAILED",
    AuthorizationError: "AUTHORIZATIONFAILED",
    # UNAVAILABLE ("temporary failure") rather than AUTHENTICATIONFAILED, at which clients ask for another password.
    ThrottledError: "UNAVAILABLE",
    OverQuotaError: "OVERQUOTA",
    LimitError: "LIMIT",
    TooLargeError: "TOOBIG",  # RFC 7889 §4
    # RFC 5464 §4.3
    LongAnnotationError: f"METADATA MAXSIZE {LONGEST_VALUE}",
    ManyAnnotationsError: "METADATA TOOMANY",
    StorageFullError: "UNAVAILABLE",
    UnavailableError: "UNAVAILABLE",
}


SOME_EXPUNGED = "NO [EXPUNGEISSUED] Some of the messages have been deleted and no longer exist"
UID_REQUIRED = "[UIDREQUIRED] Sequence numbers are not used after ENABLE UIDONLY"
"""Follows BAD (RFC 9586 §3)."""


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A tagged NO or BAD that the door itself decides on: what follows the tag."""

    def __init__(self, response: str) -> None:
        super().__init__(response)
        self.response = response


@contextmanager
def bad_when(error: type[ValueError | InvalidError]) -> Iterator[None]:
    """Answer BAD instead of raising `error`, whose text says what is wrong with the command.

    Raises:
        Refusal: `error` was raised.
    """
    try:
        yield
    except error as raised:
        raise Refusal(f"BAD {text(str(raised))}") from raised


def response_for(error: EspError) -> str:
    """Return what follows the tag for `error`; an error missing from the table is answered as its nearest ancestor."""
    for kind in type(error).__mro__:
        if (code := _CODES.get(kind)) is not None:
            return f"NO [{code}] {text(error.detail)}"
    return "NO [SERVERBUG] Internal error"


def text(detail: str) -> str:
    """Return `detail` as `text` (RFC 3501 §9): one line of ASCII."""
    return detail.encode("ascii", "replace").decode().replace("\r", " ").replace("\n", " ") or "-"
