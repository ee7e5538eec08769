"""The certificate that the mail doors show."""

import ssl

from esp.config.sections import Tls


def server_context(tls: Tls) -> ssl.SSLContext | None:
    """Return a context for a server's side of TLS; `None` when no certificate is configured.

    Raises:
        OSError: certificate or key cannot be read.
        ssl.SSLError: they are none, or not a pair.
    """
    if tls.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8996: nothing below 1.2. Opportunistic or not, older clients are better told than pleased.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(*_files(tls))
    return context


def reload(context: ssl.SSLContext, tls: Tls) -> None:
    """Read the certificate anew into a context; connections keep theirs, and a bad one changes nothing.

    Raises:
        OSError, ssl.SSLError: as when it was made.
    """
    # First into a context that nobody uses: half a pair must not be loaded.
    server_context(tls)
    context.load_cert_chain(*_files(tls))


def _files(tls: Tls) -> tuple[str, str | None]:
    return str(tls.certificate), str(tls.key) if tls.key is not None else None
