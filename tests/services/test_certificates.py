"""What whoever configured a wrong certificate is told, and what binds to a connection."""

import ssl
from pathlib import Path

import pytest

from esp.config.sections import Tls
from esp.services.certificates import binding_of, bindings_of, server_context
from tests.imap.tls import certificate


class Transport:
    """One that knows its TLS connection."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls = tls

    def get_extra_info(self, name: str) -> object:
        return {"ssl_object": self._tls}[name]


def connected(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both ends of a connection in memory, after the handshake."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for end in (theirs, ours):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
    return ours, theirs


@pytest.mark.parametrize(
    ("version", "types"),
    [
        (ssl.TLSVersion.TLSv1_2, ["tls-server-end-point", "tls-unique"]),
        (ssl.TLSVersion.TLSv1_3, ["tls-server-end-point"]),
    ],
)
def test_what_binds_depends_on_the_handshake(
    tmp_path: Path, version: ssl.TLSVersion, types: list[str]
) -> None:
    """RFC 5802 §6.1 demands `tls-unique`; RFC 8446 does not define it, and RFC 7677 §4 not after a resumption."""
    tls, client = certificate(tmp_path)
    client.maximum_version = version
    server = server_context(tls)
    assert server is not None
    ours, theirs = connected(server, client)
    transport = Transport(ours)
    end_point = binding_of(transport)  # type: ignore[arg-type]
    found = bindings_of(end_point, transport)  # type: ignore[arg-type]
    assert [binding.type for binding in found] == types
    if len(types) == 2:
        assert found[1].data == theirs.get_channel_binding("tls-unique")
        again, _ = connected(server, client, theirs.session)
        assert again.session_reused
        assert bindings_of(end_point, Transport(again)) == (end_point,)  # type: ignore[arg-type]
    assert bindings_of(None, transport) == ()  # type: ignore[arg-type]


def test_a_key_of_another_certificate_is_named_with_it(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        certificate(tmp_path / name)
    pair = Tls(certificate=tmp_path / "one" / "cert.pem", key=tmp_path / "other" / "key.pem")
    with pytest.raises(ssl.SSLError) as refused:
        server_context(pair)
    assert f"tls.certificate {pair.certificate} and tls.key {pair.key}" in str(refused.value)


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    tls, _ = certificate(tmp_path)
    with pytest.raises(ssl.SSLError, match=r"tls\.key .*cert\.pem are not a certificate and its key"):
        server_context(Tls(certificate=tls.certificate, key=tls.certificate))
