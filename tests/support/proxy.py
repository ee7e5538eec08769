"""A connection to PostgreSQL that is lost at the worst moment."""

import asyncio
import contextlib
from pathlib import Path


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
