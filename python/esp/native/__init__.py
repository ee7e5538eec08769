"""The face of the Rust extension; the compiled module `_native` is imported only here.

`_native.pyi` is the contract: each class and function documented, checked by stubtest."""

from esp.native._native import (
    SmtpBdat,
    SmtpChunkEnd,
    SmtpLimits,
    SmtpLine,
    SmtpMail,
    SmtpMessage,
    SmtpPart,
    SmtpProblem,
    SmtpRcpt,
    SmtpReader,
    SmtpVerb,
)

__all__ = [
    "SmtpBdat",
    "SmtpChunkEnd",
    "SmtpLimits",
    "SmtpLine",
    "SmtpMail",
    "SmtpMessage",
    "SmtpPart",
    "SmtpProblem",
    "SmtpRcpt",
    "SmtpReader",
    "SmtpVerb",
]
