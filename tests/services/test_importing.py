"""Mail is brought from a source of very many folders as from one of few."""

from collections.abc import AsyncGenerator
from pathlib import Path

from esp.core.mailbox import SpecialUse
from esp.core.principal import Principal
from esp.native import Store
from esp.services.dispatch import Dispatch
from esp.services.import_sources import Folder, Item, Missing
from esp.services.importing import Importing, Names
from esp.services.mailboxes import Listed, Mailboxes
from esp.services.messages import Messages
from esp.storage.maildir import Maildirs
from esp.storage.postgres.pool import Database
from tests.services.conftest import Publications, add_box
from tests.services.test_imap_source import Ignore


class Empty:
    """A source of folders without messages."""

    name = "empty://"

    def __init__(self, folders: list[Folder]) -> None:
        self._folders = folders

    async def folders(self) -> list[Folder]:
        return self._folders

    async def messages(self, folder: Folder, missing: Missing) -> AsyncGenerator[Item, None]:
        for none in ():
            yield none

    async def close(self) -> None: ...


class Counting(Mailboxes):
    """Counts how often all names of an account are read."""

    lists = 0

    async def listed(self, principal: Principal) -> list[Listed]:
        self.lists += 1
        return await super().listed(principal)


async def test_what_is_there_is_listed_once_however_many_folders_come(
    database: Database, store: Store, dispatch: Dispatch, root: Path, publications: Publications
) -> None:
    files = Maildirs(store, root)
    messages = Messages(database, files, publications, 60.0)  # type: ignore[arg-type]
    mailboxes = Counting(database, files, messages, publications, 60.0)  # type: ignore[arg-type]
    box = await add_box(database)
    principal = Principal(box.account, f"{box.folder.partition('/')[2]}@example.test", box.folder)
    folders = [
        Folder(name, tuple(name.split("/")), 0, special_use=use)
        for name, use in [
            *((f"a/{n}", None) for n in range(30)),
            ("Gone", SpecialUse.TRASH),
            ("Bin", SpecialUse.TRASH),
        ]
    ]
    importing = Importing(database, mailboxes, messages, dispatch)

    done = await importing.run(principal, Empty(folders), Names(), Ignore())

    assert done.complete
    assert mailboxes.lists == 1
    made = {one.name: one for one in await mailboxes.listed(principal) if one.mailbox is not None}
    assert made.keys() == {"INBOX", "Gone", "Bin", *(f"a/{n}" for n in range(30))}
    assert all(one.subscribed for name, one in made.items() if name != "INBOX")
    assert sorted(str(made[name].mailbox.special_use) for name in ("Gone", "Bin")) == ["None", "\\Trash"]  # type: ignore[union-attr]
