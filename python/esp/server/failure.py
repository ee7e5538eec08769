"""Errors that stop a start, with advice on what to do."""

from esp.core.errors import EspError


class StartError(EspError):
    """ESP cannot start; `detail` says what is wrong and what to do."""


def disk_full(where: object) -> str:
    """Return the text for an administrator when there is no room in `where`."""
    return (
        f"disk full: {where}; free space and start again, or move it "
        "(ESP_VAR for make run, else storage.path, database.path and redis.path)"
    )
