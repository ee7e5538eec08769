"""The same commands to ESP and to Dovecot, and what is comparable in their answers.

`Twins` keeps two sessions with each server. A command is text with `{box}`-like names already in it; `{since}` stands
for a mod-sequence that each server has given out itself. What the RFCs leave free is made the same (`answer`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.support.peers import Peer
from tests.support.wire import Response, Value, numbers

FUTURE = 2**62
"""No mod-sequence is that high."""
DATA = frozenset({"LIST", "LSUB", "STATUS", "SEARCH", "ESEARCH", "SORT", "THREAD", "ENABLED"})


@dataclass(frozen=True)
class Answer:
    """What a server said to a command, as far as it must be the same."""

    condition: str
    code: str
    data: tuple[object, ...]
    fetched: tuple[tuple[int, tuple[tuple[str, object], ...]], ...]
    expunged: tuple[int, ...]
    exists: int | None


@dataclass
class Side:
    """A server with its two sessions."""

    name: str
    connect: Callable[[], Peer]
    sessions: list[Peer] = field(default_factory=list)
    since: int = FUTURE
    """A mod-sequence that this server has given out, as it does at the same moment as the other."""

    def begin(self) -> None:
        """Open both sessions."""
        self.sessions = [self.connect(), self.connect()]
        self.since = FUTURE

    def ask(self, session: int, command: bytes) -> tuple[Answer, list[Response]]:
        """Send a command, and return what must be the same, and all."""
        peer = self.sessions[session]
        responses = peer.command(command.replace(b"{since}", b"%d" % self.since))
        return answer(responses), responses

    def mark(self, mailbox: str) -> None:
        """Have `{since}` mean now, for this mailbox."""
        answer = self.sessions[0].command(f"STATUS {mailbox} (HIGHESTMODSEQ)".encode())
        status = next(response for response in answer if response.name == "STATUS")
        items = status.values[1]
        assert isinstance(items, list)
        self.since = int(str(items[1]))


def answer(responses: Iterable[Response]) -> Answer:
    """Return what of responses must be the same on both sides."""
    *untagged, last = responses
    data: list[object] = []
    fetched: dict[int, dict[str, object]] = {}
    gone: list[int] = []
    exists = None
    for response in untagged:
        match response.name:
            case "FETCH":
                number = _original(gone, response.number or 0)
                fetched.setdefault(number, {}).update(_items(response))
            case "EXPUNGE":
                gone.append(_original(gone, response.number or 0))
            case "EXISTS":
                exists = response.number
            case "OK" if response.code in {"UNSEEN", "UIDNEXT", "COPYUID"}:
                data.append((response.code, _code(response)))
            case "ENABLED" if not response.values:
                pass  # RFC 5161 §3.1: nothing was enabled, said or not
            case name if name in DATA:
                data.append(_data(response))
    return Answer(
        last.name,
        _code(last),
        tuple(sorted(data, key=repr)),
        tuple(sorted((number, tuple(sorted(items.items()))) for number, items in fetched.items())),
        tuple(sorted(gone)),
        exists,
    )


def _original(gone: list[int], number: int) -> int:
    """Return the number that a message had before those in `gone` went (RFC 3501 §7.4.1)."""
    for other in sorted(gone):
        number += other <= number
    return number


def _code(response: Response) -> str:
    match response.code:
        case "APPENDUID" | "COPYUID":
            _, *uids = response.argument.split()
            return f"{response.code} {' '.join(str(numbers(each)) for each in uids)}"
        case "MODIFIED":
            return f"MODIFIED {numbers(response.argument)}"
        case "HIGHESTMODSEQ" | "CLOSED" | "CLIENTBUG" | "MAILBOXID":
            return ""  # told when the server likes to (RFC 7162 §3.1.2, RFC 5530 §3)
    return f"{response.code} {response.argument}".strip()


def _items(response: Response) -> dict[str, object]:
    items = {name: _value(value) for name, value in response.items.items()}
    if "FLAGS" in items:
        flags = response.items["FLAGS"]
        assert isinstance(flags, list)
        items["FLAGS"] = tuple(sorted(str(flag) for flag in flags if flag != "\\Recent"))
    if "MODSEQ" in items:
        items["MODSEQ"] = "some"
    if isinstance(date := response.items.get("INTERNALDATE"), bytes):
        items["INTERNALDATE"] = date.strip().removeprefix(b"0")  # RFC 9051 §9: date-day-fixed
    return items


def _value(value: Value) -> object:
    return tuple(map(_value, value)) if isinstance(value, list) else value


def _data(response: Response) -> object:
    values = list(response.values)
    match response.name:
        case "LIST" | "LSUB":
            attributes = values[0]
            assert isinstance(attributes, list)
            name = values[2]
            plain = name.decode() if isinstance(name, bytes) else name
            rest = _value(values[3:])
            words = {str(each).lower() for each in attributes}
            if "\\nonexistent" in words:
                words.discard("\\noselect")  # which it means (RFC 5258 §3)
            return (response.name, tuple(sorted(words)), plain, rest)
        case "STATUS":
            name, items = values
            assert isinstance(items, list)
            plain = name.decode() if isinstance(name, bytes) else name
            found = {str(key): str(value) for key, value in zip(items[::2], items[1::2], strict=True)}
            hidden = {"UIDVALIDITY", "HIGHESTMODSEQ", "RECENT"}
            return (
                "STATUS",
                plain,
                tuple(sorted((k, "some" if k in hidden else v) for k, v in found.items())),
            )
        case "SEARCH":
            modseq = any(isinstance(value, list) for value in values)
            found_numbers = sorted(int(str(value)) for value in values if not isinstance(value, list))
            return ("SEARCH", tuple(found_numbers), modseq)
        case "ESEARCH":
            pairs = [value for value in values if not isinstance(value, list)]
            uid = "UID" in pairs
            pairs = [value for value in pairs if value != "UID"]
            result = {str(key): str(value) for key, value in zip(pairs[::2], pairs[1::2], strict=True)}
            if "ALL" in result:
                result["ALL"] = str(sorted(numbers(result["ALL"])))
            result.pop("MODSEQ", None)
            return ("ESEARCH", uid, tuple(sorted(result.items())))
    return (response.name, _value(values))
