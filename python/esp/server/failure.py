"""What stops a start, said with how to mend it."""

from esp.core.errors import EspError


class StartError(EspError):
    """ESP cannot start; `detail` says what is wrong and what to do."""
