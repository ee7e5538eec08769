"""Maildirs of other programs, and of other ESP servers: which folders there are, and what their files say.

In: a path. Out: folders and messages. It understands

- Maildir++, as Dovecot and Courier write it: `.A.B` beside the inbox's `cur`, names in modified UTF-7;
- trees, as mbsync and offlineimap write them: `A/B/cur`;
- our own, whose `esp-mailbox.json` has the true name;
- keywords by `dovecot-keywords`, the order of UIDs by `dovecot-uidlist`.

Blocking: call it in a thread.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from esp.core import mbox
from esp.core.mailbox import DELIMITER, SpecialUse
from esp.storage import maildir

DOVECOT_KEYWORDS = "dovecot-keywords"
_UIDLIST = "dovecot-uidlist"
_PASSED = "$Forwarded"
"""The flag that the letter P stands for: "resent/forwarded/bounced" in the Maildir paper."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RECEIVED = re.compile(r"(\d+)\.(?:M(\d+))?(?:.*?Q(\d+))?")


class Folder(msgspec.Struct, frozen=True):
    """A Maildir that is one mailbox."""

    path: Path
    levels: tuple[str, ...]
    """The levels of its name; none for the inbox."""
    special_use: SpecialUse | None = None


class Stored(msgspec.Struct, frozen=True):
    """A message file."""

    path: Path
    base: str
    """The file's name without flags, which never changes."""
    flags: int
    keywords: tuple[str, ...]


def folders(root: Path) -> list[Folder]:
    """Return all Maildirs at and below a path, the inbox first."""
    found: list[Folder] = []
    for directory, names, _ in os.walk(root):
        here = Path(directory)
        is_maildir = _is_maildir(here)
        if is_maildir:
            found.append(_folder(root, here))
        # Below a Maildir only its Maildir++ folders are mailboxes; `.git` and the like are not.
        names[:] = sorted(
            name
            for name in names
            if name not in {"cur", "new", "tmp"} and (_is_maildir(here / name) or not name.startswith("."))
        )
    return sorted(found, key=lambda folder: folder.levels)


def files(folder: Folder) -> list[tuple[str, str]]:
    """Return part and file name of every message, in the order in which they came."""
    order = _uids(folder.path)
    found: list[tuple[tuple[int, ...], str, str]] = []
    for part in ("new", "cur"):
        try:
            entries = os.scandir(folder.path / part)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                base = entry.name.partition(":")[0]
                if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                    continue
                # Messages that Dovecot has not seen yet come after those that it has.
                key = (0, order[base]) if base in order else (1, *_received(base, entry))
                found.append((key, part, entry.name))
    found.sort()
    return [(part, name) for _, part, name in found]


def stored(folder: Folder, keywords: tuple[str, ...], part: str, name: str) -> Stored:
    """Return what a file's name says, with the folder's `keywords`."""
    base, _, info = name.partition(":")
    letters = info.removeprefix("2,").partition(",")[0] if part == "cur" else ""
    words = [
        word for word, letter in zip(keywords, maildir.KEYWORD_LETTERS, strict=False) if letter in letters
    ]
    if "P" in letters:
        words.append(_PASSED)
    usable = tuple(word for word in dict.fromkeys(words) if mbox.is_keyword(word))
    return Stored(folder.path / part / name, base, maildir.flags_of(letters), usable)


def keywords_of(path: Path) -> tuple[str, ...]:
    """Return the keywords that the letters of a Maildir's file names stand for, in the order of the letters."""
    card = maildir.read_card(path.parent, path.name)
    if card is not None and card.keywords:
        return card.keywords
    found: dict[int, str] = {}
    try:
        lines = (path / DOVECOT_KEYWORDS).read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
    for line in lines:
        number, _, word = line.partition(" ")
        if number.isdecimal() and int(number) < len(maildir.KEYWORD_LETTERS):
            found[int(number)] = word
    return tuple(found.get(number, "") for number in range(max(found, default=-1) + 1))


def date_of(path: Path) -> datetime:
    """Return when a message arrived: its file's time."""
    try:
        return _EPOCH + timedelta(microseconds=path.stat().st_mtime_ns // 1000)
    except OverflowError:
        return _EPOCH


def find(folder: Folder, base: str) -> Path | None:
    """Return the path of a file that another program has renamed since it was listed."""
    for part in ("cur", "new"):
        for entry in os.scandir(folder.path / part):
            if entry.name.partition(":")[0] == base:
                return Path(entry.path)
    return None


def _is_maildir(path: Path) -> bool:
    return (path / "cur").is_dir()


def _folder(root: Path, path: Path) -> Folder:
    card = maildir.read_card(path.parent, path.name)
    if card is not None:
        levels = tuple(card.name.split(DELIMITER))
        return Folder(path, () if levels == ("INBOX",) else levels, card.special_use)
    levels = tuple(level for name in path.relative_to(root).parts for level in _levels(name))
    return Folder(path, () if tuple(level.upper() for level in levels) == ("INBOX",) else levels)


def _levels(name: str) -> Iterator[str]:
    if not name.startswith("."):
        yield maildir.from_utf7(name)
        return
    yield from (maildir.from_utf7(level) for level in name[1:].split("."))


def _received(base: str, entry: "os.DirEntry[str]") -> tuple[int, int, int]:
    found = _RECEIVED.match(base)
    if found is None:
        return int(entry.stat().st_mtime), 0, 0
    return int(found[1]), int(found[2] or 0), int(found[3] or 0)


def _uids(path: Path) -> dict[str, int]:
    """Return the UIDs that Dovecot has assigned (its documentation, "Maildir mailbox format", `dovecot-uidlist`)."""
    found: dict[str, int] = {}
    try:
        with (path / _UIDLIST).open(encoding="utf-8", errors="surrogateescape") as lines:
            next(lines, None)
            for line in lines:
                uid, _, rest = line.partition(" ")
                name = rest[rest.find(":") + 1 :].rstrip("\n")
                if uid.isdecimal():
                    found[name.partition(":")[0]] = int(uid)
    except OSError:
        return {}
    return found
