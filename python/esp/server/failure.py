"""What stops a start, said with how to mend it."""

from esp.core.errors import EspError


class StartError(EspError):
    """ESP cannot start; `detail` says what is wrong and what to do."""


def disk_full(where: object) -> str:
    """Return what whoever starts ESP is told when there is no room in `where`."""
    return (
        f"disk full: {where}; free space and start again, or move it "
        "(ESP_VAR for make run, else storage.path, database.path and redis.path)"
    )
