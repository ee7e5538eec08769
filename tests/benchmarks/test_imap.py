"""The measuring IMAP client stops at the end of an answer, and not before."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from benchmarks.imap import ImapConnection, RefusedError, status


@contextmanager
def served(answer: Callable[[bytes], list[bytes]]) -> Iterator[ImapConnection]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"* OK ready\r\n")
                while line := connection.recv(65536):
                    for part in answer(line):
                        connection.sendall(part)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with ImapConnection(listener.getsockname()[1], timeout=5) as connection:
            yield connection
        thread.join(5)


def test_a_long_answer_is_counted_whole() -> None:
    lines = b"* 1 FETCH (FLAGS ())\r\n" * 50_000

    def answer(line: bytes) -> list[bytes]:
        tag = line.split()[0]
        return [lines[:777], lines[777:], tag[:2], tag[2:] + b" OK", b" done\r\n"]

    with served(answer) as connection:
        response = connection.command("FETCH 1:* (FLAGS)")
    assert response.octets == len(lines) + len(b"ZQX1 OK done\r\n")


def test_a_refusal_is_an_error() -> None:
    with (
        served(lambda line: [line.split()[0] + b" NO not here\r\n"]) as connection,
        pytest.raises(RefusedError, match="not here"),
    ):
        connection.command("SELECT Nowhere")


def test_status_is_read() -> None:
    def answer(line: bytes) -> list[bytes]:
        return [b"* STATUS INBOX (MESSAGES 42)\r\n" + line.split()[0] + b" OK\r\n"]

    with served(answer) as connection:
        assert connection.messages("INBOX") == 42


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"ZQX1 OK done\r\n", b"OK done\r\n"),
        (b"* 1 EXISTS\r\nZQX1 NO\r\n", b"NO\r\n"),
        (b"ZQX1 OK\r\n* 2 EXISTS\r\n", b"OK\r\n* 2 EXISTS\r\n"),
        (b"* 1 FETCH (BODY[] {9}\r\nx ZQX1 OK)\r\n", None),
        (b"ZQX11 OK\r\n", None),
        (b"* 1 EXISTS\r\nZQX1 OK done", None),
        (b"", None),
    ],
)
def test_an_answer_ends_with_the_response_that_has_its_tag(text: bytes, said: bytes | None) -> None:
    assert status(text, b"ZQX1") == said
    assert status(bytearray(b"* 1 FETCH (FLAGS ())\r\n" * 10_000 + text), b"ZQX1") == said
