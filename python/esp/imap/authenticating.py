"""Who the client is: CAPABILITY, ID, STARTTLS, LOGIN, AUTHENTICATE, LOGOUT (RFC 3501 §6.1-6.2, RFC 2971, RFC 4959)."""

import asyncio
import base64
import ssl
from typing import TYPE_CHECKING

from esp.core.errors import AuthenticationError, AuthorizationError, EspError, InvalidError, ThrottledError
from esp.core.principal import Principal
from esp.core.sasl import decoded
from esp.imap.responses import Refusal, response_for
from esp.native import AuthenticateArguments, Command, LoginArguments, encode_string
from esp.services.authentication import Exchange
from esp.services.certificates import bindings_of
from esp.telemetry.log import get_logger

if TYPE_CHECKING:
    from esp.imap.session import Session

DOOR = "imap"
FAILURE_DELAY = 1.0
"""Seconds before a failed login is answered; the next pipelined login waits behind it."""
MOST_FAILURES = 4
"""Failed logins on one connection; the limits of `security` hold across connections."""

log = get_logger(__name__)


async def capability(session: "Session", command: Command) -> str:
    """CAPABILITY."""
    session.untagged(f"CAPABILITY {session.capabilities()}")
    return "OK CAPABILITY completed"


async def identify(session: "Session", command: Command) -> str:
    """ID (RFC 2971): no version, which would help nobody but an attacker."""
    session.connection.write(b'* ID ("name" ' + encode_string("ESP") + b")\r\n")
    return "OK ID completed"


async def logout(session: "Session", command: Command) -> None:
    """LOGOUT."""
    session.untagged("BYE Logging out")
    session.tagged(command.tag, "OK LOGOUT completed")
    session.connection.close()


async def starttls(session: "Session", command: Command) -> None:
    """STARTTLS (RFC 3501 §6.2.1)."""
    connection = session.connection
    context = session.door.tls
    if connection.secure:
        raise Refusal("BAD TLS is active already")
    if context is None:
        raise Refusal("NO [UNAVAILABLE] No certificate is installed")
    session.tagged(command.tag, "OK Begin TLS negotiation now")
    try:
        await connection.start_tls(context)
    except (OSError, ssl.SSLError, TimeoutError) as error:
        log.info("tls_handshake_failed", peer=connection.peer, error=repr(error))
        connection.abort()


async def login(session: "Session", command: Command) -> str:
    """LOGIN."""
    arguments = command.arguments
    assert isinstance(arguments, LoginArguments)
    _require_privacy(session)
    try:
        principal = await session.door.authentication.password(
            arguments.username, arguments.password, remote=session.connection.peer, door=DOOR
        )
    except AuthenticationError as error:
        return await _failed(session, error)
    return _welcome(session, principal, "LOGIN")


async def authenticate(session: "Session", command: Command) -> str:
    """AUTHENTICATE, with an initial response (RFC 4959)."""
    arguments = command.arguments
    assert isinstance(arguments, AuthenticateArguments)
    _require_privacy(session)
    try:
        exchange = session.door.authentication.exchange(
            arguments.mechanism,
            remote=session.connection.peer,
            door=DOOR,
            bindings=bindings_of(session.connection.binding, session.connection.transport),
        )
    except InvalidError as error:
        raise Refusal(f"NO [CANNOT] {error.detail}") from error
    try:
        principal = await _exchange(session, exchange, arguments.initial)
    except AuthenticationError as error:
        return await _failed(session, error)
    except InvalidError as error:
        # RFC 3501 §6.2.2: BAD for a cancelled exchange and for what is not base64.
        return f"BAD {error.detail}"
    except ValueError as error:
        return f"BAD {error}"
    return _welcome(session, principal, "AUTHENTICATE")


async def _exchange(session: "Session", exchange: Exchange, response: bytes | None) -> Principal:
    while True:
        step = await exchange.respond(response)
        if isinstance(step, Principal):
            return step
        session.connection.write(b"+ " + base64.b64encode(step.data) + b"\r\n")
        response = decoded(await session.connection.next_line())


def _require_privacy(session: "Session") -> None:
    if not session.may_show_password:
        # RFC 5530 §3, RFC 3501 §6.2.3.
        raise Refusal("NO [PRIVACYREQUIRED] Begin TLS first")


def _welcome(session: "Session", principal: Principal, name: str) -> str:
    if (reason := session.door.admit_login(session, principal)) is not None:
        raise Refusal(f"NO [LIMIT] {reason}")
    session.principal = principal
    session.connection.patience = session.door.settings.idle_timeout
    # RFC 3501 §7.2.1: the capabilities have changed; telling them here spares a round trip.
    return f"OK [CAPABILITY {session.capabilities()}] {name} completed"


async def _failed(session: "Session", error: EspError) -> str:
    session.failed_logins += 1
    log.info("login_refused", peer=session.connection.peer, error=repr(error))
    await asyncio.sleep(FAILURE_DELAY)
    if session.failed_logins >= MOST_FAILURES:
        session.bye("Too many failed logins")
    if isinstance(error, ThrottledError):
        return "NO [UNAVAILABLE] Too many failed logins, try again later"
    if isinstance(error, AuthorizationError):
        return response_for(error)
    # One answer for every reason, so that nobody learns whether the account exists.
    return "NO [AUTHENTICATIONFAILED] Authentication failed"
