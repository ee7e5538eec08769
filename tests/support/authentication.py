"""Who may log in, without PostgreSQL and argon2; `tests/contracts` holds it to what the real one does."""

from typing import Any, cast

from esp.config.sections import Security
from esp.core.principal import Principal
from esp.core.sasl import ScramCredentials, scram_credentials
from esp.services.authentication import Authentication
from esp.services.throttling import Throttle
from esp.storage.postgres.directory import Secrets


class FakeAuthentication(Authentication):
    """Everybody's password is `secret`; SASL and the counting of failures are the real ones."""

    def __init__(self, *principals: Principal, login_failures: int = 3) -> None:
        # What still asks the stores has to be replaced here: it fails.
        nothing = cast("Any", None)
        super().__init__(nothing, nothing, Throttle(None, Security(login_failures=login_failures)))
        self.principals = {principal.address: principal for principal in principals}

    async def password(self, username: str, password: str, *, remote: str, door: str) -> Principal:
        name = username.lower()
        await self.check(name, remote=remote, door=door)
        if name not in self.principals or password != "secret":
            raise await self.refuse(name, remote=remote, door=door, reason="wrong password")
        return self.principals[name]

    async def begin_scram(self, username: str) -> tuple[str, Secrets | None, ScramCredentials]:
        name = username.lower()
        credentials = scram_credentials("secret", b"salt", 4096)
        principal = self.principals.get(name)
        if principal is None:
            return name, None, credentials
        found = Secrets(
            principal.account,
            principal.address,
            principal.maildir,
            principal.admin,
            enabled=True,
            password_hash=None,
            scram_salt=credentials.salt,
            scram_iterations=credentials.iterations,
            scram_stored_key=credentials.stored_key,
            scram_server_key=credentials.server_key,
        )
        return name, found, credentials

    async def accept(self, found: Secrets, name: str, *, remote: str, door: str) -> Principal:
        return self.principals[found.address]
