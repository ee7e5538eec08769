"""All doors of one process."""

from typing import Any, cast

from esp.config.sections import Settings, Smtp
from esp.core.envelope import Client, MailParameters
from esp.server.wiring import receptions
from esp.smtp.server import SmtpServer
from tests.smtp.support import FakeDispatch
from tests.support.directory import FakeDirectory


async def test_no_two_transactions_of_a_process_have_the_same_id() -> None:
    """Received, the reply and the log name a message by it; submission adds it as Message-ID."""
    nobody = cast("Any", None)
    settings = Settings(smtp=Smtp(submissions_port=0))
    reception, submission = receptions(settings, FakeDirectory(), FakeDispatch())
    server = SmtpServer(
        settings, reception=reception, submission=submission, authentication=nobody, spool=nobody
    )
    ids = [
        door.reception.mail(Client("192.0.2.1"), None, MailParameters()).id
        for _ in range(3)
        for door in server.doors
    ]
    assert {door.name for door in server.doors} == {"smtp", "submission", "lmtp"}
    assert len(set(ids)) == 9
