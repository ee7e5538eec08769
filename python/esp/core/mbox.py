"""The grammar of mbox: From_ lines, quoting, and the header fields in which mail programs keep their flags.

There is no standard but a description (RFC 4155). What this reads:

- A message begins at a line `From <who> <date>`, with or without an empty line before it (Thunderbird writes none); the
  date must be one, which tells the line from prose. `Content-Length` is never believed: programs that edit a message
  leave it wrong.
- Quoting: in mboxrd every line that was `>*From ` has one `>` more; in mboxo only `From ` has.
- Flags: `Status` and `X-Status` (mutt, Dovecot, UW), `X-Keywords` (Dovecot, UW), `X-Mozilla-Status` and
  `X-Mozilla-Keys` (Thunderbird). These fields, and the bookkeeping beside them, are no part of the message.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import msgspec

from esp.core.message import SystemFlag


class Quoting(StrEnum):
    """How lines that look like a From_ line are hidden."""

    RD = "mboxrd"
    O = "mboxo"  # noqa: E741 - its name


class Meta(msgspec.Struct, frozen=True):
    """What an mbox says of a message in the message's header."""

    flags: int = 0
    keywords: tuple[str, ...] = ()
    is_mail: bool = True
    """False for the folder's own data (UW), and for what Thunderbird has deleted but not yet taken out."""


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FROM = re.compile(
    # asctime(3), perhaps with a zone before or after the year (UW, Gmail), a comma (RFC 5322), or no seconds.
    rb"From .*?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +"
    rb"(?:(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2})"
    rb"|(?P<day2>\d{1,2}) +(?P<month2>[A-Z][a-z]{2})(?: +(?P<year2>\d{4}))?)"
    rb" +(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))?"
    rb"(?: +(?P<zone>[+-]\d{4}|[A-Z]{3,5}))?(?: +(?P<year>\d{4}))?(?: +(?P<zone2>[+-]\d{4}|[A-Z]{3,5}))?\s*$"
)
_QUOTED = {
    Quoting.RD: re.compile(rb"^>(>*From )", re.MULTILINE),
    Quoting.O: re.compile(rb"^>(From )", re.MULTILINE),
}
_TO_QUOTE = re.compile(rb"^(>*From )", re.MULTILINE)
_META = re.compile(
    rb"^(Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|Content-Length"
    rb"|X-Mozilla-Status2?|X-Mozilla-Keys):(.*(?:\r?\n[ \t].*)*)\r?\n",
    re.MULTILINE | re.IGNORECASE,
)
_HEADER_END = re.compile(rb"^\r?\n", re.MULTILINE)
_KEYWORD = re.compile(r"[!#-$&'+-\[^-z|}~]+")
_LETTERS = {
    b"status": {b"R": SystemFlag.SEEN},
    b"x-status": {
        b"A": SystemFlag.ANSWERED,
        b"F": SystemFlag.FLAGGED,
        b"T": SystemFlag.DRAFT,
        b"D": SystemFlag.DELETED,
    },
}
_MOZILLA = ((0x0001, SystemFlag.SEEN), (0x0002, SystemFlag.ANSWERED), (0x0004, SystemFlag.FLAGGED))
_MOZILLA_FORWARDED = 0x1000
_MOZILLA_EXPUNGED = 0x0008


def from_date(line: bytes) -> datetime | None:
    """Return the date of a From_ line, in UTC unless it says otherwise (RFC 4155); `None` for another line.

    It can be told in every zone: where the line's own zone carries it out of the calendar, it is taken for UTC.
    """
    found = _FROM.match(line)
    if found is None:
        return None
    month, year = found["month"] or found["month2"], found["year"] or found["year2"]
    if month.lower().decode() not in _MONTHS or year is None:
        return None
    try:
        moment = datetime(
            int(year),
            _MONTHS.index(month.lower().decode()) + 1,
            int(found["day"] or found["day2"]),
            int(found["hour"]),
            int(found["minute"]),
            min(int(found["second"] or 0), 59),
            tzinfo=_zone(found["zone"] or found["zone2"]),
        )
    except ValueError:
        return None
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)
    return moment


def from_line(when: datetime) -> bytes:
    """Return the line before a message that arrived `when`."""
    when = when.astimezone(UTC)
    # Not strftime: its names follow the locale.
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[when.weekday()]
    month = _MONTHS[when.month - 1].capitalize()
    return f"From MAILER-DAEMON {day} {month} {when.day:2} {when:%H:%M:%S} {when.year:04}\n".encode()


def quoted(octets: bytes) -> bytes:
    """Return a message with mboxrd's quoting."""
    return _TO_QUOTE.sub(rb">\1", octets) if b"From " in octets else octets


def unquoted(octets: bytes, quoting: Quoting) -> bytes:
    """Return a message without quoting."""
    return _QUOTED[quoting].sub(rb"\1", octets) if b">From " in octets else octets


def header_end(octets: bytes) -> int:
    """Return where the header ends; a message without an empty line is all header."""
    found = _HEADER_END.search(octets)
    return found.start() if found else len(octets)


def without_meta(header: bytes) -> tuple[bytes, Meta]:
    """Return a header without the fields that are the mbox's own, and what these say.

    The first of each name is: where there is another one, it came with the message.
    """
    flags, keywords, is_mail = 0, list[str](), True
    found: dict[bytes, bytes] = {}

    def taken(field: "re.Match[bytes]") -> bytes:
        if field[1].lower() in found:
            return field[0]
        found[field[1].lower()] = field[2]
        return b""

    left = _META.sub(taken, header)
    for name, value in found.items():
        match name, value.strip():
            case (b"status" | b"x-status") as field, letters:
                flags |= sum({flag for letter, flag in _LETTERS[field].items() if letter in letters})
            case b"x-keywords" | b"x-mozilla-keys", words:
                keywords += words.decode("ascii", "replace").split()
            case b"x-mozilla-status", number:
                bits = _hexadecimal(number)
                flags |= sum(flag for bit, flag in _MOZILLA if bits & bit)
                is_mail = is_mail and not bits & _MOZILLA_EXPUNGED
                keywords += ["$Forwarded"] if bits & _MOZILLA_FORWARDED else []
            case b"x-imap", _:
                is_mail = False
    usable = tuple(word for word in dict.fromkeys(keywords) if is_keyword(word))
    return left, Meta(flags, usable, is_mail)


def meta_fields(flags: int, keywords: tuple[str, ...]) -> bytes:
    """Return the header lines, ending in LF, that carry flags; read by `without_meta`."""
    status = ("R" if flags & SystemFlag.SEEN else "") + "O"
    lines = [f"Status: {status}"]
    if letters := "".join(letter.decode() for letter, flag in _LETTERS[b"x-status"].items() if flags & flag):
        lines.append(f"X-Status: {letters}")
    if keywords:
        lines.append(f"X-Keywords: {' '.join(keywords)}")
    return "".join(f"{line}\n" for line in lines).encode()


def is_keyword(word: str) -> bool:
    """Tell whether a word may be a keyword (`flag-keyword = atom`, RFC 3501 §9)."""
    return _KEYWORD.fullmatch(word) is not None


def _hexadecimal(number: bytes) -> int:
    try:
        return int(number, 16)
    except ValueError:
        return 0


def _zone(text: bytes | None) -> timezone:
    if text is None or text[:1] not in {b"+", b"-"}:
        # Names are ambiguous but for those of UTC, and what has no name is UTC by RFC 4155.
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    return timezone(timedelta(minutes=-minutes if text[:1] == b"-" else minutes))
