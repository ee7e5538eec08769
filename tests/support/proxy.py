"""Ways to PostgreSQL that lose the connection at the worst moment, or have TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

_BIND, _SYNC = b"B", b"S\0\0\0\4"


class Proxy:
    """Stands between ESP and PostgreSQL, and cuts the connection that sends what it looks for, once, as told."""

    def __init__(self, server: Path, listen: Path) -> None:
        self._server = str(server)
        self._listen = str(listen)
        self.cut: str | None = None
        """`before` the server has it, `after` it was carried out, or `late`: it is still under way meanwhile.

        `last` is `after`, and no connection is made from then on.
        """
        self.marks: tuple[bytes, ...] = ()
        """What is looked for: all of these in one piece."""
        self.release = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._listener = await asyncio.start_unix_server(self._connected, self._listen)

    async def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream_reader, upstream = await asyncio.open_unix_connection(self._server)
        back = asyncio.create_task(self._back(upstream_reader, writer))
        try:
            while octets := await reader.read(1 << 20):
                if self.cut and all(mark in octets for mark in self.marks):
                    if self.cut != "before" and octets.startswith(_BIND):
                        # A commit that is held back (`esp.storage.postgres.holding`) comes a little later.
                        while not octets.endswith(_SYNC) and (more := await reader.read(1 << 20)):
                            octets += more
                    await self._cut(octets, upstream, upstream_reader, writer, back)
                    return
                upstream.write(octets)
        finally:
            back.cancel()
            writer.close()
            upstream.close()

    async def _cut(
        self,
        octets: bytes,
        upstream: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: "asyncio.Task[None]",
    ) -> None:
        how, self.cut = self.cut, None
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        if how == "last":
            assert self._listener is not None
            self._listener.close()
        if how in ("after", "last"):
            # It is carried out and answered; the answer never arrives.
            upstream.write(octets)
            await upstream_reader.read(1)
        writer.close()
        if how == "late":
            # It is still under way when the connection is gone already.
            await self.release.wait()
            with contextlib.suppress(OSError):
                upstream.write(octets)
                await upstream.drain()
                await upstream_reader.read(1)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(1 << 20):
            writer.write(octets)
        writer.close()


@contextlib.asynccontextmanager
async def tcp_door(server: Path, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    """A port that leads to the server, which itself has none; with TLS as a server that has it, else as it answers."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while octets := await reader.read(65536):
                writer.write(octets)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_unix_connection(server)
        if tls is not None:
            await reader.readexactly(8)  # SSLRequest
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(tls)
        await asyncio.gather(pass_on(reader, inner[1]), pass_on(inner[0], writer))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
