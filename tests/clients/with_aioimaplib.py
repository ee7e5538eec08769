"""Goes through what a mail program does, by aioimaplib. Arguments: port, CA file, user, password."""

import asyncio
import ssl
import sys

from aioimaplib import IMAP4_SSL

MESSAGE = b"Subject: aioimaplib\r\nContent-Type: text/plain\r\n\r\nby aioimaplib\r\n"


async def main() -> None:
    """Do it; whatever is wrong raises."""
    port, ca_file, user, password = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca_file)
    client = IMAP4_SSL("localhost", int(port), timeout=30, ssl_context=context)
    await client.wait_hello_from_server()

    def ok(response: tuple[str, list[bytes]]) -> list[bytes]:
        assert response[0] == "OK", response
        return response[1]

    ok(await client.login(user, password))
    assert any(line.endswith(b" Sent") for line in ok(await client.list('""', "*")))
    ok(await client.create("aioimaplib"))
    ok(await client.append(MESSAGE, "aioimaplib", "\\Flagged"))
    ok(await client.select("aioimaplib"))
    assert ok(await client.search("SUBJECT", "aioimaplib"))[0] == b"1"
    fetched = ok(await client.fetch("1", "(BODYSTRUCTURE BODY.PEEK[])"))
    assert any(bytes(line) == MESSAGE for line in fetched)
    assert any(b'"TEXT" "PLAIN"' in bytes(line).upper() for line in fetched)
    ok(await client.store("1", "+FLAGS", "($Work)"))
    ok(await client.copy("1", "Archive"))
    ok(await client.uid("MOVE", "1", "Trash"))
    assert ok(await client.search("ALL"))[0] == b""
    ok(await client.close())
    ok(await client.delete("aioimaplib"))
    ok(await client.select("INBOX"))
    idle = await client.idle_start(timeout=30)
    print("IDLING", flush=True)
    while not any(line.endswith(b"EXISTS") for line in await client.wait_server_push()):
        pass
    client.idle_done()
    await asyncio.wait_for(idle, 10)
    ok(await client.logout())
    print("DONE")


asyncio.run(main())
