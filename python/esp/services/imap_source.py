"""Imports from another IMAP server (`import_sources`).

Several connections fetch windows of a few messages each; if only one folder is left, they fetch several of its windows
at once. Messages are handed on in the order of UIDs. A broken connection is replaced, after growing pauses; what had
come of its window is kept, and the rest is requested again. A message on which the connection breaks again and again
is given up, and the others go on.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from esp.core import mbox
from esp.core.errors import AuthenticationError, DeniedError, UnavailableError
from esp.core.mailbox import SpecialUse
from esp.core.message import FLAG_NAMES
from esp.native import mailbox_from_utf7
from esp.remote.imap_client import Fetched, ImapClient, Listed, Namespaces, Status
from esp.services.import_sources import Broken, Folder, Item, Message, Missing, Passed, Present
from esp.telemetry.log import get_logger

CONNECTIONS = 4
ASKED_AT_ONCE = 1000
"""Messages whose sizes one command requests."""
WINDOW_MESSAGES = 200
WINDOW_OCTETS = 2 * 1024 * 1024
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Seconds before each new attempt to connect; if the last one fails too, the server is given up."""
ATTEMPTS = 3
"""Attempts for one message on which the connection breaks."""

_USES = {use.value.lower(): use for use in SpecialUse}
_VIRTUAL = frozenset({"\\all", "\\flagged", "\\important"})
"""Views of messages that are in other mailboxes, too (RFC 6154 §2, RFC 8457)."""
_UNSELECTABLE = frozenset({"\\noselect", "\\nonexistent"})
_FLAGS = {name.lower(): flag for flag, name in FLAG_NAMES.items()}

log = get_logger(__name__)

_T = TypeVar("_T")


class _Window(msgspec.Struct, frozen=True):
    """Messages that are fetched together."""

    uids: tuple[int, ...]


class ImapSource:
    """An account on another server."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[ImapClient]],
        *,
        connections: int = CONNECTIONS,
        virtual: bool = False,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Make a source.

        Args:
            name: of the source in notes and reports.
            connect: makes a connection that is logged in.
            connections: the largest number at once.
            virtual: whether to bring mailboxes that only show messages of other mailboxes, too.
            pauses: between attempts to connect.
        """
        self._name = name
        self._connect = connect
        self._virtual = virtual
        self._pauses = tuple(pauses)
        self._idle: list[tuple[str, ImapClient]] = []
        """Each with the folder that it has selected."""
        self._open = 0
        self._most = connections
        self._returned = asyncio.Event()
        self._names: dict[str, bytes] = {}
        self._welcome = False
        """Whether a login has ever succeeded."""
        self._gone: UnavailableError | None = None
        """Why no connection can be had any more."""

    @property
    def name(self) -> str:
        """Its address."""
        return self._name

    async def folders(self) -> list[Folder]:
        """Return the account's own mailboxes, each with the number of its messages."""
        async with self._connection("") as client:
            namespaces = await client.namespaces()
            listed = [one for one in await client.listed() if self._is_wanted(one, namespaces)]
            found: list[Folder] = []
            for one in listed:
                name = one.name.decode("utf-8", "replace")
                self._names[name] = one.name
                use = next((_USES[attribute] for attribute in one.attributes if attribute in _USES), None)
                try:
                    status = await client.status(one.name)
                except DeniedError:
                    status = Status(0, 0)  # reported when its turn comes
                levels, validity = _levels(one, namespaces), str(status.uidvalidity)
                found.append(Folder(name, levels, status.messages, validity, use))
        return found

    async def messages(self, folder: Folder, missing: Missing) -> AsyncGenerator[Item, None]:
        """Yield messages in the order of their UIDs.

        Raises:
            DeniedError: the server does not let us read the folder.
            UnavailableError: the server is gone.
        """
        pending: deque[asyncio.Task[list[Item]]] = deque()
        try:
            async for window in self._windows(folder, missing):
                if isinstance(window, _Window):
                    pending.append(asyncio.create_task(self._fetch(folder, window)))
                else:
                    yield window
                while len(pending) >= self._most:
                    for item in await pending.popleft():
                        yield item
            while pending:
                for item in await pending.popleft():
                    yield item
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(client.close() for _, client in self._idle))
        self._idle.clear()

    def _is_wanted(self, listed: Listed, namespaces: Namespaces) -> bool:
        if listed.attributes & _UNSELECTABLE or (not self._virtual and listed.attributes & _VIRTUAL):
            return False
        return not any(
            prefix and (listed.name + listed.delimiter).startswith(prefix) for prefix in namespaces.others
        )

    async def _windows(self, folder: Folder, missing: Missing) -> AsyncIterator[_Window | Item]:
        """Yield windows that hold what is missing."""
        uids = await self._steadily(folder, lambda client: client.uids())
        for start in range(0, len(uids), ASKED_AT_ONCE):
            asked = uids[start : start + ASKED_AT_ONCE]
            wanted = await missing([str(uid) for uid in asked])
            if len(wanted) < len(asked):
                yield Present(len(asked) - len(wanted), len(asked) - len(wanted))
            left = [uid for uid in asked if str(uid) in wanted]
            if not left:
                continue
            sizes = await self._steadily(folder, lambda client, left=left: client.sizes(left))  # type: ignore[misc]
            if len(sizes) < len(left):
                yield Passed(len(left) - len(sizes))  # gone
            for window in _windows([(uid, sizes[uid]) for uid in left if uid in sizes]):
                yield window

    async def _steadily(self, folder: Folder, ask: Callable[[ImapClient], Awaitable[_T]]) -> _T:
        """Ask something about a folder; ask again if the connection breaks."""
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(UnavailableError):
                async with self._connection(folder.name, folder.validity) as client:
                    return await ask(client)
        async with self._connection(folder.name, folder.validity) as client:
            return await ask(client)

    async def _fetch(self, folder: Folder, window: _Window) -> list[Item]:
        """Return the messages of a window in order; one that cannot be had is reported as broken."""
        got: dict[int, Item] = {}
        together = True
        failures = 0
        while left := [uid for uid in window.uids if uid not in got]:
            asked = left if together else left[:1]
            before = len(got)
            try:
                async with self._connection(folder.name, folder.validity) as client:
                    async for fetched in client.fetch(asked):
                        if fetched.uid in asked:
                            got[fetched.uid] = _item(fetched)
            except DeniedError as error:
                if len(asked) == 1:
                    got[asked[0]] = Broken(str(asked[0]), error.detail)
                together = False
            except UnavailableError as error:
                if self._gone is not None:
                    raise
                log.warning("import_connection_lost", folder=folder.name, error=error.detail)
                failures = 0 if len(got) > before else failures + 1
                await asyncio.sleep(self._pauses[min(failures, len(self._pauses)) - 1] if failures else 0)
                if failures >= ATTEMPTS and len(asked) == 1:
                    got[asked[0]] = Broken(str(asked[0]), error.detail)
                    failures = 0
                together = together and failures < ATTEMPTS - 1
            else:
                # What did not come was expunged meanwhile.
                for uid in asked:
                    got.setdefault(uid, Passed(1))
        return [got[uid] for uid in window.uids]

    @contextlib.asynccontextmanager
    async def _connection(self, folder: str, validity: str = "") -> AsyncIterator[ImapClient]:
        """Lend a connection that has a folder selected; a connection on which an error occurred is not used again."""
        name, client = await self._taken(folder)
        try:
            if folder and name != folder:
                name = ""
                found = await client.examine(self._names[folder])
                if str(found) != validity:
                    raise DeniedError(
                        "the mailbox was made anew meanwhile (UIDVALIDITY); run the import again"
                    )
                name = folder
            yield client
        except DeniedError:
            self._idle.append((name, client))
            raise
        except BaseException:
            self._open -= 1
            await client.close()
            raise
        else:
            self._idle.append((name, client))
        finally:
            self._returned.set()

    async def _taken(self, folder: str) -> tuple[str, ImapClient]:
        """Return an idle connection, best one that has the folder selected; or a new one."""
        while not self._idle:
            if self._open < self._most:
                self._open += 1
                try:
                    return "", await self._connected()
                except BaseException as error:
                    self._open -= 1
                    self._returned.set()
                    # Many servers refuse the login when one user has too many connections.
                    if not isinstance(error, (AuthenticationError, DeniedError)) or not self._open:
                        raise
                    self._most = self._open
                    log.warning("import_connections_limited", error=error.detail, connections=self._open)
                    continue
            self._returned.clear()
            await self._returned.wait()
        at = next((n for n, (name, _) in enumerate(self._idle) if name == folder), -1)
        return self._idle.pop(at)

    async def _connected(self) -> ImapClient:
        last = UnavailableError("The server does not answer")
        for pause in self._pauses:
            if self._gone is not None:
                raise self._gone
            try:
                client = await self._connect()
            except UnavailableError as error:
                if not self._welcome:
                    raise  # more likely a wrong host name than a temporary failure
                last = error
                log.warning("import_connection_refused", error=error.detail, again_in=pause)
            except (AuthenticationError, DeniedError) as error:
                # The server has accepted a login before: this is more likely a temporary refusal.
                if self._open > 1 or not self._welcome:
                    raise
                last = UnavailableError(error.detail)
            else:
                self._welcome = True
                return client
            await asyncio.sleep(pause)
        self._gone = last
        raise last


def _windows(sizes: Sequence[tuple[int, int]]) -> list[_Window]:
    windows: list[_Window] = []
    uids: list[int] = []
    octets = 0
    for uid, size in sizes:
        if uids and (len(uids) >= WINDOW_MESSAGES or octets + size > WINDOW_OCTETS):
            windows.append(_Window(tuple(uids)))
            uids, octets = [], 0
        uids.append(uid)
        octets += size
    return [*windows, _Window(tuple(uids))] if uids else windows


def _item(fetched: Fetched) -> Item:
    key = str(fetched.uid)
    if fetched.octets is None:
        return Broken(key, "the server has no octets of it")
    flags = sum({_FLAGS[flag.lower()] for flag in fetched.flags if flag.lower() in _FLAGS})
    # \Recent belongs to a session, \* is no flag at all.
    keywords = tuple(flag for flag in fetched.flags if not flag.startswith("\\") and mbox.is_keyword(flag))
    return Message(key, fetched.octets, flags, keywords, fetched.internal_date)


def _levels(listed: Listed, namespaces: Namespaces) -> tuple[str, ...]:
    """Return the levels of a name, without the prefix that all names of the account have."""
    name = listed.name
    if name.upper() == b"INBOX":
        return ()
    for prefix in namespaces.personal:
        if prefix and len(name) > len(prefix) and name.startswith(prefix):
            name = name[len(prefix) :]
            break
    levels = name.split(listed.delimiter) if listed.delimiter else [name]
    return tuple(map(_decoded, levels))


def _decoded(level: bytes) -> str:
    text = level.decode("utf-8", "replace")
    try:
        return mailbox_from_utf7(text)
    except ValueError:
        return text
