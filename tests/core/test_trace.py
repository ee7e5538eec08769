"""What Received says of the client, and Authentication-Results of what was checked."""

import pytest

from esp.core.envelope import Client
from esp.core.principal import AccountId, Principal
from esp.core.trace import authentication_results, received


def line(helo: str, protocol: str = "ESMTP") -> str:
    return (
        received(Client("192.0.2.1", helo, protocol), "mail.test", "1", None, "today")
        .decode()
        .split("\r\n")[0]
    )


@pytest.mark.parametrize("helo", ["client.test", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a_b"])
def test_a_name_stands_as_it_was_given(helo: str) -> None:
    assert line(helo) == f"Received: from {helo} ([192.0.2.1])"


@pytest.mark.parametrize("helo", ["", "a b", "(a)", "a\tb", "a\0b", "[192.0.2.1", ";", "x" * 256, "a\x85b"])
@pytest.mark.parametrize("protocol", ["SMTP", "ESMTPS", "UTF8SMTP"])
def test_what_could_harm_the_header_stays_out_of_it(helo: str, protocol: str) -> None:
    assert line(helo, protocol) == "Received: from unknown ([192.0.2.1])"


@pytest.mark.parametrize("protocol", ["SMTP", "ESMTP", "ESMTPSA", "LMTP"])
def test_a_header_is_ascii_unless_the_message_is_internationalised(protocol: str) -> None:
    """RFC 6531 §3.7.3: only with SMTPUTF8 may trace fields have UTF-8."""
    assert line("bücher.test", protocol) == "Received: from unknown ([192.0.2.1])"
    assert line("bücher.test", "UTF8SMTPS") == "Received: from bücher.test ([192.0.2.1])"


@pytest.mark.parametrize(
    ("protocol", "result"),
    [
        ("SMTP", "none"),
        ("ESMTPS", "none"),
        ("UTF8SMTP", "none"),
        ("ESMTPSA", "auth=pass"),
        ("ESMTPA", "auth=pass"),
        ("UTF8SMTPSA", "auth=pass"),
    ],
)
def test_results_tell_of_a_login_and_of_nothing_that_was_not_checked(protocol: str, result: str) -> None:
    principal = Principal(AccountId(1), "a@b.test", "b.test/a") if protocol.endswith("A") else None
    client = Client("192.0.2.1", "client.test", protocol, None, principal)
    assert (
        authentication_results(client, "mail.test")
        == f"Authentication-Results: mail.test; {result}\r\n".encode()
    )


def test_what_comes_by_lmtp_was_checked_by_who_took_it() -> None:
    for protocol in ("LMTP", "LMTPS", "UTF8LMTP"):
        assert authentication_results(Client("192.0.2.1", "x", protocol), "mail.test") == b""
