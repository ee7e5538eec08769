"""A whole Dovecot with logins and TLS, as the server that mail is moved from; needs root, as its master does."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.imap.tls import certificate
from tests.support import debian
from tests.support.instance import free_ports

PASSWORD = 'p"ss wörd\\'
_NOBODY = 65534
_CONFIG = """\
protocols = imap
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
listen = 127.0.0.1
mail_location = maildir:{home}/mail/%u
mail_uid = {uid}
mail_gid = {uid}
first_valid_uid = 1
disable_plaintext_auth = yes
login_trusted_networks =
mail_max_userip_connections = {connections}
ssl = required
ssl_cert = <{home}/cert.pem
ssl_key = <{home}/key.pem
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/passwords
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={home}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
namespace inbox {{
  inbox = yes
  prefix = {prefix}
  separator = {separator}
  mailbox "Sent Items" {{
    special_use = \\Sent
    auto = create
  }}
}}
"""


class DovecotServer:
    """Runs until the block ends; every user has the password `PASSWORD`."""

    def __init__(
        self, home: Path, *users: str, prefix: str = "", separator: str = ".", connections: int = 20
    ) -> None:
        debian.require("dovecot")
        if os.geteuid() != 0:
            pytest.skip("NOT TESTED: a whole Dovecot needs root")
        self.home = home
        self.prefix = prefix
        self.imap, self.imaps = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        certificate(home)
        for folder in ("run", "state", "mail"):
            (home / folder).mkdir()
        # The mail's user must come through.
        for above in (home, *home.parents):
            if above.stat().st_uid == 0 and above != Path("/") and not above.stat().st_mode & 1:
                above.chmod(above.stat().st_mode | 0o111)
        shutil.chown(home / "mail", _NOBODY, _NOBODY)
        (home / "passwords").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in users))
        (home / "dovecot.conf").write_text(
            _CONFIG.format(
                home=home, uid=_NOBODY, imap=self.imap, imaps=self.imaps, prefix=prefix,
                separator=separator, connections=connections,
            )
        )  # fmt: skip

    @property
    def ca_file(self) -> Path:
        """The certificate to trust, for `localhost`."""
        return self.home / "cert.pem"

    def mail(self, user: str) -> Path:
        """A user's Maildir."""
        return self.home / "mail" / user

    def __enter__(self) -> Self:
        with (self.home / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [debian.path("dovecot") or "dovecot", "-F", "-c", self.home / "dovecot.conf"],
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + 30
        while "starting up" not in self.log():
            assert self._process.poll() is None, (self.home / "output").read_text()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def log(self) -> str:
        """What it has written."""
        path = self.home / "log"
        return path.read_text() if path.exists() else ""
