"""What a file that cannot be read or written means to the client: one error for each failure of the mail storage."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC

from esp.core.errors import EspError, StorageFullError, UnavailableError
from esp.native import Failure


@contextmanager
def file_errors() -> Iterator[None]:
    """Turn a failure of the mail storage into the error that it means.

    Raises:
        StorageFullError: the disk is full, or our user's disk quota.
        UnavailableError: any other `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise meaning_of(error) from error


def meaning_of(failure: OSError | Failure) -> EspError:
    """Return what a client is told about a file that could not be read or written."""
    if failure.errno in {ENOSPC, EDQUOT}:
        return StorageFullError("The disk is full")
    if isinstance(failure, Failure) and failure.reason == "poisoned":
        return UnavailableError("The disk failed; mail is refused until it was looked at")
    return UnavailableError("The mail storage does not answer")
