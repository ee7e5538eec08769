"""COMPRESS=DEFLATE (RFC 4978): both directions, pushes, literals, bombs, and what idle sessions cost."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import pytest_asyncio

from esp.imap.connection import READ_AHEAD
from tests.imap.client import Client
from tests.imap.test_connection import resident
from tests.imap.world import Imap, World


class _Inflating(asyncio.StreamReader):
    """What a client reads, inflated."""

    def __init__(self, compressed: asyncio.StreamReader) -> None:
        super().__init__(limit=2**26)
        self.received = 0
        self.pump = asyncio.create_task(self._read(compressed))

    async def _read(self, compressed: asyncio.StreamReader) -> None:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        while octets := await compressed.read(65536):
            self.received += len(octets)
            self.feed_data(inflate.decompress(octets))
            if inflate.eof:
                self.feed_data(inflate.unused_data)
                inflate = zlib.decompressobj(0)  # whatever else comes is not compressed
                break
        while octets := await compressed.read(65536):
            self.feed_data(octets)
        self.feed_eof()


class Compressed(Client):
    """A client that compresses from `compress` on."""

    deflate: "zlib._Compress | None" = None

    async def compress(self) -> None:
        await self.ok("COMPRESS DEFLATE")
        self.deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        self.reader = _Inflating(self.reader)

    def send(self, octets: bytes | str) -> None:
        octets = octets.encode() if isinstance(octets, str) else octets
        if self.deflate is not None:
            octets = self.deflate.compress(octets) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.writer.write(octets)


@pytest_asyncio.fixture(loop_scope="session")
async def compressed(world: World, imap: Imap) -> AsyncIterator[Compressed]:
    client = await Compressed.login(imap.port, await world.account())
    await client.compress()
    yield client
    await client.close()


async def test_commands_literals_and_pipelines_pass_both_ways(compressed: Compressed) -> None:
    message = b"Subject: x\r\n\r\n" + bytes(range(32, 127)) * 20_000
    assert (await compressed.append("INBOX", message)).startswith("OK")
    await compressed.ok("SELECT INBOX")
    (fetched, _) = await compressed.ok("FETCH 1 (BODY.PEEK[])")
    assert fetched.encode().endswith(message + b")")
    assert isinstance(compressed.reader, _Inflating)
    assert compressed.reader.received < len(message) / 10
    compressed.send("".join(f"p{n} NOOP\r\n" for n in range(500)))
    assert len(await compressed.until("p499 ")) == 500


async def test_a_large_literal_of_a_refused_command_is_read_to_its_end(compressed: Compressed) -> None:
    message = b"x" * 4 * READ_AHEAD
    compressed.send(f"a APPEND nowhere {{{len(message)}+}}\r\n".encode() + message + b"\r\n")
    assert (await compressed.line()).startswith("a NO [TRYCREATE]")
    await compressed.ok("NOOP")


async def test_it_is_told_of_only_while_it_is_possible(compressed: Compressed) -> None:
    assert "COMPRESS" not in (await compressed.ok("CAPABILITY"))[0]
    assert (await compressed.command("COMPRESS DEFLATE"))[-1].startswith("NO [COMPRESSIONACTIVE]")


async def test_it_needs_a_login_and_a_known_algorithm(world: World, imap: Imap) -> None:
    client = await Client.connect(imap.port)
    assert "COMPRESS=DEFLATE" in await client.line()
    assert (await client.command("COMPRESS DEFLATE"))[-1].startswith("BAD")
    await client.ok(f"LOGIN {await world.account()} secret")
    assert (await client.command("COMPRESS LZW"))[-1].startswith("BAD")
    client.send("c COMPRESS DEFLATE\r\nd NOOP\r\n")
    assert (await client.line()).startswith("c BAD")
    assert (await client.line()).startswith("d OK")
    await client.close()


async def test_a_push_while_idle_is_flushed(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await Compressed.login(imap.port, address)
    await client.compress()
    await client.ok("SELECT INBOX")
    client.send("i IDLE\r\n")
    await client.until("+ ")
    sender = await imap.login(address)
    await sender.append("INBOX", b"x")
    assert await client.line() == "* 1 EXISTS"
    # A compressor that was let go of meanwhile is no end of the stream.
    for session in imap.door._sessions:
        session.connection._fall_silent()
    await sender.append("INBOX", b"x")
    assert (await client.until("* 2 EXISTS"))[-1] == "* 2 EXISTS"
    for connected in (client, sender):
        await connected.close()


async def test_after_unauthenticate_nothing_is_compressed(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await Compressed.login(imap.port, address)
    await client.compress()
    assert client.deflate is not None
    client.writer.write(
        client.deflate.compress(b"u UNAUTHENTICATE\r\n") + client.deflate.flush(zlib.Z_FINISH)
    )
    client.writer.write(f"l LOGIN {address} secret\r\n".encode())
    client.deflate = None
    assert (await client.line()).startswith("u OK")
    line = await client.line()
    assert line.startswith("l OK")
    assert "COMPRESS=DEFLATE" in line
    await client.ok("NOOP")
    await client.close()


async def test_a_bomb_is_taken_in_small_pieces(compressed: Compressed) -> None:
    before = resident()
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    for _ in range(256):
        compressed.writer.write(bomb.compress(b"x" * 2**20))
    compressed.writer.write(bomb.flush(zlib.Z_SYNC_FLUSH))
    lines = await compressed.until("* BYE")
    assert "too long" in lines[0]
    assert resident() - before < 32 * 1024 * 1024


async def test_what_is_no_deflate_ends_the_connection(compressed: Compressed) -> None:
    compressed.writer.write(b"\xff\xff\xff\xff a NOOP\r\n")
    assert await compressed.line() == ""


async def test_quiet_sessions_keep_little(world: World, imap: Imap) -> None:
    address = await world.account()
    clients = [await Compressed.login(imap.port, address) for _ in range(20)]
    for client in clients:
        await client.compress()
        await client.ok("NOOP")
    mine = {c.writer.get_extra_info("sockname")[1] for c in clients}
    layers = [
        session.connection._layer
        for session in imap.door._sessions
        if session.connection.transport.get_extra_info("peername")[1] in mine
    ]
    assert len(layers) == 20
    for session in imap.door._sessions:
        session.connection._fall_silent()
    assert all(layer is not None and layer._compressor is None for layer in layers)
    for client in clients:
        await client.ok("NOOP")
        await client.close()
