"""Every reply of the SMTP doors that is not part of one command's own dialogue (RFC 5321 §4.2, RFC 3463).

`_STATUS` is the one table from `core.errors` to the wire; the two others translate what the native reader found.
"""

from esp.core import errors

_STATUS: dict[type[errors.EspError], str] = {
    # An error that is missing here is answered as its nearest ancestor.
    errors.InvalidError: "501 5.5.4",
    errors.AddressSyntaxError: "553 5.1.3",
    errors.NotFoundError: "550 5.1.1",
    errors.AlreadyExistsError: "550 5.3.5",
    errors.DeniedError: "550 5.7.1",
    errors.AccountDisabledError: "550 5.2.1",
    errors.SenderDeniedError: "553 5.7.1",
    errors.AuthenticationError: "535 5.7.8",
    # RFC 4954 §4.7.1: temporary, for the password may be right.
    errors.ThrottledError: "454 4.7.0",
    # 4yz although RFC 3463 lists both: the owner may make room before the sender gives up.
    errors.OverQuotaError: "452 4.2.2",
    errors.LimitError: "451 4.7.1",
    errors.TooLargeError: "552 5.3.4",
    errors.TooManyRecipientsError: "452 4.5.3",
    errors.MailLoopError: "554 5.4.6",
    errors.StorageFullError: "452 4.3.1",
    errors.UnavailableError: "451 4.3.0",
    errors.NoRouteError: "451 4.4.0",
}

PROBLEMS: dict[str, bytes] = {
    "bare-lf": b"500 5.5.2 Lines end with CR LF",
    "bare-cr": b"500 5.5.2 Bare CR in command",
    "line-too-long": b"500 5.5.2 Line too long",
    "empty": b"500 5.5.2 Empty line",
    "mail-syntax": b"501 5.5.4 Syntax: MAIL FROM:<reverse-path> [parameters]",
    "rcpt-syntax": b"501 5.5.4 Syntax: RCPT TO:<forward-path> [parameters]",
    "path": b"501 5.1.3 Address syntax",
    # RFC 3463 §3.2: X.1.3 is about the recipient.
    "reverse-path": b"501 5.1.7 Address syntax",
    "parameter": b"501 5.5.4 Parameter syntax",
    "unknown-parameter": b"555 5.5.4 Parameter not recognized or not implemented",
    "argument": b"501 5.5.4 No argument allowed",
    "bdat-syntax": b"501 5.5.4 Syntax: BDAT size [LAST]",
}
"""Keyed by `SmtpProblem.kind`."""

OUT_OF_STEP = frozenset({"bare-lf", "bdat-syntax"})
"""Problems after which it is unknown what the client's next octets mean: the connection ends."""

LOCAL_ERROR = b"451 4.3.0 Local error"
"""For a bug of ours; the log has more."""

FAULTS: dict[str, bytes] = {
    "bare-line-end": b"550 5.5.2 Bare CR or LF in message (RFC 5321 section 2.3.8)",
    "too-large": b"552 5.3.4 Message too large",
    "header-too-large": b"552 5.3.4 Message header too large",
}
"""Keyed by `SmtpMessage.fault`."""


def closing(status: str, hostname: str, text: str) -> bytes:
    """Return the reply after which the connection ends (RFC 5321 §3.8).

    Args:
        status: the enhanced code.
        hostname: our own.
        text: the reason.
    """
    return f"421 {status} {hostname} {text}".encode()


def reply_for(error: errors.EspError) -> bytes:
    """Return the reply for `error`, or a temporary local error if the table has neither it nor an ancestor."""
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), "451 4.3.0")
    return f"{status} {error.detail}".encode()
