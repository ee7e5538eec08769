"""What whoever configured a wrong certificate is told."""

import ssl
from pathlib import Path

import pytest

from esp.config.sections import Tls
from esp.services.certificates import server_context
from tests.imap.tls import certificate


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
