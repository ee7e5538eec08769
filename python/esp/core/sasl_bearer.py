"""SASL with tokens of OAuth 2.0, as machines without I/O: OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's, Microsoft's).

In: the client's response. Out: `TokenShown`; whether the token is worth something is found out elsewhere. Is it not,
`rejected` gives the JSON that tells the client so as a challenge, and whatever the client answers is the end.
"""

import json
import re

import msgspec

from esp.core.errors import AuthenticationError, InvalidError
from esp.core.sasl import LONGEST_RESPONSE, Challenge

_FORM = "The response is not of the mechanism's form"
# RFC 6750 §2.1: b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
_BEARER = re.compile(r"(?i:bearer) +(?P<token>[A-Za-z0-9._~+/-]+=*)")
# RFC 7628 §3.1, RFC 5801 §4: no binding to the channel; kvpair = key "=" value kvsep
_GS2 = re.compile(
    r"[ny],(?:a=(?P<authorization>[^,\x00\x01]+))?,\x01(?P<pairs>(?:[A-Za-z]+=[^\x00\x01]*\x01)*)\x01"
)
_XOAUTH2 = re.compile(r"user=(?P<user>[^\x00\x01]+)\x01(?P<pairs>(?:[A-Za-z]+=[^\x00\x01]*\x01)+)\x01")


class TokenShown(msgspec.Struct, frozen=True):
    """The client showed a token: have it verified, and go on with `rejected` if it is worth nothing."""

    username: str | None
    """Whose mail is wanted; `None` leaves that to the token."""
    token: str


class Bearer:
    """OAUTHBEARER, and XOAUTH2, which is its elder."""

    def __init__(self, *, xoauth2: bool = False) -> None:
        self._xoauth2 = xoauth2
        self._rejected = False

    def respond(self, response: bytes | None) -> Challenge | TokenShown:
        """See `sasl.Machine`."""
        if self._rejected:
            # RFC 7628 §3.2.3: the client's dummy answer; the exchange fails all the same.
            raise AuthenticationError("Authentication failed")
        if response is None:
            return Challenge(b"")
        if len(response) > LONGEST_RESPONSE:
            raise InvalidError("The response is too long")
        try:
            text = response.decode()
        except UnicodeDecodeError as error:
            raise InvalidError("The response is not UTF-8") from error
        match = (_XOAUTH2 if self._xoauth2 else _GS2).fullmatch(text)
        if match is None:
            raise InvalidError(_FORM)
        pairs = dict(pair.partition("=")[::2] for pair in match["pairs"].split("\x01") if pair)
        bearer = _BEARER.fullmatch(pairs.get("auth", ""))
        if bearer is None:
            raise InvalidError(_FORM)
        username = match["user"] if self._xoauth2 else match["authorization"]
        if username is not None and not self._xoauth2:
            username = username.replace("=2C", ",").replace("=3D", "=")
        return TokenShown(username, bearer["token"])

    def rejected(self) -> Challenge:
        """Return what tells the client that its token is worth nothing."""
        self._rejected = True
        status = "401" if self._xoauth2 else "invalid_token"
        return Challenge(json.dumps({"status": status, "schemes": "bearer", "scope": "mail"}).encode())
