"""A load of numbered messages that remembers what the server promised for each."""

import asyncio
import contextlib
import secrets
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """What became of each message, by its Message-ID."""

    promised: set[str] = field(default_factory=set)
    """Answered 250 after the final dot."""
    refused: set[str] = field(default_factory=set)
    """Answered 4yz or 5yz at any stage."""
    permanent: set[int] = field(default_factory=set)
    """The 5yz among these answers: no failure of ours may be one (PITFALLS 5)."""
    unknown: set[str] = field(default_factory=set)
    """The connection ended after the final dot and before the reply (RFC 5321 §4.5.3.2.6: may or may not be there)."""


class RefusedError(Exception):
    """The server answered 4yz or 5yz."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def _reply(reader: asyncio.StreamReader) -> int:
    while True:
        line = await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)
        if line[3:4] == b" ":
            return int(line[:3])


async def _expect(reader: asyncio.StreamReader, wanted: int) -> None:
    code = await _reply(reader)
    if code != wanted:
        raise RefusedError(code)


async def send_until(
    stop: asyncio.Event,
    ledger: Ledger,
    port: int,
    recipients: list[str],
    *,
    size: int = 2048,
    limit: int = 1_000_000,
) -> None:
    """Send messages over one connection after another, until `stop` is set or `limit` is reached.

    Args:
        stop: set by the caller to end the load.
        ledger: where the outcome of each message is written.
        port: SMTP port on 127.0.0.1.
        recipients: each message goes to all of them.
        size: octets of the body.
        limit: most messages to send.
    """
    sent = 0
    while not stop.is_set() and sent < limit:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        try:
            await _expect(reader, 220)
            writer.write(b"EHLO load.test\r\n")
            await _expect(reader, 250)
            while not stop.is_set() and sent < limit:
                sent += 1
                await _one(reader, writer, ledger, recipients, size)
            writer.write(b"QUIT\r\n")
        except (OSError, EOFError, TimeoutError, RefusedError):
            await asyncio.sleep(0.02)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _one(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ledger: Ledger,
    recipients: list[str],
    size: int,
) -> None:
    message_id = f"{secrets.token_hex(12)}@load.test"
    after_dot = False
    try:
        writer.write(b"MAIL FROM:<sender@load.test>\r\n")
        await _expect(reader, 250)
        for recipient in recipients:
            writer.write(f"RCPT TO:<{recipient}>\r\n".encode())
            await _expect(reader, 250)
        writer.write(b"DATA\r\n")
        await _expect(reader, 354)
        body = f"From: sender@load.test\r\nSubject: load\r\nMessage-ID: <{message_id}>\r\n\r\n".encode()
        body += (b"x" * 70 + b"\r\n") * (size // 72)
        writer.write(body + b".\r\n")
        after_dot = True
        await writer.drain()
        await _expect(reader, 250)
    except RefusedError as error:
        ledger.refused.add(message_id)
        if error.code >= 500:
            ledger.permanent.add(error.code)
        writer.write(b"RSET\r\n")
        await _reply(reader)
        return
    except (OSError, EOFError, TimeoutError):
        (ledger.unknown if after_dot else ledger.refused).add(message_id)
        raise
    ledger.promised.add(message_id)
