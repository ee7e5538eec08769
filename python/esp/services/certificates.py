"""The certificate that the mail doors present."""

import hashlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from esp.config.sections import Tls
from esp.core.sasl import ChannelBinding

if TYPE_CHECKING:
    import asyncio

HANDSHAKE_TIMEOUT = 30.0
"""Seconds that a client may take for a TLS handshake, at all doors."""


class ServerContext(ssl.SSLContext):
    """A server's side of TLS, with the channel binding of its certificate."""

    binding: ChannelBinding | None = None


def binding_of(transport: "asyncio.BaseTransport") -> ChannelBinding | None:
    """Return the channel binding of a TLS connection; call it right after the handshake, for certificates change.

    It is `tls-server-end-point` (RFC 5929 §4): Python 3.11 gives no keying material for `tls-exporter` (RFC 9266).
    """
    tls = transport.get_extra_info("ssl_object")
    context = tls.context if tls is not None else None
    return context.binding if isinstance(context, ServerContext) else None


def bindings_of(
    end_point: ChannelBinding | None, transport: "asyncio.BaseTransport"
) -> tuple[ChannelBinding, ...]:
    """Return all that binds to a TLS connection: what `binding_of` told of it, and what is made only for those who ask.

    `tls-unique` (RFC 5929 §3), which RFC 5802 §6.1 demands, is not defined for TLS 1.3 (RFC 8446 appendix C.5), and not
    safe in a resumed session (RFC 7677 §4).
    """
    if end_point is None:
        return ()
    tls = transport.get_extra_info("ssl_object")
    made_now = tls is not None and tls.version() == "TLSv1.2" and not tls.session_reused
    unique = tls.get_channel_binding("tls-unique") if made_now else None
    return (end_point, ChannelBinding("tls-unique", unique)) if unique else (end_point,)


def server_context(tls: Tls) -> ServerContext | None:
    """Return a context for a server's side of TLS; `None` when no certificate is configured.

    Raises:
        OSError: certificate or key cannot be read.
        ssl.SSLError: they are not a certificate and a key, or do not belong together.
    """
    if tls.certificate is None:
        return None
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8996: nothing below 1.2. Even opportunistic TLS refuses older clients: better an error than weak encryption.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    _load(context, tls)
    return context


def reload(context: ServerContext, tls: Tls) -> None:
    """Read the certificate again into a context; open connections keep theirs, and a bad one changes nothing.

    Raises:
        OSError, ssl.SSLError: as for `server_context`.
    """
    # First into a context that nobody uses: the certificate must not be loaded without its key.
    server_context(tls)
    _load(context, tls)


def _load(context: ServerContext, tls: Tls) -> None:
    certificate, key = _files(tls)
    try:
        # A key with a password fails; OpenSSL would ask for it on a terminal, which a service does not have.
        context.load_cert_chain(certificate, key, password=b"")
    except ssl.SSLError as error:
        # OpenSSL names neither the files nor what is wrong with them.
        raise ssl.SSLError(
            error.errno,
            f"tls.certificate {certificate} and tls.key {key or certificate} are not a certificate and its key "
            f"({error.strerror}); give the pair that was issued together, as PEM without a password",
        ) from error
    try:
        context.binding = _end_point(x509.load_pem_x509_certificate(Path(certificate).read_bytes()))
    except ValueError:  # OpenSSL takes certificates that cryptography cannot parse
        context.binding = None


def _end_point(certificate: x509.Certificate) -> ChannelBinding | None:
    """`tls-server-end-point` (RFC 5929 §4.1); for a signature without one hash (Ed25519) there is none."""
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in {"md5", "sha1"} else algorithm.name
    return ChannelBinding(
        "tls-server-end-point", hashlib.new(name, certificate.public_bytes(Encoding.DER)).digest()
    )


def _files(tls: Tls) -> tuple[str, str | None]:
    return str(tls.certificate), str(tls.key) if tls.key is not None else None
