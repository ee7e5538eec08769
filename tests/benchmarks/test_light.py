"""The light client of the benchmark: an answer ends where it ends, and a session does all of its round."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from benchmarks.imap import RefusedError
from benchmarks.light import LightClient, Taken, cycle


@asynccontextmanager
async def served(*, status: bytes = b"OK done") -> AsyncIterator[LightClient]:
    """Give a client of a server that answers everything, a few octets at a time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        idling = b""
        while line := await reader.readline():
            tag, _, command = line.strip().partition(b" ")
            if command == b"IDLE":
                idling = tag
                writer.write(b"* 1 RECENT\r\n+ idling\r\n* 3 EXISTS\r\n")
                continue
            said = b"* 3 EXISTS\r\n* 1 FETCH (BODY[] {8}\r\nOK done\n)\r\n"
            answer = said + (idling if tag == b"DONE" else tag) + b" " + status + b"\r\n"
            for at in range(0, len(answer), 7):
                writer.write(answer[at : at + 7])
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        client = await LightClient.connect(server.sockets[0].getsockname()[1])
        yield client
        client.close()


async def test_an_answer_ends_with_the_last_line_that_has_its_tag() -> None:
    async with served() as client:
        for _ in range(3):
            assert (await client.command("NOOP")).text.endswith(b" OK done\r\n")


async def test_a_refusal_is_an_error() -> None:
    async with served(status=b"NO not now") as client:
        with pytest.raises(RefusedError, match="not now"):
            await client.command("NOOP")


async def test_a_session_does_all_of_its_round_and_ends_in_time() -> None:
    taken: Taken = {}
    async with served() as client:
        until = asyncio.get_running_loop().time() + 0.3
        async with asyncio.timeout(10):
            await cycle(client, random.Random(1), until, taken, pause=0)
    assert taken.keys() == {"SELECT", "FETCH flags of the newest", "FETCH of a body", "NOOP", "IDLE", "DONE"}
