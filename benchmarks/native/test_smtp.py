"""What the SMTP door's reader does for one message."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.messages import Writer
from esp.native import SmtpLimits, SmtpMessage, SmtpReader, SmtpVerb


@pytest.mark.parametrize("octets", [4096, 65536])
def test_a_transaction(benchmark: BenchmarkFixture, octets: int) -> None:
    limits = SmtpLimits(
        size_limit=1 << 26,
        header_limit=1 << 20,
        authserv_id="mail.bench.test",
        memory_limit=1 << 18,
        memory_budget=1 << 28,
    )
    body = Writer(1).message(1, octets) + b".\r\n"
    reader = SmtpReader(limits)

    def transaction() -> object:
        for line in (b"MAIL FROM:<a@elsewhere.test>\r\n", b"RCPT TO:<u1@bench.test>\r\n"):
            reader.feed(line)
            reader.next()
        reader.feed(b"DATA\r\n")
        assert reader.next() == SmtpVerb.DATA
        reader.begin_data(strip_bcc=False)
        reader.feed(body)
        return reader.next()

    assert isinstance(benchmark(transaction), SmtpMessage)
