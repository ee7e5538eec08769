"""Maildirs: which folder a mailbox has, what its file names mean, and the card that names it.

In: accounts, mailbox names, flags. Out: paths below `storage.path` and small files there. Message files are written,
read and renamed by `esp.native.Store`; this module says where and under which letters.

    <storage.path>/<domain>/<local part>/            INBOX: cur/ new/ tmp/ esp-mailbox.json
    <storage.path>/<domain>/<local part>/.Sent/      Maildir++ (https://www.courier-mta.org/imap/README.maildirquota.html)
    <storage.path>/<domain>/<local part>/.A.B/       made for "A/B"; renaming a mailbox does not move its folder

So the folder's name is only a first guess at the mailbox's name. `esp-mailbox.json` has the true one, and everything
else that is needed after the database was lost: see `services.upkeep`.
"""

import asyncio
import base64
import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from esp.core.mailbox import DELIMITER, Mailbox, SpecialUse
from esp.core.message import FIRST_KEYWORD_BIT, SystemFlag
from esp.native import MessageSection, Store, sync_file_system

INBOX_DIRECTORY = "."
CARD = "esp-mailbox.json"
QUARANTINE = "quarantine"
"""Folder below `storage.path` for files that belong to nobody."""

_LETTERS: tuple[tuple[str, SystemFlag], ...] = (
    # In ASCII order, as other programs write them.
    ("D", SystemFlag.DRAFT),
    ("F", SystemFlag.FLAGGED),
    ("R", SystemFlag.ANSWERED),
    ("S", SystemFlag.SEEN),
    ("T", SystemFlag.DELETED),
)
KEYWORD_LETTERS = "abcdefghijklmnopqrstuvwxyzABCEGHIJKLMNOQUVWXYZ012345678"
"""Letters of a mailbox's keywords, in their order: small letters as in Dovecot, then letters that nobody else uses."""
_SYSTEM = sum(flag for _, flag in _LETTERS)
_LETTERS_OF = {
    bits: "".join(letter for letter, flag in _LETTERS if bits & flag) for bits in range(_SYSTEM + 1)
}
_OURS = re.compile(r"(\d+)\.M(\d+)P\d+Q(\d+)\.")
_LONGEST_NAME = 240
"""Octets; NAME_MAX is 255, which leaves room for a `~n`."""


class Card(msgspec.Struct, frozen=True):
    """What a mailbox's folder says about itself (`esp-mailbox.json`)."""

    name: str
    uidvalidity: int
    special_use: SpecialUse | None = None
    subscribed: bool = True
    keywords: tuple[str, ...] = ()
    """What the letters of file names stand for, in the order of `KEYWORD_LETTERS`."""


class PreparedCard(msgspec.Struct, frozen=True):
    """A card whose octets are on the disk, but which does not have its name yet."""

    folder: str
    card: Card
    temporary: Path


class Maildirs:
    """The folders of all accounts, for services: each call is done in a thread."""

    def __init__(self, store: Store, root: Path) -> None:
        self._store = store
        self._root = root

    def directory_for(self, name: str, taken: Collection[str]) -> str:
        """See `directory_for`."""
        return directory_for(name, taken)

    async def describe(self, account: str, mailbox: Mailbox, *, subscribed: bool) -> None:
        """Make the mailbox's Maildir if it is missing, and write its card; both are durable afterwards."""
        where = folder(account, mailbox.directory)
        card = card_of(mailbox, subscribed=subscribed)
        await asyncio.to_thread(make_mailbox, self._store, self._root, where, card)

    async def prepare_cards(self, cards: Sequence[tuple[str, Card]]) -> list[PreparedCard]:
        """See `prepare_cards`."""
        return await asyncio.to_thread(prepare_cards, self._store, self._root, cards)

    async def place_cards(self, cards: Sequence[PreparedCard]) -> None:
        """Give cards their names; these are durable after a `sync`."""
        await asyncio.to_thread(place_cards, self._root, cards)

    async def discard_cards(self, cards: Sequence[PreparedCard]) -> None:
        """Remove cards that were not placed."""
        await asyncio.to_thread(discard_cards, cards)

    async def sync(self) -> None:
        """Make everything that was done to file names durable."""
        await asyncio.to_thread(sync_file_system, self._root)

    async def forget(self, account: str, directory: str) -> None:
        """See `forget_mailbox`."""
        await asyncio.to_thread(forget_mailbox, self._root, folder(account, directory))

    async def remove_account(self, account: str) -> None:
        """See `remove_account`."""
        await asyncio.to_thread(remove_account, self._root, account)

    def names(self, sizes: Sequence[int]) -> list[str]:
        """Return new base names for messages of these sizes, to be used with `link`."""
        return self._store.names(sizes)

    async def link(
        self, sources: Sequence[str], folder_: str, bases: Sequence[str], letters: Sequence[str | None]
    ) -> list[bool]:
        """Link message files into another Maildir under these base names, durably, all or none.

        Returns for each whether its source exists. The copies share their octets with the sources. If the call is
        cancelled, the links are made all the same.

        Raises:
            OSError: no room or no permission; nothing was linked.
        """
        return await asyncio.to_thread(self._store.link, list(sources), folder_, list(bases), list(letters))

    async def section(
        self, folder_: str, base: str, letters: str | None, section: str, partial: tuple[int, int] | None
    ) -> MessageSection:
        """Find a section of a message, whatever letters its file name has by now.

        Raises:
            FileNotFoundError: the message is gone.
            ValueError: the message has no such section.
            OSError: the message cannot be read.
        """
        path = self._root / folder_
        return await asyncio.to_thread(MessageSection, path, base, letters, section, partial)

    async def unlink(self, paths: Sequence[str]) -> None:
        """Remove files; one that cannot be removed is an orphan from now on."""
        if paths:
            await asyncio.to_thread(self._store.unlink, list(paths))


def card_of(mailbox: Mailbox, *, subscribed: bool) -> Card:
    """Return the card that a mailbox's folder should have."""
    return Card(mailbox.name, mailbox.uidvalidity, mailbox.special_use, subscribed, mailbox.keywords)


def flag_letters(flags: int) -> str:
    """Return the letters after `:2,` for the system flags of a set."""
    return _LETTERS_OF[flags & _SYSTEM]


def file_path(folder_: str, file: str, letters: str | None) -> str:
    """Return the path of a message file below the root; `letters` as in a row's `file_flags`."""
    return f"{folder_}/new/{file}" if letters is None else f"{folder_}/cur/{file}:2,{letters}"


def file_letters(flags: int) -> str | None:
    """Return the letters for the file of a new message; `None` puts it in `new`.

    The worker adds the letters of keywords, after it has written down what they stand for.
    """
    return _LETTERS_OF[flags & _SYSTEM] or None


def all_letters(flags: int) -> str:
    """Return the letters after `:2,` for a flag set, including those of keywords (`KEYWORD_LETTERS`)."""
    keywords = flags >> FIRST_KEYWORD_BIT
    words = "".join(letter for n, letter in enumerate(KEYWORD_LETTERS) if keywords >> n & 1)
    return "".join(sorted(flag_letters(flags) + words))


def nanoseconds(when: datetime) -> int:
    """Return a moment as a file time; one that a file cannot have (before 1677, after 2262) as the nearest possible."""
    # In two steps: a float does not have enough digits for both.
    exact = int(when.replace(microsecond=0).timestamp()) * 1_000_000_000 + when.microsecond * 1000
    return max(-(2**63), min(exact, 2**63 - 1))


def flags_of(file_flags: str | None, keywords: int = 0) -> int:
    """Return the flag set that letters stand for in a mailbox with `keywords` keywords; other letters are ignored."""
    letters = file_flags or ""
    flags = int(sum(flag for letter, flag in _LETTERS if letter in letters))
    for n, letter in enumerate(KEYWORD_LETTERS[:keywords]):
        flags |= (letter in letters) << (FIRST_KEYWORD_BIT + n)
    return flags


def account_folder(domain: str, local_part: str) -> str:
    """Return the folder of a new account below `storage.path`.

    Octets that a path cannot hold, or that would make a hidden or parent folder, are written `%xx`.
    """
    escaped = re.sub(r"[/%\x00-\x20\x7f]", lambda found: f"%{ord(found[0]):02x}", local_part)
    if escaped.startswith("."):
        escaped = "%2e" + escaped[1:]
    return f"{domain}/{_shortened(escaped)}"


def folder_stem(name: str) -> str:
    """Return the name of the folder of a new mailbox; if that is taken, the folder's name begins with it."""
    # A dot within a level would look like a level: `&AC4-` is a dot in modified UTF-7 as well (RFC 3501 §5.1.3).
    levels = (_utf7(level).replace(".", "&AC4-") for level in name.split(DELIMITER))
    return _shortened("." + ".".join(levels))


def directory_for(name: str, taken: Collection[str] = ()) -> str:
    """Return a folder for a new mailbox that is not among those of the account (`taken`)."""
    if name == "INBOX":
        return INBOX_DIRECTORY
    first = candidate = folder_stem(name)
    number = 2
    while candidate in taken:
        candidate = f"{first}~{number}"
        number += 1
    return candidate


def _utf7(text: str) -> str:
    """Return the modified UTF-7 of a name (RFC 3501 §5.1.3)."""
    return re.sub(
        r"[^ -~]+",
        lambda found: f"&{base64.b64encode(found[0].encode('utf-16-be'), b'+,').decode().rstrip('=')}-",
        text.replace("&", "&-"),
    )


def _shortened(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= _LONGEST_NAME:
        return name
    return encoded[:_LONGEST_NAME].decode(errors="ignore")


def folder(account: str, directory: str) -> str:
    """Return a mailbox's folder below `storage.path`."""
    return account if directory == INBOX_DIRECTORY else f"{account}/{directory}"


def make_mailbox(store: Store, root: Path, folder_: str, card: Card) -> None:
    """Make a mailbox's Maildir and its card, durably. Blocking: call it in a thread.

    Raises:
        OSError: no room or no permission.
    """
    store.make_folder(folder_)
    write_card(root, folder_, card)


def write_card(root: Path, folder_: str, card: Card) -> None:
    """Write a mailbox's card in one step, durably: at any moment there is the old card or the new one."""
    directory = root / folder_
    temporary = _write_aside(directory, card, sync=True)
    try:
        temporary.rename(directory / CARD)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(directory)


def prepare_cards(store: Store, root: Path, cards: Sequence[tuple[str, Card]]) -> list[PreparedCard]:
    """Write cards under other names, durably, into Maildirs that are made if missing. Blocking: call it in a thread.

    One sync of the whole file system is enough for all of them; `write_card` takes two for each.

    Raises:
        OSError: no room or no permission; nothing is left of the cards.
    """
    prepared: list[PreparedCard] = []
    try:
        for folder_, card in cards:
            directory = root / folder_
            if not (directory / "tmp").is_dir():
                store.make_folder(folder_)
            prepared.append(PreparedCard(folder_, card, _write_aside(directory, card, sync=False)))
        sync_file_system(root)
    except BaseException:
        discard_cards(prepared)
        raise
    return prepared


def place_cards(root: Path, cards: Sequence[PreparedCard]) -> None:
    """Give cards their names, each in one step; they are durable only after a sync.

    Raises:
        OSError: some cards may have their names, and the others do not.
    """
    for one in cards:
        one.temporary.rename(root / one.folder / CARD)


def discard_cards(cards: Sequence[PreparedCard]) -> None:
    """Remove cards that were not placed."""
    for one in cards:
        one.temporary.unlink(missing_ok=True)


def _write_aside(directory: Path, card: Card, *, sync: bool) -> Path:
    temporary = directory / "tmp" / f"{CARD}.{os.getpid()}.{os.urandom(4).hex()}"
    octets = msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, octets)
        if sync:
            os.fsync(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return temporary


def read_card(root: Path, folder_: str) -> Card | None:
    """Return a mailbox's card; `None` if there is none, or it cannot be read."""
    try:
        return msgspec.json.decode((root / folder_ / CARD).read_bytes(), type=Card)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def forget_mailbox(root: Path, folder_: str) -> None:
    """Remove a deleted mailbox's card, durably, so that no rebuild brings the mailbox back."""
    (root / folder_ / CARD).unlink(missing_ok=True)
    _sync_folder(root / folder_)


def remove_account(root: Path, account: str) -> None:
    """Remove an account's folder with all mail in it; the first step takes its name away."""
    doomed = root / QUARANTINE / f"removed-{os.urandom(8).hex()}"
    doomed.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        (root / account).rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed)


def directories(root: Path, account: str) -> Iterator[str]:
    """Yield the Maildirs below an account's folder, INBOX first."""
    home = root / account
    if (home / "cur").is_dir() or (home / "new").is_dir():
        yield INBOX_DIRECTORY
    try:
        entries = sorted(entry.name for entry in os.scandir(home) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return
    yield from (name for name in entries if name.startswith(".") and (home / name / "cur").is_dir())


def accounts(root: Path) -> Iterator[str]:
    """Yield the folders below the root that belong to accounts (`<domain>/<local part>` with a Maildir in it)."""
    for domain in sorted(root.iterdir()):
        if domain.name == QUARANTINE or domain.name.startswith(".") or not domain.is_dir():
            continue
        for home in sorted(domain.iterdir()):
            if (home / "cur").is_dir() or (home / "new").is_dir():
                yield f"{domain.name}/{home.name}"


def address_of(account: str) -> tuple[str, str]:
    """Return domain and local part for an account's folder; the inverse of `account_folder`."""
    domain, _, name = account.partition("/")
    return domain, re.sub(r"%([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), name)


def name_of(directory: str) -> str:
    """Guess a mailbox's name from its folder, if the card is lost."""
    if directory == INBOX_DIRECTORY:
        return "INBOX"
    return DELIMITER.join(from_utf7(level) for level in directory.removeprefix(".").split("."))


def from_utf7(text: str) -> str:
    """Return what modified UTF-7 stands for; parts that are not valid stand for themselves."""

    def decoded(found: "re.Match[str]") -> str:
        if not found[1]:
            return "&"
        padded = found[1] + "=" * (-len(found[1]) % 4)
        return base64.b64decode(padded, b"+,").decode("utf-16-be", errors="replace")

    return re.sub(r"&([A-Za-z0-9+,]*)-", decoded, text)


def place_of(path: str) -> tuple[str, str, str]:
    """Return the account's folder, the directory below it, and the base name, for a message file's path."""
    folder_, _, _ = path.rsplit("/", 2)
    domain, name, *directory = folder_.split("/")
    return f"{domain}/{name}", "/".join(directory) or INBOX_DIRECTORY, base_of(path)


def base_of(path: str) -> str:
    """Return the base name of a message file's path."""
    return path.rsplit("/", 1)[-1].split(":", 1)[0]


def is_ours(base: str) -> bool:
    """Tell whether a base name was made by `Store.deliver` or `Store.link`, here or on another host."""
    return _OURS.match(base) is not None


def received_at(base: str) -> tuple[int, int, int] | None:
    """Return second, microsecond and number of a base name that we made: the order in which messages came."""
    found = _OURS.match(base)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def put_aside(root: Path, folder_: str, part: str, file: str) -> None:
    """Move a file to the same place below the folder `quarantine`.

    Raises:
        FileNotFoundError: the file is gone.
    """
    target = root / QUARANTINE / folder_
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    (root / folder_ / part / file).rename(target / file)


def remove_if_empty(root: Path, folder_: str) -> None:
    """Remove a Maildir that holds nothing and has no card: the rest of a deleted mailbox."""
    where = root / folder_
    if (where / CARD).exists():
        return
    with contextlib.suppress(OSError):
        (where / "maildirfolder").unlink(missing_ok=True)
        for part in ("tmp", "new", "cur"):
            (where / part).rmdir()
        where.rmdir()


def _sync_folder(path: Path) -> None:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
