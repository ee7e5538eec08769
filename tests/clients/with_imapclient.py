"""Goes through what a mail program does, by IMAPClient. Arguments: port, CA file, user, password."""

import ssl
import sys
from datetime import UTC, datetime

from imapclient import IMAPClient

MESSAGE = b"Subject: imapclient\r\nContent-Type: text/plain\r\n\r\nby imapclient\r\n"


def main() -> None:
    """Do it; whatever is wrong raises."""
    port, ca_file, user, password = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca_file)
    with IMAPClient("localhost", port=int(port), ssl_context=context, timeout=30) as client:
        client.login(user, password)
        assert any(name == "Sent" and b"\\Sent" in flags for flags, _, name in client.list_folders())
        client.create_folder("imapclient/Bäume")
        when = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
        client.append("imapclient/Bäume", MESSAGE, [b"\\Flagged"], when)
        assert client.select_folder("imapclient/Bäume")[b"EXISTS"] == 1
        (uid,) = client.search(["SUBJECT", "imapclient", "FLAGGED"])
        assert client.sort("REVERSE DATE") == [uid]
        data = client.fetch([uid], ["BODYSTRUCTURE", "ENVELOPE", "BODY.PEEK[]", "INTERNALDATE", "FLAGS"])[uid]
        assert data[b"BODY[]"] == MESSAGE
        assert data[b"BODYSTRUCTURE"][0] == b"text"
        assert data[b"ENVELOPE"].subject == b"imapclient"
        assert {b"\\Flagged", b"$Work"} <= set(client.add_flags([uid], [b"$Work"])[uid])
        client.copy([uid], "Archive")
        client.move([uid], "Trash")
        assert client.search() == []
        client.close_folder()
        client.delete_folder("imapclient/Bäume")
        client.select_folder("INBOX")
        client.idle()
        print("IDLING", flush=True)
        heard: list[object] = []
        while not any(isinstance(each, tuple) and each[1] == b"EXISTS" for each in heard):
            heard += client.idle_check(timeout=30)
        client.idle_done()
        client.logout()
    print("DONE")


main()
