"""What a returning client has missed (RFC 7162 §3.2.5, §3.2.6)."""

from typing import TYPE_CHECKING

from esp.imap.fetching import write
from esp.imap.selected import Selected
from esp.native import FetchItems, QresyncParameter, SequenceSet

if TYPE_CHECKING:
    from esp.imap.session import Session


async def resume(session: "Session", selected: Selected, client: QresyncParameter) -> None:
    """Tell a client that selects a mailbox what has changed there since it last knew everything."""
    if client.uidvalidity != selected.opened.index.uidvalidity:
        return  # RFC 7162 §3.2.5: as if the parameter were absent
    session.connection.write(
        selected.view.vanished_earlier(
            await selected.opened.expunged_since(client.modseq),
            uids=client.known_uids,
            matched=client.known_sequence,
        )
    )
    items = FetchItems(f"(UID FLAGS) (CHANGEDSINCE {client.modseq})")
    fetching = selected.view.fetch(
        client.known_uids or SequenceSet("1:*"), items, uid=True, contents=session.door.contents.cache
    )
    await write(session, selected, fetching, items)
