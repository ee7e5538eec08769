"""What is raised when a server says what cannot be."""


class ViolationError(AssertionError):
    """The server broke a rule."""


def check(holds: bool, why: str) -> None:
    """Raise `ViolationError` unless it holds."""
    if not holds:
        raise ViolationError(why)
