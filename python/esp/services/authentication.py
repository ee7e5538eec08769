"""Who a client is: passwords and SCRAM proofs become principals.

In: what a client sent, from where, at which door. Out: a `Principal`, or an `AuthenticationError` that does not tell
why: an unknown user, a wrong password and a disabled account look alike and take equally long. A success is
remembered for a minute under a key that only this process can compute, and dropped when `esp:directory` says that
something changed.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from esp.core import sasl
from esp.core.address import parse
from esp.core.errors import (
    AddressSyntaxError,
    AuthenticationError,
    AuthorizationError,
    InvalidError,
    ThrottledError,
)
from esp.core.expiring import Expiring
from esp.core.principal import Principal
from esp.core.sasl import Challenge, ChannelBinding, CredentialsWanted, PasswordShown, ScramCredentials
from esp.core.sasl_bearer import Bearer, TokenShown
from esp.services.passwords import SCRAM_ITERATIONS, Passwords
from esp.services.throttling import Throttle
from esp.storage.postgres import directory as rows
from esp.storage.postgres import secret
from esp.storage.postgres.directory import Secrets
from esp.storage.postgres.pool import Database
from esp.telemetry import metrics
from esp.telemetry.log import get_logger

REMEMBERED = 60.0
CAPACITY = 50_000

_FAILED = "Authentication failed"

log = get_logger(__name__)


class TokenVerifier(Protocol):
    """Checks tokens of OAuth 2.0."""

    async def verify(self, token: str) -> str | None:
        """Return the address of the account that the token speaks for; `None`: the token is not valid.

        Raises:
            UnavailableError: that cannot be found out now.
        """


class Authentication:
    """Checks credentials against PostgreSQL; successes are remembered in this process for a short time."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        throttle: Throttle,
        *,
        tokens: TokenVerifier | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._passwords = passwords
        self._throttle = throttle
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._succeeded: Expiring[bytes, tuple[Principal, int]] = Expiring(CAPACITY)
        self._generation = 0
        """Counts changes of the directory; what was proved before the last change may not hold any more."""
        self._shared_secret: bytes | None = None

    def forget(self) -> None:
        """Have successes looked up before they count again; call this for each message on `esp:directory`."""
        self._generation += 1

    async def password(self, username: str, password: str, *, remote: str, door: str) -> Principal:
        """Return the principal that this password belongs to.

        Args:
            username: an address of the account; its domain may be another name of the account's.
            password: as typed.
            remote: address of the client.
            door: for logs and metrics: smtp, submission, imap, api …

        Raises:
            AuthenticationError: no account of that name has that password, or it may not log in.
            ThrottledError: too many attempts have failed; the password was not checked.
            UnavailableError: the database does not answer, or too many clients log in at once.
        """
        name = _name(username)
        await self.check(name, remote=remote, door=door)
        proof = hmac.digest(self._key, f"{name}\0{password}".encode("utf-8", "surrogatepass"), "sha256")
        principal, known = self._succeeded.get(proof, self._clock()) or (None, 0)
        if principal is None or known != self._generation:
            generation = self._generation
            # Accounts change all the time in some places; this statement costs a hundredth of comparing a password.
            if principal is None or not await self._stands(name, principal):
                principal = await self._compared(name, password, remote=remote, door=door)
            self._succeeded.put(proof, (principal, generation), self._clock() + REMEMBERED)
        metrics.LOGINS.labels(door, "ok").inc()
        return principal

    def mechanisms(self, *, bound: bool) -> tuple[str, ...]:
        """Return the SASL mechanisms offered, the strongest first; all but SCRAM send a secret, and need TLS.

        Args:
            bound: whether channel binding is possible.
        """
        plus = ("SCRAM-SHA-256-PLUS",) if bound else ()
        bearer = ("OAUTHBEARER", "XOAUTH2") if self._tokens is not None else ()
        return (*plus, "SCRAM-SHA-256", *bearer, "PLAIN", "LOGIN")

    def exchange(
        self, mechanism: str, *, remote: str, door: str, bindings: Sequence[ChannelBinding] = ()
    ) -> "Exchange":
        """Begin a SASL exchange.

        Raises:
            InvalidError: the mechanism is not offered.
        """
        machine: sasl.Machine | Bearer
        match mechanism.upper():
            case "PLAIN":
                machine = sasl.Plain()
            case "LOGIN":
                machine = sasl.Login()
            case "SCRAM-SHA-256":
                machine = sasl.ScramSha256(secrets.token_urlsafe(24), bindings)
            case "SCRAM-SHA-256-PLUS" if bindings:
                machine = sasl.ScramSha256(secrets.token_urlsafe(24), bindings, plus=True)
            case ("OAUTHBEARER" | "XOAUTH2") as name if self._tokens is not None:
                machine = Bearer(xoauth2=name == "XOAUTH2")
            case _:
                raise InvalidError("This mechanism is not offered")
        return Exchange(self, machine, remote=remote, door=door)

    async def check(self, name: str, *, remote: str, door: str) -> None:
        """Check that an attempt for the name may be made now.

        Raises:
            ThrottledError: it may not.
        """
        try:
            await self._throttle.check(name, remote)
        except ThrottledError:
            metrics.LOGINS.labels(door, "throttled").inc()
            log.info("login_throttled", door=door, remote=remote, address=_loggable(name))
            raise

    async def refuse(self, name: str, *, remote: str, door: str, reason: str) -> AuthenticationError:
        """Count a failure and return the error to raise; the reason is only logged."""
        await self._throttle.failed(name, remote)
        metrics.LOGINS.labels(door, "failed").inc()
        log.info("login_failed", door=door, remote=remote, address=_loggable(name), reason=reason)
        return AuthenticationError(_FAILED)

    async def accept(self, found: Secrets, name: str, *, remote: str, door: str) -> Principal:
        """Return the principal of credentials that were proved."""
        await self._throttle.succeeded(name, remote)
        log.info("login", door=door, remote=remote, address=found.address)
        return _principal(found)

    async def token(self, shown: TokenShown, *, remote: str, door: str) -> Principal | None:
        """Return the principal that this token belongs to; `None`: nobody may log in with it, and a failure is counted.

        Raises:
            ThrottledError: too many attempts have failed; the token was not checked.
            UnavailableError: it cannot be checked now.
        """
        assert self._tokens is not None
        name = _name(shown.username or "")
        await self.check(name, remote=remote, door=door)
        address = await self._tokens.verify(shown.token)
        found = await self._secrets(_name(address)) if address is not None else None
        if found is None or not found.enabled or (shown.username and name != found.address):
            reason = "bad token" if found is None else "disabled" if not found.enabled else "token of another"
            await self.refuse(name, remote=remote, door=door, reason=reason)
            return None
        principal = await self.accept(found, found.address, remote=remote, door=door)
        metrics.LOGINS.labels(door, "ok").inc()
        return principal

    async def begin_scram(self, username: str) -> tuple[str, Secrets | None, ScramCredentials]:
        """Return the name, its account if it can use SCRAM, and the credentials to go on with."""
        name = _name(username)
        found = await self._secrets(name)
        credentials = _scram(found)
        if credentials is None:
            return name, None, await self._fake(name)
        return name, found, credentials

    async def _compared(self, name: str, password: str, *, remote: str, door: str) -> Principal:
        async with self._passwords.turn():
            # Again: while this attempt waited for its turn, others may have failed. So no more guesses are under way
            # uncounted than there are threads.
            await self.check(name, remote=remote, door=door)
            found = await self._secrets(name)
            kept = found.password_hash if found else None
            matched = await self._passwords.matches(kept, password)
            if found is None or not matched or not found.enabled:
                reason = "no such account" if found is None else "disabled" if matched else "wrong password"
                raise await self.refuse(name, remote=remote, door=door, reason=reason)
            if kept is not None and self._passwords.outdated(kept):
                async with self._database.connection() as connection:
                    renewed = await self._passwords.rehashed(password)
                    await rows.replace_hash(connection, found.account, kept, renewed)
                found = msgspec.structs.replace(found, password_hash=renewed)
        return await self.accept(found, name, remote=remote, door=door)

    async def _stands(self, name: str, principal: Principal) -> bool:
        """Return whether the account that logged in by that name before is still the same, with the same password."""
        found = await self._secrets(name)
        return found is not None and found.enabled and _principal(found) == principal

    async def _secrets(self, name: str) -> Secrets | None:
        try:
            address = parse(name)
        except AddressSyntaxError:
            return None
        async with self._database.connection() as connection:
            return await rows.secrets(connection, address.local_part, address.domain)

    async def _fake(self, name: str) -> ScramCredentials:
        if self._shared_secret is None:
            async with self._database.connection() as connection:
                self._shared_secret = await secret.shared(connection, "scram")
        # The same at every attempt and in every process, or it would show which names exist.
        salt, stored_key, server_key = (
            hmac.digest(self._shared_secret, f"{use}\0{name}".encode("utf-8", "surrogatepass"), "sha256")
            for use in ("salt", "stored", "server")
        )
        return ScramCredentials(salt[:16], SCRAM_ITERATIONS, stored_key, server_key)


class Exchange:
    """One SASL exchange of one client."""

    def __init__(
        self, authentication: Authentication, machine: sasl.Machine | Bearer, *, remote: str, door: str
    ) -> None:
        self._authentication = authentication
        self._machine = machine
        self._remote = remote
        self._door = door
        self._name = ""
        self._found: Secrets | None = None

    async def respond(self, response: bytes | None) -> Challenge | Principal:
        """Return what to send next, or the principal.

        Args:
            response: the client's, from `sasl.decoded`; `None` when the command had no initial response.

        Raises:
            InvalidError: the response breaks the protocol.
            AuthenticationError: see `Authentication.password`, also for the other errors.
        """
        try:
            step = self._machine.respond(response)
        except AuthenticationError as error:
            if isinstance(self._machine, Bearer):
                raise  # counted when the token was rejected
            raise await self._refused("wrong proof") from error
        match step:
            case Challenge():
                return step
            case PasswordShown():
                principal = await self._authentication.password(
                    step.username, step.password, remote=self._remote, door=self._door
                )
                return _authorized(principal, step.username, step.authorization)
            case TokenShown():
                shown = await self._authentication.token(step, remote=self._remote, door=self._door)
                assert isinstance(self._machine, Bearer)
                return shown or self._machine.rejected()
            case CredentialsWanted(username=username):
                return await self._looked_up(username)
            case sasl.Proved():
                return _authorized(await self._proved(), step.username, step.authorization)

    async def _looked_up(self, username: str) -> Challenge:
        assert isinstance(self._machine, sasl.ScramSha256)
        name, self._found, credentials = await self._authentication.begin_scram(username)
        self._name = name
        await self._authentication.check(name, remote=self._remote, door=self._door)
        return self._machine.given(credentials)

    async def _proved(self) -> Principal:
        if self._found is None or not self._found.enabled:
            raise await self._refused("disabled")
        principal = await self._authentication.accept(
            self._found, self._name, remote=self._remote, door=self._door
        )
        metrics.LOGINS.labels(self._door, "ok").inc()
        return principal

    async def _refused(self, reason: str) -> AuthenticationError:
        return await self._authentication.refuse(
            self._name, remote=self._remote, door=self._door, reason=reason
        )


def fingerprint(found: Secrets) -> bytes:
    """Return what tells these credentials from earlier or later ones; a new hash of the same password is the same."""
    kept = found.scram_stored_key or (found.password_hash or "").encode()
    return hashlib.sha256(kept).digest()[:16] if kept else b""


def _principal(found: Secrets) -> Principal:
    return Principal(found.account, found.address, found.maildir, found.admin, fingerprint(found))


def _authorized(principal: Principal, username: str, authorization: str) -> Principal:
    # Nobody may act as somebody else yet; only a client that has proved who it is learns this (RFC 5530 §3).
    if authorization and _name(authorization) not in {principal.address, _name(username)}:
        raise AuthorizationError("You may only act as yourself")
    return principal


def _name(username: str) -> str:
    """Return the one form of a user name: the folded address, or the text itself if it is not an address."""
    try:
        return str(parse(username.strip()).folded())
    except AddressSyntaxError:
        return username


def _loggable(name: str) -> str | None:
    # Text that is not an address may be a password typed into the wrong field.
    try:
        return str(parse(name))
    except AddressSyntaxError:
        return None


def _scram(found: Secrets | None) -> ScramCredentials | None:
    if found is None:
        return None
    match found.scram_salt, found.scram_iterations, found.scram_stored_key, found.scram_server_key:
        case bytes() as salt, int() as iterations, bytes() as stored_key, bytes() as server_key:
            return ScramCredentials(salt, iterations, stored_key, server_key)
    return None
