"""What SEARCH, previews and threads need of a message: made by a worker after the delivery, or when a client waits.

In: rows of the outbox topic `index`. Out: rows of `content_index`. Repeating it changes nothing. A message that
cannot be indexed holds up no other: after a few attempts (from the third on alone, in case it takes the process down)
it gets a row with no text, and a log event.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from esp.core import thread
from esp.core.errors import EspError
from esp.core.mailbox import ContentId
from esp.core.principal import AccountId
from esp.core.thread import Threaded
from esp.native import Indexed, index_batch, index_message
from esp.storage.postgres import indexing as rows
from esp.storage.postgres import outbox
from esp.storage.postgres.indexing import IndexRow, Item
from esp.storage.postgres.outbox import Index, Leased, Topic
from esp.storage.postgres.pool import Database
from esp.telemetry import metrics
from esp.telemetry.log import get_logger

TOGETHER = 128
"""Contents indexed in one transaction."""
ROWS = 64
"""Outbox rows taken at once."""
TOGETHER_ATTEMPTS = 2
"""Attempts; after these, a row is tried alone."""
MOST_ATTEMPTS = 5

log = get_logger(__name__)


class Indexing:
    """Works through the topic `index`."""

    def __init__(
        self,
        database: Database,
        root: Path,
        *,
        read: Callable[[Sequence[str]], list[Indexed | None]] = index_batch,
        delivered: Callable[[Collection[AccountId]], Awaitable[None]] | None = None,
    ) -> None:
        """Make it.

        Args:
            database: where the rows are.
            root: below which the files are.
            read: reads files.
            delivered: called with the accounts whose new messages were indexed.
        """
        self._database = database
        self._delivered = delivered
        self._root = root
        self._read = read

    async def work(self) -> int:
        """Index all that is due now and return the number of contents dealt with.

        Raises:
            UnavailableError: the database does not answer; what was leased will be leased again.
        """
        done = 0
        untried, tried = range(TOGETHER_ATTEMPTS), range(TOGETHER_ATTEMPTS, 1_000_000)
        while leased := await outbox.lease(self._database, Topic.INDEX, ROWS, tried=untried):
            done += await self._together(leased)
            if len(leased) < ROWS:
                # What came meanwhile has a wake-up of its own, with more rows by then: few at a time would cost double.
                break
        # One by one: if the next one ends this process, only its own attempts are counted.
        while leased := await outbox.lease(self._database, Topic.INDEX, 1, tried=tried):
            done += await self._alone(leased[0])
        return done

    async def index(
        self, account: "AccountId", contents: Sequence[ContentId], told: Callable[[int, int], None]
    ) -> None:
        """Index contents that a client waits for; the worker will find them done. What fails is left to the worker.

        Args:
            account: whose.
            contents: not indexed yet.
            told: called from time to time with how many are done, and how many there are.

        Raises:
            UnavailableError: the database does not answer.
        """
        for start in range(0, len(contents), TOGETHER):
            told(start, len(contents))
            await self._attempt([(account, content) for content in contents[start : start + TOGETHER]], {})

    async def _together(self, leased: Sequence[Leased]) -> int:
        items = [item for row in leased for item in _items(row)]
        paths = {item: path for row in leased for item, path in _paths(row)}
        failed: set[Item] = set()
        for start in range(0, len(items), TOGETHER):
            failed |= await self._attempt(items[start : start + TOGETHER], paths)
        whole = [row.id for row in leased if failed.isdisjoint(_items(row))]
        await outbox.done(self._database, whole)
        metrics.OUTBOX_HANDLED.labels(Topic.INDEX).inc(len(whole))
        if self._delivered is not None:
            await self._delivered({account for account, _ in items})
        for row in leased:
            rest = [item for item in _items(row) if item in failed]
            if rest:
                metrics.OUTBOX_FAILED.labels(Topic.INDEX).inc()
                again = Index([account for account, _ in rest], [content for _, content in rest])
                await outbox.retry(self._database, row, [again])
        return len(items) - len(failed)

    async def _alone(self, leased: Leased) -> int:
        items = _items(leased)
        if len(items) > 1:
            payloads = [Index([account], [content]) for account, content in items]
            await outbox.retry(self._database, leased, payloads)
            return 0
        if leased.attempts <= MOST_ATTEMPTS and await self._attempt(items, {}):
            metrics.OUTBOX_FAILED.labels(Topic.INDEX).inc()
            await outbox.retry(self._database, leased)
            return 0
        if leased.attempts > MOST_ATTEMPTS:
            await self._give_up(items)
        await outbox.done(self._database, [leased.id])
        metrics.OUTBOX_HANDLED.labels(Topic.INDEX).inc()
        return len(items)

    async def _attempt(self, items: Sequence[Item], paths: Mapping[Item, str]) -> set[Item]:
        """Index contents, whose files were at `paths`, and return those that failed."""
        failed: set[Item] = set()
        entries = await self._entries({item: paths[item] for item in items if item in paths}, failed)
        if elsewhere := [item for item in items if item not in entries and item not in failed]:
            # A file's name changes with its flags, and a message can be gone.
            async with self._database.connection() as connection:
                now = await rows.paths(connection, elsewhere)
            entries |= await self._entries(now, failed)
            failed |= {
                _failed(item, "the file cannot be read")
                for item in now
                if item not in entries and item not in failed
            }
        return failed | await self._keep(entries)

    async def _entries(self, paths: Mapping[Item, str], failed: set[Item]) -> dict[Item, Indexed]:
        """Return what is in the files that exist; add to `failed` what cannot be indexed."""
        if not paths:
            return {}
        files = list(dict.fromkeys(paths.values()))
        try:
            entries = dict(zip(files, await asyncio.to_thread(self._read_files, files), strict=True))
        except EspError:
            raise
        except Exception as error:
            if len(paths) == 1:
                failed.update(_failed(item, repr(error)) for item in paths)
                return {}
            # One of them is to blame, and the others must not suffer.
            found: dict[Item, Indexed] = {}
            for item, path in paths.items():
                found |= await self._entries({item: path}, failed)
            return found
        return {item: entry for item, path in paths.items() if (entry := entries[path]) is not None}

    def _read_files(self, paths: Sequence[str]) -> list[Indexed | None]:
        try:
            return self._read([str(self._root / path) for path in paths])
        except BaseException as error:
            # A panic in Rust arrives as a BaseException that has no name to import.
            if type(error).__name__ != "PanicException":
                raise
            raise RuntimeError(f"panic: {error}") from error

    async def _keep(self, entries: Mapping[Item, Indexed]) -> set[Item]:
        """Write rows, and return the contents that PostgreSQL does not take."""
        if not entries:
            return set()
        try:
            await self._write(entries)
        except EspError:
            raise
        except Exception as error:
            if len(entries) == 1:
                return {_failed(item, repr(error)) for item in entries}
            failed: set[Item] = set()
            for item, entry in entries.items():
                failed |= await self._keep({item: entry})
            return failed
        return set()

    async def _write(self, entries: Mapping[Item, Indexed]) -> None:
        messages: dict[AccountId, list[Threaded]] = {}
        for (account, content), entry in entries.items():
            messages.setdefault(account, []).append(_threaded(content, entry))
        questions = [(a, r) for a, group in messages.items() for m in group for r in m.references]
        async with self._database.transaction() as tx:
            await rows.lock_threads(tx, list(messages))
            answers = await rows.threads(tx, [a for a, _ in questions], [r for _, r in questions])
            threads: dict[Item, int] = {}
            references: list[tuple[AccountId, int, int]] = []
            for account, group in messages.items():
                before = answers.get(account, {})
                known = dict(before)
                for content, number in thread.assign(group, known).items():
                    threads[account, content] = number
                references += [(account, r, t) for r, t in known.items() if r not in before]
            written = [
                IndexRow(
                    account=item[0],
                    content=item[1],
                    thread=threads[item],
                    # PostgreSQL's text holds every character but this one.
                    preview=entry.preview.replace("\0", ""),
                    signature=entry.signature,
                    text=entry.text,
                    head=entry.head,
                )
                for item, entry in entries.items()
            ]
            await rows.add(tx, written, references)

    async def _give_up(self, items: Sequence[Item]) -> None:
        for account, content in items:
            log.error("message_not_indexed", account=account, content=content)
        await self._write(dict.fromkeys(items, index_message(b"")))


def _threaded(content: ContentId, entry: Indexed) -> Threaded:
    identifiers = {*entry.references, *entry.in_reply_to, entry.message_id or ""}
    return Threaded(content, thread.reference_hashes(identifiers, entry.base_subject))


def _failed(item: Item, reason: str) -> Item:
    log.warning("index_failed", account=item[0], content=item[1], reason=reason)
    return item


def _index(leased: Leased) -> Index:
    assert isinstance(leased.payload, Index)
    return leased.payload


def _items(leased: Leased) -> list[Item]:
    payload = _index(leased)
    return list(zip(payload.accounts, payload.contents, strict=True))


def _paths(leased: Leased) -> list[tuple[Item, str]]:
    # Not strict: an older version of ESP left none.
    return list(zip(_items(leased), _index(leased).paths, strict=False))
