"""Postfix → LMTP → Dovecot from Debian's packages: private instances that know nothing of the system's own.

Configured as a careful administrator would, in the peers' favour where there is a choice: default syncing, no
filter, plain passwords in a file, login processes that serve many connections, re-used imap processes.
"""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.certificates import self_signed
from benchmarks.messages import DOMAIN, users
from benchmarks.processes import ProcessTree
from benchmarks.server import HOST, PASSWORD, free_ports, greets, terminate, wait_until

PACKAGES = ("postfix", "dovecot-core", "dovecot-imapd", "dovecot-lmtpd")

# Debian's own master.cf without the transports not used; nothing chrooted, since LMTP's socket is outside.
_MASTER = """\
{smtp_port} inet n - n - - smtpd
{submission_port} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_auth_only=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_type=dovecot
  -o smtpd_sasl_path={home}/auth
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o smtpd_recipient_restrictions=
  -o smtpd_sender_login_maps={map_type}:{home}/recipients
  -o smtpd_sender_restrictions=reject_sender_login_mismatch
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {home}/postfix.log
maillog_file_prefixes = {home}
inet_interfaces = {host}
inet_protocols = ipv4
myhostname = mail.{domain}
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = {map_type}:{home}/recipients
virtual_transport = lmtp:unix:{home}/lmtp
lmtp_destination_recipient_limit = 50
smtpd_tls_cert_file = {home}/certificate.pem
smtpd_tls_key_file = {home}/key.pem
message_size_limit = 52428800
mailbox_size_limit = 0
"""

_DOVECOT = """\
protocols = imap lmtp
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
listen = {host}
mail_location = maildir:{home}/mail/%d/%n
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
mail_max_userip_connections = 2000
# A thousand sessions are a thousand processes, and each is a client of the services behind.
default_client_limit = 12000
disable_plaintext_auth = no
ssl = yes
ssl_cert = <{home}/certificate.pem
ssl_key = <{home}/key.pem
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/passwords
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/mail/%d/%n
}}
service imap-login {{
  service_count = 0
  process_min_avail = {cores}
  client_limit = 4000
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 3000
  service_count = 1000
}}
service anvil {{
  client_limit = 12000
}}
service auth {{
  client_limit = 12000
  unix_listener {home}/auth {{
    mode = 0660
    user = postfix
  }}
}}
service lmtp {{
  unix_listener {home}/lmtp {{
    mode = 0666
  }}
}}
namespace inbox {{
  inbox = yes
}}
"""


def install() -> None:
    """Install what is missing, from Debian.

    Raises:
        RuntimeError: it is missing and cannot be installed.
    """
    if shutil.which("smtp-source") and shutil.which("dovecot") and Path("/usr/lib/dovecot/lmtp").exists():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError(f"install these Debian packages first, or run as root: {' '.join(PACKAGES)}")
    # RUNLEVEL keeps the packages from starting services of their own.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [
            "apt-get",
            "install",
            "-y",
            "-qq",
            "-o",
            "DPkg::Lock::Timeout=120",
            "--no-install-recommends",
            *PACKAGES,
        ],
        env=quiet,
        check=True,
        stdout=subprocess.DEVNULL,
    )


class PostfixDovecot:
    """The instance under `home`; needs root, as both masters do."""

    name = "Postfix + Dovecot"
    fill_sessions = 1  # more wait for each other with sleeps (dovecot-uidlist.lock)

    def __init__(self, home: Path) -> None:
        self._home = home
        self.smtp_port, self.submission_port, self.imap_port, self.imaps_port = free_ports(4)
        self._dovecot: subprocess.Popen[bytes] | None = None
        self._postfix = 0

    @property
    def tree(self) -> ProcessTree:
        """Both masters and all they started; one object while they run, so that it remembers."""
        return self._tree

    def _write(self) -> None:
        home = self._home
        for folder in ("conf", "queue", "data", "mail", "run", "state"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        shutil.chown(home / "data", "postfix")
        shutil.chown(home / "mail", "nobody", "nogroup")
        certificate, key = home / "certificate.pem", home / "key.pem"
        if not certificate.exists():
            self_signed(certificate, key)
        stat = (home / "mail").stat()
        map_type = subprocess.run(
            ["/usr/sbin/postconf", "-h", "-d", "default_database_type"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        names = {
            "home": home,
            "host": HOST,
            "domain": DOMAIN,
            "map_type": map_type,
            "cores": os.cpu_count(),
            "uid": stat.st_uid,
            "gid": stat.st_gid,
            "smtp_port": self.smtp_port,
            "submission_port": self.submission_port,
            "imap_port": self.imap_port,
            "imaps_port": self.imaps_port,
        }
        (home / "conf" / "main.cf").write_text(_MAIN.format(**names))
        (home / "conf" / "master.cf").write_text(_MASTER.format(**names))
        (home / "dovecot.conf").write_text(_DOVECOT.format(**names))
        (home / "passwords").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in users()))
        (home / "recipients").write_text("".join(f"{user} {user}\n" for user in users()))
        subprocess.run(
            ["/usr/sbin/postmap", "-c", str(home / "conf"), f"{map_type}:{home}/recipients"], check=True
        )

    def start(self) -> None:
        """Start both masters and wait until they greet."""
        self._write()
        log = (self._home / "output.log").open("ab")
        self._dovecot = subprocess.Popen(
            ["/usr/sbin/dovecot", "-F", "-c", str(self._home / "dovecot.conf")], stdout=log, stderr=log
        )
        # Postfix's own script makes the queue's folders; it asks nobody but this configuration.
        subprocess.run(
            ["/usr/sbin/postfix", "-c", str(self._home / "conf"), "start"], check=True, stdout=log, stderr=log
        )
        log.close()
        self._postfix = int((self._home / "queue" / "pid" / "master.pid").read_text())
        self._tree = ProcessTree(self._dovecot.pid, self._postfix)
        wait_until(lambda: greets(self.smtp_port, b"220 "), "Postfix greets")
        wait_until(lambda: greets(self.imap_port, b"* OK"), "Dovecot greets")

    def stop(self) -> None:
        """Stop both masters by their ids."""
        if self._postfix:
            terminate(self._postfix, "Postfix")
            self._postfix = 0
        if self._dovecot is not None:
            self._dovecot.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._dovecot.wait(30)
            self._dovecot = None

    def versions(self) -> dict[str, str]:
        """Ask both."""
        postfix = subprocess.run(
            ["/usr/sbin/postconf", "-h", "-d", "mail_version"], capture_output=True, text=True, check=True
        ).stdout
        dovecot = subprocess.run(
            ["/usr/sbin/dovecot", "--version"], capture_output=True, text=True, check=True
        ).stdout
        return {"Postfix": postfix.strip(), "Dovecot": re.split(r"[ (]", dovecot.strip())[0]}
