"""The smtp role: the doors that the settings open, from start to drain."""

import asyncio
from collections.abc import Callable

from esp.config.sections import Settings
from esp.native import SmtpNumbers, Spool
from esp.services import certificates
from esp.services.authentication import Authentication
from esp.services.reception import Reception
from esp.services.submission import Submission
from esp.smtp.door import Door
from esp.telemetry.log import get_logger

_log = get_logger(__name__)


class SmtpServer:
    """SMTP, submission, submissions and LMTP of one process."""

    def __init__(
        self,
        settings: Settings,
        *,
        reception: Reception,
        submission: Submission,
        authentication: Authentication,
        spool: Callable[[], Spool],
    ) -> None:
        """Make the doors; nothing listens yet.

        Args:
            settings: all of them.
            reception: takes mail from anybody.
            submission: takes mail from our own users.
            authentication: who it is.
            spool: makes a place for a large message (`Store.spool`); called in a thread.

        Raises:
            OSError: the certificate or its key cannot be read.
            ssl.SSLError: they are not a certificate and a key, or do not belong together.
        """
        smtp, hostname = settings.smtp, settings.server.hostname
        self._settings = settings
        self._tls = certificates.server_context(settings.tls)
        connections = SmtpNumbers()
        self.doors: list[Door] = []
        for name, address, port in (
            ("smtp", smtp.address, smtp.port),
            ("submission", smtp.address, smtp.submission_port),
            ("submissions", smtp.address, smtp.submissions_port),
            ("lmtp", smtp.lmtp_address, smtp.lmtp_port),
        ):
            if port == 0:
                continue
            if name == "submissions" and self._tls is None:
                _log.warning("no_certificate_no_submissions_door", port=port)
                continue
            is_submission = name.startswith("submission")
            self.doors.append(
                Door(
                    name,
                    address=address,
                    port=port,
                    hostname=hostname,
                    reception=submission if is_submission else reception,
                    spool=spool,
                    smtp=smtp,
                    security=settings.security,
                    tls=self._tls,
                    implicit_tls=name == "submissions",
                    lmtp=name == "lmtp",
                    authentication=authentication if is_submission else None,
                    numbers=connections,
                )
            )

    async def start(self) -> None:
        """Listen on every port.

        Raises:
            OSError: a port is taken or not permitted.
        """
        for door in self.doors:
            await door.open()
            _log.info("listening", door=door.name, port=door.port)

    async def drain(self, timeout: float) -> None:
        """Take no more connections; let transactions end, for `timeout` seconds at most."""
        await asyncio.gather(*(door.drain(timeout) for door in self.doors))

    def forget(self) -> None:
        """Look every recipient up again: something about them has changed."""
        for door in self.doors:
            door.forget()

    def reload(self) -> None:
        """Read the certificate again; open connections keep theirs, and a bad one changes nothing.

        Raises:
            OSError, ssl.SSLError: as when the doors were made.
        """
        if self._tls is not None:
            certificates.reload(self._tls, self._settings.tls)
