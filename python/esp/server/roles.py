"""The roles: which exist, and how many processes each has."""

import os
from collections.abc import Iterable
from enum import StrEnum

from esp.config.sections import Settings
from esp.core.errors import InvalidError


class Role(StrEnum):
    """What one process of ESP does."""

    SMTP = "smtp"
    IMAP = "imap"
    API = "api"
    WORKER = "worker"
    SCHEDULER = "scheduler"


DOORS = (Role.SMTP, Role.IMAP, Role.API)
"""Stopped first; the other roles finish the work that the doors left them."""


def processes(role: Role, settings: Settings) -> int:
    """Return how many processes of `role` one node runs."""
    cores = os.cpu_count() or 1
    match role:
        case Role.SMTP:
            return settings.smtp.processes or max(1, cores // 2)
        case Role.IMAP:
            return settings.imap.processes or cores
        case Role.WORKER:
            return settings.worker.processes
        case Role.API:
            return 1 if settings.api.port else 0
        case Role.SCHEDULER:
            return 1


def parse(names: Iterable[str]) -> tuple[Role, ...]:
    """Return the named roles; a name may be several with commas between. Without names, return all.

    Raises:
        InvalidError: there is no such role.
    """
    wanted = [name.strip() for text in names for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in list(Role)]
    if unknown:
        raise InvalidError(f"no such role: {', '.join(unknown)}; roles are {', '.join(Role)}")
    return tuple(role for role in Role if not wanted or role in wanted)


def listeners(roles: Iterable[Role], settings: Settings) -> list[tuple[str, str, int]]:
    """Return the setting, address and port of every door of `roles` that is enabled."""
    smtp, imap, api = settings.smtp, settings.imap, settings.api
    doors = {
        Role.SMTP: [
            ("smtp.port", smtp.address, smtp.port),
            ("smtp.submission_port", smtp.address, smtp.submission_port),
            ("smtp.submissions_port", smtp.address, smtp.submissions_port),
            ("smtp.lmtp_port", smtp.lmtp_address, smtp.lmtp_port),
        ],
        Role.IMAP: [
            ("imap.port", imap.address, imap.port),
            ("imap.imaps_port", imap.address, imap.imaps_port),
        ],
        Role.API: [("api.port", api.address, api.port)],
    }
    return [door for role in roles for door in doors.get(role, []) if door[2]]
