"""SASL against the examples of its RFCs, and against clients that cheat."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esp.core.errors import AuthenticationError, InvalidError
from esp.core.sasl import (
    Challenge,
    ChannelBinding,
    CredentialsWanted,
    Login,
    PasswordShown,
    Plain,
    Proved,
    ScramCredentials,
    ScramSha256,
    decoded,
    prepared,
    scram_credentials,
)

# RFC 7677 §3
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
PENCIL = scram_credentials("pencil", SALT, 4096)


class Client:
    """A SCRAM client that follows RFC 5802 and shares no code with the server."""

    def __init__(self, username: str, password: str, header: str = "n,,", binding: bytes = b"") -> None:
        self.bare = f"n={username},r=clientnonce"
        self.password, self.header, self.binding = password, header, binding

    def first(self) -> bytes:
        return (self.header + self.bare).encode()

    def final(self, server_first: bytes) -> bytes:
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        key = hmac.new(salted, b"Client Key", "sha256").digest()
        bound = base64.b64encode(self.header.encode() + self.binding).decode()
        without_proof = f"c={bound},r={fields['r']}"
        message = f"{self.bare},{server_first.decode()},{without_proof}"
        signature = hmac.new(hashlib.sha256(key).digest(), message.encode(), "sha256").digest()
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        return f"{without_proof},p={proof}".encode()


def run(machine: ScramSha256, client: Client, credentials: ScramCredentials) -> Proved:
    wanted = machine.respond(client.first())
    assert isinstance(wanted, CredentialsWanted)
    verifier = machine.respond(client.final(machine.given(credentials).data))
    assert isinstance(verifier, Challenge)
    outcome = machine.respond(b"")
    assert isinstance(outcome, Proved)
    return outcome


def test_scram_speaks_the_example_of_rfc_7677() -> None:
    machine = ScramSha256(SERVER_NONCE)
    assert machine.respond(None) == Challenge(b"")
    assert machine.respond(CLIENT_FIRST) == CredentialsWanted("user")
    assert machine.given(PENCIL) == Challenge(SERVER_FIRST)
    assert machine.respond(CLIENT_FINAL) == Challenge(SERVER_FINAL)
    assert machine.respond(b"") == Proved("user")


@given(position=st.integers(0, len(CLIENT_FINAL) - 1), bit=st.integers(0, 7))
@example(position=len(CLIENT_FINAL) - 2, bit=1)
def test_a_final_message_with_any_bit_changed_proves_nothing(position: int, bit: int) -> None:
    changed = bytearray(CLIENT_FINAL)
    changed[position] ^= 1 << bit
    machine = ScramSha256(SERVER_NONCE)
    machine.respond(CLIENT_FIRST)
    machine.given(PENCIL)
    with pytest.raises((AuthenticationError, InvalidError)):
        machine.respond(bytes(changed))
    with pytest.raises((AuthenticationError, InvalidError)):
        machine.respond(b"")


def test_a_wrong_password_proves_nothing() -> None:
    with pytest.raises(AuthenticationError):
        run(ScramSha256("servernonce"), Client("user", "pencils"), PENCIL)


@given(final=st.binary(max_size=200))
def test_no_other_octets_prove_anything(final: bytes) -> None:
    machine = ScramSha256(SERVER_NONCE)
    machine.respond(CLIENT_FIRST)
    machine.given(PENCIL)
    with pytest.raises((AuthenticationError, InvalidError)):
        machine.respond(final)


def test_commas_and_equal_signs_in_a_name_are_escaped() -> None:
    assert run(ScramSha256("n"), Client("a=2Cb=3Dc=3D2C", "pencil"), PENCIL) == Proved("a,b=c=2C")


def test_plus_is_bound_to_its_channel() -> None:
    bindings = (ChannelBinding("tls-exporter", b"the channel"), ChannelBinding("other", b"also the channel"))
    here = Client("user", "pencil", "p=tls-exporter,,", b"the channel")
    assert run(ScramSha256("n", bindings, plus=True), here, PENCIL) == Proved("user")
    other = Client("user", "pencil", "p=other,,", b"also the channel")
    assert run(ScramSha256("n", bindings, plus=True), other, PENCIL) == Proved("user")
    elsewhere = Client("user", "pencil", "p=tls-exporter,,", b"another channel")
    with pytest.raises(AuthenticationError):
        run(ScramSha256("n", bindings, plus=True), elsewhere, PENCIL)
    with pytest.raises(InvalidError):
        run(ScramSha256("n", bindings, plus=True), Client("user", "pencil", "p=tls-unique,,"), PENCIL)
    with pytest.raises(InvalidError):
        run(ScramSha256("n", bindings, plus=True), Client("user", "pencil"), PENCIL)


def test_a_hidden_offer_of_plus_is_noticed() -> None:
    bindings = (ChannelBinding("tls-exporter", b"the channel"),)
    could_have = Client("user", "pencil", "y,,")
    with pytest.raises(AuthenticationError):
        run(ScramSha256("n", bindings), could_have, PENCIL)
    assert run(ScramSha256("n"), could_have, PENCIL) == Proved("user")


def test_as_whom_somebody_wants_to_act_is_told() -> None:
    proved = run(ScramSha256("n"), Client("user", "pencil", "n,a=admin,"), PENCIL)
    assert proved == Proved("user", authorization="admin")
    assert Plain().respond(b"admin\0user\0secret") == PasswordShown("user", "secret", authorization="admin")


@pytest.mark.parametrize(
    "first",
    [
        b"", b"n,,", b"n,,n=,r=x", b"n,,n=user", b"n,,n=user,r=", b"x,,n=user,r=x", b"n,n=user,r=x",
        b"n,,m=must,n=user,r=x", b"n,,n=us=er,r=x", b"n,,n=us=2cer,r=x", b"n,,n=user,r=\xff", b"\xff",
        b"p=,,n=user,r=x", b"n,,n=us\0er,r=x",
    ],
)  # fmt: skip
def test_a_first_message_that_is_none_is_refused(first: bytes) -> None:
    with pytest.raises(InvalidError):
        ScramSha256("n").respond(first)


def test_plain_speaks_the_example_of_rfc_4616() -> None:
    assert Plain().respond(b"\0tim\0tanstaaftanstaaf") == PasswordShown("tim", "tanstaaftanstaaf")
    assert Plain().respond(b"Kurt\0Kurt\0xipj3plmq") == PasswordShown("Kurt", "xipj3plmq", "Kurt")
    machine = Plain()
    assert machine.respond(None) == Challenge(b"")
    assert machine.respond("\0jörg\0pässword".encode()) == PasswordShown("jörg", "pässword")


@pytest.mark.parametrize(
    "response", [b"", b"a", b"a\0b", b"\0\0", b"\0a\0", b"\0\0b", b"\0a\0b\0", b"\0\xff\0b"]
)
def test_what_is_not_plain_is_refused(response: bytes) -> None:
    with pytest.raises(InvalidError):
        Plain().respond(response)


def test_login_asks_twice_or_once() -> None:
    asked = Login()
    assert asked.respond(None) == Challenge(b"Username:")
    assert asked.respond(b"tim") == Challenge(b"Password:")
    assert asked.respond(b"secret") == PasswordShown("tim", "secret")
    told = Login()
    assert told.respond(b"tim") == Challenge(b"Password:")
    assert told.respond(b"secret") == PasswordShown("tim", "secret")


def test_a_cancelled_exchange_is_an_error() -> None:
    for line in (b"*", b"*\r\n"):
        with pytest.raises(InvalidError, match="cancelled"):
            decoded(line)


@pytest.mark.parametrize("line", [b"a", b"a===", b"dGlt dGlt", b"d\xff==", b"=", b"AAAA" * 5000])
def test_what_is_not_base64_is_an_error(line: bytes) -> None:
    with pytest.raises(InvalidError):
        decoded(line)


def test_an_empty_initial_response_has_a_sign_of_its_own() -> None:
    assert decoded(b"=", initial=True) == b""
    assert decoded(b"", initial=False) == b""
    assert decoded(b"AHRpbQBzZWNyZXQ=", initial=True) == b"\0tim\0secret"


# RFC 4013 §3
@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
    ],
)
def test_passwords_are_prepared_as_in_rfc_4013(password: str, expected: str) -> None:
    assert prepared(password) == expected


@pytest.mark.parametrize("password", ["", "\u0007", "ü\u0007", "\u0627\u0031", "\u00ad", "a\nb"])
def test_passwords_that_cannot_be_prepared_are_refused(password: str) -> None:
    with pytest.raises(InvalidError):
        prepared(password)


@given(password=st.text(min_size=1, max_size=40))
def test_preparing_twice_is_preparing_once(password: str) -> None:
    try:
        once = prepared(password)
    except InvalidError:
        return
    assert prepared(once) == once
