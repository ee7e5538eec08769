"""Combinations of settings that each look right and cannot be together."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from esp.config.sections import Settings

_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened to


def impossible(settings: Settings) -> list[tuple[str, str]]:
    """Return where and what, for every combination that cannot work."""
    return [*_addresses(settings), *_tls(settings), *_ports(settings), *_limits(settings)]


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.database.dsn and urlsplit(settings.database.dsn).scheme not in ("postgresql", "postgres"):
        yield "database.dsn", "expected postgresql://…, or nothing for our own PostgreSQL"
    if settings.redis.url and urlsplit(settings.redis.url).scheme not in ("redis", "rediss", "unix"):
        yield "redis.url", "expected redis://…, rediss://… or unix://…, or nothing for our own Valkey"
    if not settings.server.hostname or " " in settings.server.hostname:
        yield "server.hostname", "expected a host name such as mail.example.org"


def _tls(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, path, other in (
        ("tls.certificate", settings.tls.certificate, settings.tls.key),
        ("tls.key", settings.tls.key, settings.tls.certificate),
    ):
        if path is None and other is not None:
            yield name, "needed: tls.certificate and tls.key go together"
        if path is not None and not Path(path).is_file():
            yield name, f"no such file: {path}"
    if settings.tls.certificate is None and settings.tls.key is None:
        implicit = {
            "smtp.submissions_port": settings.smtp.submissions_port,
            "imap.imaps_port": settings.imap.imaps_port,
        }
        for name, port in implicit.items():
            if port:
                yield name, "TLS needs tls.certificate and tls.key; give them, or turn the door off with 0"


def _ports(settings: Settings) -> Iterator[tuple[str, str]]:
    smtp, imap, api = settings.smtp, settings.imap, settings.api
    doors = [
        ("smtp.port", smtp.address, smtp.port),
        ("smtp.submission_port", smtp.address, smtp.submission_port),
        ("smtp.submissions_port", smtp.address, smtp.submissions_port),
        ("smtp.lmtp_port", smtp.lmtp_address, smtp.lmtp_port),
        ("imap.port", imap.address, imap.port),
        ("imap.imaps_port", imap.address, imap.imaps_port),
        ("api.port", api.address, api.port),
    ]
    taken: list[tuple[str, str, int]] = []
    for name, address, port in doors:
        for other, there, same in taken:
            if port and port == same and (address == there or {address, there} & set(_WILDCARDS)):
                yield name, f"{port} is also {other}; each door needs a port of its own"
        taken.append((name, address, port))


def _limits(settings: Settings) -> Iterator[tuple[str, str]]:
    smtp = settings.smtp
    if len(smtp.recipient_delimiter) > 1:
        yield "smtp.recipient_delimiter", "expected one character, or nothing"
    if smtp.memory_limit > smtp.max_message_size:
        yield "smtp.memory_limit", "cannot exceed smtp.max_message_size"
