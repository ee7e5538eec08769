"""Mail from outside, by LMTP (RFC 2033)."""

import asyncio
import contextlib

from tests.support.wire import PATIENCE


async def deliver(port: int, recipient: str, subject: str) -> None:
    """Send a message from outside."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (
        b"LHLO test.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<%b>\r\nDATA\r\n" % recipient.encode(),
        f"Subject: {subject}\r\nFrom: a@example.org\r\n\r\n{subject}\r\n.\r\nQUIT\r\n".encode(),
    )
    try:
        async with asyncio.timeout(PATIENCE):
            answers = b""
            writer.write(lines[0])
            while b"\r\n354" not in answers:
                answers += await reader.readline() or b"\r\n354 closed"
            writer.write(lines[1])
            answers = await reader.read()
            assert answers.startswith(b"250"), answers
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
