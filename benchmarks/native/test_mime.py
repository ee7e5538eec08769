"""What delivery and indexing ask about a message."""

import base64

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.messages import BODY_NEEDLE, Writer
from esp import native

SIZES = {"4 KiB": 4096, "64 KiB": 65536, "1 MiB": 1048576}


def _newsletter() -> bytes:
    """A multipart message of 49 KB with everything that must be decoded."""
    plain = "".join(f"Größe {number} =C3=BC und mehr Text in dieser Zeile=\r\n" for number in range(200))
    html = "".join(
        f'<tr><td style="color: red">Größe {number}</td><td><a href="http://a.example/">mehr</a></td>\r\n'
        for number in range(200)
    )
    picture = base64.encodebytes(bytes(range(256)) * 60).replace(b"\n", b"\r\n").decode()
    return (
        "From: =?utf-8?q?J=C3=BCrgen?= <a@example.org>\r\nTo: b@example.org\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="o"\r\n\r\n--o\r\n'
        'Content-Type: multipart/alternative; boundary="i"\r\n\r\n--i\r\n'
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        f"{plain}\r\n--i\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--i--\r\n--o\r\n"
        'Content-Type: image/png; name="a.png"\r\nContent-Disposition: attachment; filename="a.png"\r\n'
        f"Content-Transfer-Encoding: base64\r\n\r\n{picture}\r\n--o--\r\n"
    ).encode()


@pytest.fixture(params=[*SIZES, "49 KB multipart"])
def message(request: pytest.FixtureRequest) -> bytes:
    return Writer(1).message(1, SIZES[request.param]) if request.param in SIZES else _newsletter()


def test_describe(benchmark: BenchmarkFixture, message: bytes) -> None:
    assert benchmark(native.describe, message).size == len(message)


def test_index_message(benchmark: BenchmarkFixture, message: bytes) -> None:
    assert benchmark(native.index_message, message).text


def test_body_section(benchmark: BenchmarkFixture, message: bytes) -> None:
    assert benchmark(native.body_section, message, "HEADER")


def test_search_of_a_thousand_texts(benchmark: BenchmarkFixture) -> None:
    texts = [native.index_message(message).text for message in Writer(3).mailbox(1000)]
    assert sum(benchmark(native.search_batch, texts, BODY_NEEDLE)) == 10


def test_a_thousand_signatures(benchmark: BenchmarkFixture) -> None:
    signatures = [native.index_message(message).signature for message in Writer(3).mailbox(1000)]
    assert sum(benchmark(native.may_contain_batch, signatures, BODY_NEEDLE)) >= 10
