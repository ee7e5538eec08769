"""What a client that keeps to the rules knows of its selected mailbox, from nothing but the responses it gets.

RFC 3501 §5.2 and §7.4.1 (sequence numbers), RFC 7162 §3.1 (mod-sequences), §3.2 (VANISHED), §5 (the client's
HIGHESTMODSEQ). Each response that a server must not send raises `ViolationError`.
"""

from dataclasses import dataclass, field

from tests.support.wire import Response, numbers

NUMBERED = frozenset({"FETCH", "STORE", "SEARCH", "SORT", "THREAD"})
"""Commands that name messages by number, while which numbers must not change (RFC 3501 §7.4.1)."""


class ViolationError(AssertionError):
    """The server broke a rule."""


@dataclass(frozen=True)
class Request:
    """The command that is being answered."""

    name: str
    uid: bool = False
    earlier: bool = False
    """Whether VANISHED (EARLIER) may be answered: SELECT with QRESYNC, UID FETCH with VANISHED."""


@dataclass
class Known:
    """A message as the client knows it."""

    uid: int | None = None
    flags: frozenset[str] | None = None
    modseq: int = 0


@dataclass
class Cache:
    """What a client keeps of a mailbox that it has not selected any more (RFC 7162 §3.2.5)."""

    uidvalidity: int
    modseq: int
    flags: dict[int, frozenset[str]]


@dataclass
class View:
    """The messages of a selected mailbox, by number."""

    condstore: bool = False
    qresync: bool = False
    messages: list[Known] = field(default_factory=list)
    uidvalidity: int = 0
    uidnext: int = 0
    modseq: int = 0
    """The client's HIGHESTMODSEQ."""
    opening: bool = True
    """Until SELECT is answered."""
    found: list[int] | None = None
    """The numbers, or UIDs, of the last SEARCH."""
    told: set[int] = field(default_factory=set)
    """Numbers whose flags came during the present command."""
    history: dict[tuple[int, int], frozenset[str]] = field(default_factory=dict)
    """Flags by UID and mod-sequence, shared by all views of a mailbox: all must be told the same (RFC 7162 §3.1)."""
    _seen_modseq: int = 0
    _said_modseq: int | None = None

    def apply(self, response: Response, request: Request | None) -> None:
        """Take a response.

        Args:
            response: untagged or tagged.
            request: what is being answered; IDLE while idling, `None` outside of any command.
        """
        try:
            self._apply(response, request)
        except ViolationError as error:
            raise ViolationError(f"{error} in {response.raw!r} while {request}") from None

    def _apply(self, response: Response, request: Request | None) -> None:
        match response.name:
            case "EXISTS":
                self._exists(response.number or 0)
            case "EXPUNGE":
                self._expunge(response.number or 0, request)
            case "VANISHED":
                self._vanished(response, request)
            case "FETCH":
                self._fetch(response)
            case "RECENT":
                check(
                    (response.number or 0) <= len(self.messages) or self.opening, "more recent than there are"
                )
            case "SEARCH":
                self.found = [int(value) for value in response.values if isinstance(value, str)]
            case "ESEARCH":
                values = list(response.values)
                self.found = numbers(str(values[values.index("ALL") + 1])) if "ALL" in values else []
            case "OK" | "NO":
                self._code(response)
        if response.tag != "*":
            self._completed()

    # Numbers

    def _exists(self, count: int) -> None:
        check(count >= len(self.messages), f"EXISTS went down from {len(self.messages)}")
        self.messages += [Known() for _ in range(count - len(self.messages))]

    def _may_expunge(self, request: Request | None) -> None:
        check(request is not None, "an expunge while no command is in progress")
        if request is not None:
            check(request.uid or request.name not in NUMBERED, "an expunge while numbers are in use")

    def _expunge(self, number: int, request: Request | None) -> None:
        check(not self.qresync, "EXPUNGE although QRESYNC is enabled (RFC 7162 §3.2.10)")
        self._may_expunge(request)
        check(1 <= number <= len(self.messages), f"no such number of {len(self.messages)}")
        del self.messages[number - 1]

    def _vanished(self, response: Response, request: Request | None) -> None:
        earlier = response.values[0] == ["EARLIER"]
        uids = set(numbers(str(response.values[-1])))
        if earlier:
            check(request is not None and request.earlier, "VANISHED (EARLIER) that nobody asked for")
            self.messages = [known for known in self.messages if known.uid not in uids]
            return
        check(self.qresync, "VANISHED although QRESYNC is not enabled")
        self._may_expunge(request)
        there = {known.uid for known in self.messages}
        if None not in there:
            check(uids <= there, f"VANISHED of {uids - there}, which are not there")
            self.messages = [known for known in self.messages if known.uid not in uids]
        else:  # some are not known by UID: all that can be told is how many are left
            left = len(self.messages) - len(uids)
            check(left >= 0, "more vanished than there were")
            self.messages = [Known() for _ in range(left)]

    # Messages

    def _fetch(self, response: Response) -> None:
        number = response.number or 0
        check(1 <= number <= len(self.messages), f"no such number of {len(self.messages)}")
        known = self.messages[number - 1]
        items = response.items
        if "UID" in items:
            self._uid(number, int(str(items["UID"])))
        elif self.qresync and "FLAGS" in items:
            raise ViolationError("FLAGS without UID although QRESYNC is enabled (RFC 7162 §3.2.4)")
        if "MODSEQ" in items:
            value = items["MODSEQ"]
            check(isinstance(value, list) and len(value) == 1, "a mod-sequence is in parentheses")
            modseq = int(str(value[0])) if isinstance(value, list) else 0
            check(0 < modseq < 2**63, "impossible mod-sequence")
            check(modseq >= known.modseq, f"mod-sequence went down from {known.modseq}")
            known.modseq = modseq
            self._seen_modseq = max(self._seen_modseq, modseq)
        elif self.condstore and "FLAGS" in items:
            raise ViolationError("FLAGS without MODSEQ although CONDSTORE is enabled (RFC 7162 §3.1)")
        if "FLAGS" in items:
            flags = items["FLAGS"]
            check(isinstance(flags, list), "flags are a list")
            known.flags = frozenset(str(flag) for flag in flags or () if flag != "\\Recent")
            self.told.add(number)
            if "MODSEQ" in items and known.uid is not None:
                before = self.history.setdefault((known.uid, known.modseq), known.flags)
                check(before == known.flags, f"at the same mod-sequence its flags were {set(before)}")

    def _uid(self, number: int, uid: int) -> None:
        known = self.messages[number - 1]
        check(known.uid in (None, uid), f"this was UID {known.uid}")
        known.uid = uid
        below = [each.uid for each in self.messages[: number - 1] if each.uid is not None]
        above = [each.uid for each in self.messages[number:] if each.uid is not None]
        check(not below or below[-1] < uid, "UIDs do not rise")
        check(not above or uid < above[0], "UIDs do not rise")

    # Mod-sequences

    def _code(self, response: Response) -> None:
        match response.code:
            case "UIDVALIDITY":
                self.uidvalidity = int(response.argument)
            case "UIDNEXT":
                self.uidnext = int(response.argument)
            case "HIGHESTMODSEQ":
                self._said_modseq = int(response.argument)
                if self.opening:
                    self.modseq = self._said_modseq

    def _completed(self) -> None:
        # RFC 7162 §5 (and erratum 1809 of RFC 5162): what was said counts, else the highest that was seen.
        if self._said_modseq is not None:
            self.modseq = self._said_modseq
        else:
            self.modseq = max(self.modseq, self._seen_modseq)
        self._seen_modseq, self._said_modseq = 0, None
        self.opening = False
        self.told = set()

    def forget_deleted(self) -> None:
        """Take away what has `\\Deleted`, for it was expunged without a word."""
        self.messages = [known for known in self.messages if "\\Deleted" not in (known.flags or ())]

    def cache(self) -> Cache | None:
        """Return what may be kept when the mailbox is left; `None` when not all is known."""
        flags = {known.uid: known.flags for known in self.messages}
        if None in flags or None in flags.values() or not self.condstore:
            return None
        return Cache(
            self.uidvalidity,
            self.modseq,
            {uid: flag for uid, flag in flags.items() if uid is not None and flag is not None},
        )

    @property
    def uids(self) -> list[int | None]:
        """UIDs by number."""
        return [known.uid for known in self.messages]


def check(holds: bool, why: str) -> None:
    """Raise `ViolationError` unless it holds."""
    if not holds:
        raise ViolationError(why)
