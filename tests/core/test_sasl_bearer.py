import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp.core.errors import AuthenticationError, InvalidError
from esp.core.sasl import Challenge
from esp.core.sasl_bearer import Bearer, TokenShown

RFC_7628 = (
    b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
    b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
)
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def test_oauthbearer_speaks_the_example_of_rfc_7628() -> None:
    assert Bearer().respond(RFC_7628) == TokenShown("user@example.com", TOKEN)


def test_the_token_may_say_whose_mail_it_is() -> None:
    assert Bearer().respond(b"n,,\x01auth=bearer abc\x01\x01") == TokenShown(None, "abc")


def test_a_comma_in_a_name_is_escaped() -> None:
    assert Bearer().respond(b"y,a=a=2Cb=3Dc,\x01auth=Bearer abc\x01\x01") == TokenShown("a,b=c", "abc")


def test_xoauth2_speaks_its_own_form() -> None:
    shown = Bearer(xoauth2=True).respond(b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc\x01\x01")
    assert shown == TokenShown("someuser@example.com", "ya29.vF9dft4qmTc")


def test_without_an_initial_response_it_is_asked_for() -> None:
    assert Bearer().respond(None) == Challenge(b"")


@pytest.mark.parametrize("xoauth2", [False, True])
def test_a_worthless_token_is_explained_and_then_refused(xoauth2: bool) -> None:
    # RFC 7628 §3.2.2-3
    machine = Bearer(xoauth2=xoauth2)
    explained = json.loads(machine.rejected().data)
    assert explained["status"] == ("401" if xoauth2 else "invalid_token")
    with pytest.raises(AuthenticationError):
        machine.respond(b"" if xoauth2 else b"\x01")


@pytest.mark.parametrize(
    "response",
    [
        b"", b"\x01", b"n,,\x01\x01", b"n,,\x01auth=Basic abc\x01\x01", b"n,,\x01auth=Bearer \x01\x01",
        b"n,,\x01auth=Bearer a b\x01\x01", b"p=tls-exporter,,\x01auth=Bearer abc\x01\x01",
        b"n,,\x01auth=Bearer abc\x01", b"n,,\x01auth=Bearer abc\x01\x01x", b"n,,\x01auth=Bearer \xff\x01\x01",
        b"x" * 20_000,
    ],
)  # fmt: skip
def test_what_is_not_of_the_form_is_refused(response: bytes) -> None:
    with pytest.raises(InvalidError):
        Bearer().respond(response)


@given(st.binary(max_size=200), st.booleans())
def test_no_octets_do_anything_else(response: bytes, xoauth2: bool) -> None:
    with contextlib.suppress(InvalidError):
        assert isinstance(Bearer(xoauth2=xoauth2).respond(response), TokenShown)
