"""What the log tells of a connection: which one, whose, and what became of its messages."""

import base64
from typing import Any

from structlog.testing import capture_logs

from esp.config.sections import Security
from esp.core.errors import OverQuotaError
from tests.smtp.support import Talk, world

RIGHT = "AUTH PLAIN " + base64.b64encode(b"\0alice@example.test\0secret").decode()
NETWORKS = Security(plaintext_login_networks=("127.0.0.0/8",))


def named(events: list[Any], name: str) -> list[Any]:
    return [event for event in events if event["event"] == name]


async def test_every_event_names_its_connection_and_who_has_logged_in() -> None:
    async with world(submission=True, security=NETWORKS) as made:
        with capture_logs() as events:
            for _ in range(2):
                talk = await Talk.to(made)
                await talk.all_of(["EHLO client.test", RIGHT, "MAIL FROM:<alice@example.test>"])
                await talk.all_of(["RCPT TO:<nobody@example.test>", "RCPT TO:<bob@example.test>", "DATA"])
                assert (await talk.ask("Subject: x\r\n\r\n.")).startswith("250")
                await talk.close()
    accepted, refused = named(events, "message_accepted"), named(events, "recipient_refused")
    numbers = [event["connection"] for event in accepted]
    assert len(set(numbers)) == 2
    assert [event["connection"] for event in refused] == numbers
    assert {event["user"] for event in accepted + refused} == {"alice@example.test"}
    # As docs/reference/events.md has it.
    assert [event["source"] for event in accepted + refused] == ["esp.smtp.delivery"] * 2 + [
        "esp.smtp.session"
    ] * 2


async def test_a_connection_without_a_login_has_no_user() -> None:
    async with world() as made:
        with capture_logs() as events:
            talk = await Talk.to(made)
            await talk.begin()
            await talk.ask("Subject: x\r\n\r\n.")
    (accepted,) = named(events, "message_accepted")
    assert accepted["user"] is None


async def test_lmtp_tells_of_each_recipient_that_was_refused_after_the_message() -> None:
    async with world(lmtp=True) as made:
        made.dispatch.fail[2] = OverQuotaError("full")
        with capture_logs() as events:
            for recipients in (("bob", "alice"), ("bob",)):
                talk = await Talk.to(made)
                await talk.all_of(["LHLO x", "MAIL FROM:<a@b.test>"])
                await talk.all_of([f"RCPT TO:<{name}@example.test>" for name in recipients] + ["DATA"])
                talk.send("Subject: x\r\n\r\n.\r\n")
                for _ in recipients:
                    await talk.reply()
    refused, (accepted,) = named(events, "recipient_refused"), named(events, "message_accepted")
    assert [(event["recipient"], event["reason"]) for event in refused] == [("bob@example.test", "full")] * 2
    assert accepted["recipients"] == 1
    assert accepted["transaction"] == refused[0]["transaction"] != refused[1]["transaction"]
