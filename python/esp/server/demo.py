"""What `make run` starts with: a configuration, a CA and a certificate, a domain and three accounts."""

import contextlib
import datetime
import ipaddress
import json
import os
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from esp.config.sections import Settings
from esp.core.address import parse
from esp.core.errors import AlreadyExistsError

if TYPE_CHECKING:
    from esp.services.accounts import Accounts
    from esp.services.domains import Domains

DOMAIN = "example.test"
USERS = ("alice@example.test", "bob@example.test")
ADMIN = "admin@example.test"
HOSTNAME = "mail.example.test"
_LOOPBACK = ["127.0.0.0/8", "::1/128"]
_PORTS = {
    "smtp": {"port": 2525, "submission_port": 2587, "submissions_port": 2465, "lmtp_port": 2424},
    "imap": {"port": 2143, "imaps_port": 2993},
    "api": {"port": 8080},
}
_TEN_YEARS = datetime.timedelta(days=3650)
_PASSWORD_LETTERS = string.ascii_letters + string.digits


def prepare_folder(folder: Path, environment: Mapping[str, str]) -> Path:
    """Make what is missing in `folder` (`./var`) and return the path of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "esp.yaml"
    text = _configuration(folder)
    # A folder that was moved or copied must not use the data at its old place.
    if not config.exists() or config.read_text().split("\n", 1)[0] != text.split("\n", 1)[0]:
        _write(config, text.encode(), 0o644)
    _make_certificates(folder / "tls")
    _make_passwords(folder / "demo-credentials.json", environment.get("ESP_DEMO_PASSWORD"))
    return config


def passwords(folder: Path) -> dict[str, str]:
    """Return the demo's addresses and passwords."""
    found: dict[str, str] = json.loads((folder / "demo-credentials.json").read_text())
    return found


async def make_accounts(domains: "Domains", accounts: "Accounts", known: Mapping[str, str]) -> None:
    """Make the demo's domain and accounts if they are missing, and ensure that their passwords are `known`."""
    with contextlib.suppress(AlreadyExistsError):
        await domains.add(DOMAIN)
    for text, password in known.items():
        address = parse(text)
        try:
            await accounts.create(address, password, admin=text == ADMIN)
        except AlreadyExistsError:
            await accounts.set_password(address, password)


def page(settings: Settings, folder: Path) -> str:
    """Return what `make run` prints once everything serves."""
    smtp, imap, api = settings.smtp, settings.imap, settings.api
    known = passwords(folder)
    ca = folder / "tls" / "ca.pem"
    alice, bob = USERS
    width = max(map(len, known))
    logins = "\n".join(f"  {address:<{width}}  {password}" for address, password in known.items())
    return f"""
ESP is running; Ctrl-C stops it. Everything it keeps is in {folder}

  SMTP {smtp.port}, LMTP {smtp.lmtp_port}   submission {smtp.submission_port} (STARTTLS), {smtp.submissions_port} (TLS)
  IMAP {imap.port} (STARTTLS), {imap.imaps_port} (TLS)   http://localhost:{api.port}/health/ready  /metrics

Log in as (also in {folder / "demo-credentials.json"}):
{logins}

Send a first mail, then read it:
  printf 'From: {alice}\\nTo: {bob}\\nSubject: Hello\\n\\nIt works.\\n' | curl -sS --ssl-reqd --cacert {ca} \\
    --url smtp://localhost:{smtp.submission_port} --user '{alice}:{known[alice]}' \\
    --mail-from {alice} --mail-rcpt {bob} --crlf --upload-file -
  curl -sS --cacert {ca} --user '{bob}:{known[bob]}' 'imaps://localhost:{imap.imaps_port}/INBOX;MAILINDEX=1'
"""


def _configuration(folder: Path) -> str:
    settings: dict[str, dict[str, object]] = {
        "server": {"hostname": HOSTNAME, "run_path": str(folder / "run")},
        "database": {"path": str(folder / "postgres")},
        "redis": {"path": str(folder / "valkey")},
        "storage": {"path": str(folder / "mail")},
        "tls": {"certificate": str(folder / "tls" / "cert.pem"), "key": str(folder / "tls" / "key.pem")},
        # Clients on loopback may send as much as they like, but must log in like all others.
        "security": {"limit_exempt_networks": _LOOPBACK},
        **{section: dict(ports) for section, ports in _PORTS.items()},
    }
    head = (
        f"# The demo of `make run` in {folder}; change it as you like, or remove it to have it made anew.\n"
    )
    return head + yaml.safe_dump(settings, sort_keys=False)


def _make_passwords(path: Path, wanted: str | None) -> None:
    addresses = (*USERS, ADMIN)
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    for address in addresses:
        known[address] = wanted or known.get(address) or _password()
    _write(path, json.dumps(known, indent=2).encode() + b"\n", 0o600)


def _password() -> str:
    return "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(16))


def _make_certificates(folder: Path) -> None:
    """Make a CA, and a certificate signed by it for this machine, unless they exist."""
    certificate = folder / "cert.pem"
    if certificate.exists() and (folder / "ca.pem").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    certificate.unlink(missing_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ESP demo CA")])
    ca_identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ca_identifier, critical=False)
        .add_extension(_key_usage(ca=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [
        x509.DNSName("localhost"),
        x509.DNSName(HOSTNAME),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTNAME)])
    leaf = (
        _certificate(subject, ca_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_identifier), critical=False
        )
        .add_extension(_key_usage(ca=False), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    # The CA's key is not kept: nobody can make another certificate that those who trust this demo would accept.
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(folder / "key.pem", secret, 0o600)
    _write(folder / "ca.pem", ca.public_bytes(pem), 0o644)
    # Written last: if it is there, the others are there and match it.
    _write(certificate, leaf.public_bytes(pem), 0o644)


def _write(path: Path, octets: bytes, mode: int) -> None:
    """Write the file completely or not at all, for a start may be killed at any moment."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(descriptor)
    part.replace(path)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _TEN_YEARS)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
