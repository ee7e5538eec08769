"""The server's side of SASL (RFC 4422), as machines without I/O: PLAIN, LOGIN, SCRAM-SHA-256 and -PLUS.

In: the client's responses, decoded from base64 (`decoded`), and chance as a nonce. Out: what to do next: send
a `Challenge`, have a password checked (`PasswordShown`), look credentials up (`CredentialsWanted`) or be done
(`Proved`). A machine decides nothing about accounts; `services.authentication` drives it for both doors.

`InvalidError` is a response that breaks the protocol or a cancellation, `AuthenticationError` one that proves
nothing.
"""

import base64
import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata
from collections.abc import Sequence
from typing import Protocol

import msgspec

from esp.core.errors import AuthenticationError, InvalidError

LONGEST_RESPONSE = 12288
"""Octets of one response (RFC 4954 §4 wants 12288 for a line)."""
_ERROR = "Authentication failed"
_CANCELLED = b"*"


class Challenge(msgspec.Struct, frozen=True):
    """Send this, in base64, and wait for a response."""

    data: bytes


class PasswordShown(msgspec.Struct, frozen=True):
    """The client showed a password: the exchange is over, check it."""

    username: str
    password: str
    authorization: str = ""
    """As whom it wants to act; empty: as itself."""


class CredentialsWanted(msgspec.Struct, frozen=True):
    """Look these up and go on with `ScramSha256.given`."""

    username: str


class Proved(msgspec.Struct, frozen=True):
    """The client has shown that it knows the password of the credentials given."""

    username: str
    authorization: str = ""
    """As whom it wants to act; empty: as itself."""


class ScramCredentials(msgspec.Struct, frozen=True):
    """What a server keeps in place of a password (RFC 5802 §3)."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class ChannelBinding(msgspec.Struct, frozen=True):
    """What ties an exchange to the TLS connection under it (RFC 5929, RFC 9266)."""

    type: str
    """`tls-server-end-point` or `tls-unique`."""
    data: bytes


class Machine(Protocol):
    """One exchange."""

    def respond(self, response: bytes | None) -> Challenge | PasswordShown | CredentialsWanted | Proved:
        """Take the next response; `None` when the command had no initial one."""


def decoded(line: bytes, *, initial: bool = False) -> bytes:
    """Return what a line of the client means: base64, `=` for an empty initial response, `*` for an end.

    Raises:
        InvalidError: it is not base64, or the client cancelled.
    """
    line = line.strip(b"\r\n")
    if line == _CANCELLED:
        raise InvalidError("Authentication cancelled")
    # RFC 4954 §4, RFC 4959 §3: an initial response of no octets.
    if initial and line == b"=":
        return b""
    if len(line) > LONGEST_RESPONSE:
        raise InvalidError("The response is too long")
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise InvalidError("The response is not base64") from error


class Plain:
    """PLAIN (RFC 4616): one response, `[authzid] NUL authcid NUL passwd`."""

    def respond(self, response: bytes | None) -> Challenge | PasswordShown:
        """See `Machine`."""
        if response is None:
            return Challenge(b"")
        # RFC 4616 §2: none of the parts holds a NUL, and only the first may be empty.
        parts = _text(response).split("\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise InvalidError("The response is not of PLAIN's form")
        authorization, username, password = parts
        return PasswordShown(username, password, authorization)


class Login:
    """LOGIN (draft-murchison-sasl-login): a user name, then a password."""

    def __init__(self) -> None:
        self._username: str | None = None

    def respond(self, response: bytes | None) -> Challenge | PasswordShown:
        """See `Machine`."""
        if response is None:
            return Challenge(b"Username:")
        text = _text(response)
        if "\0" in text:
            raise InvalidError("The response is not of LOGIN's form")
        if self._username is None:
            self._username = text
            return Challenge(b"Password:")
        return PasswordShown(self._username, text)


# gs2-header = gs2-cbind-flag "," [ authzid ] ","
_CLIENT_FIRST = re.compile(
    r"(?P<header>(?P<flag>n|y|p=(?P<type>[A-Za-z0-9.-]+)),(?:a=(?P<authorization>[^,\0]+))?,)"
    r"(?P<bare>n=(?P<username>[^,\0]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]=[^,\0]+)*)"
)
_CLIENT_FINAL = re.compile(
    r"(?P<without_proof>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]=[^,\0]+)*)"
    r",p=(?P<proof>[A-Za-z0-9+/=]+)"
)
_SASLNAME = re.compile(r"(?:[^=]|=2C|=3D)+")


class ScramSha256:
    """SCRAM-SHA-256 (RFC 7677), and with `plus` SCRAM-SHA-256-PLUS.

    Args:
        nonce: ours; printable, without a comma, never used before.
        bindings: those of the channel, where -PLUS can be offered.
        plus: whether the client chose -PLUS.
    """

    def __init__(self, nonce: str, bindings: Sequence[ChannelBinding] = (), *, plus: bool = False) -> None:
        self._our_nonce = nonce
        self._bindings = {binding.type: binding.data for binding in bindings}
        self._plus = plus
        self._username = ""
        self._authorization = ""
        self._bound = b""
        self._nonce = ""
        self._client_first_bare = ""
        self._server_first = ""
        self._credentials: ScramCredentials | None = None
        self._proved = False

    def respond(self, response: bytes | None) -> Challenge | CredentialsWanted | Proved:
        """See `Machine`."""
        if self._proved:
            # The server's signature went out as a challenge; the client accepts it with nothing.
            if response:
                raise InvalidError("Nothing more was asked for")
            return Proved(self._username, self._authorization)
        if response is None:
            return Challenge(b"")
        if self._credentials is None:
            return self._first(_text(response))
        return self._final(_text(response), self._credentials)

    def given(self, credentials: ScramCredentials) -> Challenge:
        """Go on with the credentials of the user that was asked for."""
        self._credentials = credentials
        salt = base64.b64encode(credentials.salt).decode()
        self._server_first = f"r={self._nonce},s={salt},i={credentials.iterations}"
        return Challenge(self._server_first.encode())

    def _first(self, text: str) -> CredentialsWanted:
        # An extension that is mandatory ("m=") is not one that we know: RFC 5802 §5.1 wants it refused.
        match = _CLIENT_FIRST.fullmatch(text)
        if match is None or _SASLNAME.fullmatch(match["username"]) is None or self._username:
            raise InvalidError("The response is not a client-first-message of SCRAM")
        self._username = _unescaped(match["username"])
        self._authorization = _unescaped(match["authorization"] or "")
        self._bound = match["header"].encode() + self._binding_data(match["flag"], match["type"])
        self._nonce = match["nonce"] + self._our_nonce
        self._client_first_bare = match["bare"]
        return CredentialsWanted(self._username)

    def _binding_data(self, flag: str, binding_type: str | None) -> bytes:
        if self._plus:
            if (data := self._bindings.get(binding_type or "")) is None:
                raise InvalidError("This channel binding is not available")
            return data
        # RFC 5802 §6: "p" is only for -PLUS; "y" with -PLUS on offer means that somebody hid the offer.
        if binding_type is not None or (flag == "y" and self._bindings):
            raise AuthenticationError(_ERROR)
        return b""

    def _final(self, text: str, credentials: ScramCredentials) -> Challenge:
        match = _CLIENT_FINAL.fullmatch(text)
        if match is None:
            raise InvalidError("The response is not a client-final-message of SCRAM")
        try:
            binding = base64.b64decode(match["binding"], validate=True)
            proof = base64.b64decode(match["proof"], validate=True)
        except binascii.Error as error:
            raise InvalidError("The response is not a client-final-message of SCRAM") from error
        # RFC 4648 §3.5: the last character has bits that mean nothing; only zeros are right.
        if base64.b64encode(proof).decode() != match["proof"]:
            raise InvalidError("The response is not a client-final-message of SCRAM")
        message = ",".join((self._client_first_bare, self._server_first, match["without_proof"])).encode()
        signature = hmac.digest(credentials.stored_key, message, "sha256")
        # As long as the signature, or the exclusive-or would cut the comparison short.
        client_key = bytes(a ^ b for a, b in zip(proof.ljust(32, b"\0")[:32], signature, strict=True))
        right = hmac.compare_digest(hashlib.sha256(client_key).digest(), credentials.stored_key)
        right &= hmac.compare_digest(match["nonce"].encode(), self._nonce.encode())
        right &= hmac.compare_digest(binding, self._bound)
        if not right or len(proof) != 32:
            raise AuthenticationError(_ERROR)
        self._proved = True
        verifier = base64.b64encode(hmac.digest(credentials.server_key, message, "sha256"))
        return Challenge(b"v=" + verifier)


def scram_credentials(password: str, salt: bytes, iterations: int) -> ScramCredentials:
    """Return what to keep of a prepared password; costs milliseconds on purpose."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return ScramCredentials(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.sha256(client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", "sha256"),
    )


def prepared(password: str) -> str:
    """Return a password in the one form that is hashed and compared: SASLprep (RFC 4013).

    Raises:
        InvalidError: it is empty or holds a character that nobody can type twice alike.
    """
    if password.isascii():
        if not password.isprintable() or not password:
            raise InvalidError("The password is empty or has control characters")
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    # RFC 4013 §2.2 names Unicode 3.2, and so the result never changes with a newer Python.
    text = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not text or any(_prohibited(c) for c in text) or not _bidi_ordered(text):
        raise InvalidError("The password is empty or has characters that cannot be used")
    return text


_PROHIBITED = (
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
    stringprep.in_table_c9,
)  # fmt: skip


def _prohibited(character: str) -> bool:
    return any(table(character) for table in _PROHIBITED)


def _bidi_ordered(text: str) -> bool:
    # RFC 3454 §6: right-to-left text begins and ends so, and holds nothing of left-to-right.
    if not any(stringprep.in_table_d1(c) for c in text):
        return True
    return (
        stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
        and not any(stringprep.in_table_d2(c) for c in text)
    )


def _text(response: bytes) -> str:
    if len(response) > LONGEST_RESPONSE:
        raise InvalidError("The response is too long")
    try:
        return response.decode()
    except UnicodeDecodeError as error:
        raise InvalidError("The response is not UTF-8") from error


def _unescaped(name: str) -> str:
    # saslname = 1*(value-safe-char / "=2C" / "=3D")
    return name.replace("=2C", ",").replace("=3D", "=")
