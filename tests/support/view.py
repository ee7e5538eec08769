"""What a client that keeps to the rules knows of its selected mailbox, from nothing but the responses it gets.

RFC 3501 §5.2 and §7.4.1 (sequence numbers), RFC 7162 §3.1 (mod-sequences), §3.2 (VANISHED), §5 (the client's
HIGHESTMODSEQ), RFC 9051 appendix E, RFC 9586 (UIDFETCH), RFC 5465 §6.1 (what is told between commands), RFC 5267 §4.3
(results kept up to date). Each response that a server must not send raises `ViolationError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.results import Result
from tests.support.violations import ViolationError, check
from tests.support.wire import Response, Value, numbers

NUMBERED = frozenset({"FETCH", "STORE", "SEARCH", "SORT", "THREAD"})
"""Commands that name messages by number, while which numbers must not change (RFC 3501 §7.4.1)."""
PLACING = frozenset({"APPEND", "REPLACE", "COPY", "MOVE"})
"""Commands that may put messages into the client's own selected mailbox."""


@dataclass(frozen=True)
class Request:
    """The command that is being answered."""

    name: str
    uid: bool = False
    earlier: bool = False
    """Whether VANISHED (EARLIER) may be answered: SELECT with QRESYNC, UID FETCH with VANISHED."""


@dataclass
class Enabled:
    """What a client has turned on."""

    condstore: bool = False
    qresync: bool = False
    imap4rev2: bool = False
    uidonly: bool = False
    notify: str = ""
    """`SELECTED` or `SELECTED-DELAYED` when NOTIFY is to tell all of the selected mailbox."""


@dataclass(eq=False)
class Known:
    """A message as the client knows it."""

    uid: int | None = None
    flags: frozenset[str] | None = None
    modseq: int = 0
    awaited: bool = False
    """Whether NOTIFY owes its UID and flags (RFC 5465 §5.2)."""


@dataclass
class Cache:
    """What a client keeps of a mailbox that it has not selected any more (RFC 7162 §3.2.5)."""

    uidvalidity: int
    modseq: int
    flags: dict[int, frozenset[str]]


@dataclass
class View:
    """The messages of a selected mailbox, by number."""

    enabled: Enabled = field(default_factory=Enabled)
    messages: list[Known] = field(default_factory=list)
    uidvalidity: int = 0
    uidnext: int = 0
    modseq: int = 0
    """The client's HIGHESTMODSEQ."""
    opening: bool = True
    """Until SELECT is answered."""
    found: list[int] | None = None
    """The numbers, or UIDs, of the last SEARCH or SORT."""
    returned: dict[str, Value] = field(default_factory=dict)
    """What else the last ESEARCH told."""
    results: dict[str, Result] = field(default_factory=dict)
    """Those that are kept up to date, by tag."""
    saved: frozenset[int] | None = None
    """The UIDs of `$`, where they are known (RFC 5182)."""
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
                self._exists(response.number or 0, request)
            case "EXPUNGE":
                self._expunge(response.number or 0, request)
            case "VANISHED":
                self._vanished(response, request)
            case "FETCH" | "UIDFETCH":
                self._fetch(response, request)
            case "RECENT":
                check(
                    not self.enabled.imap4rev2, "RECENT although IMAP4rev2 is enabled (RFC 9051 appendix E)"
                )
                check(
                    (response.number or 0) <= len(self.messages) or self.opening, "more recent than there are"
                )
            case "SEARCH" | "SORT":
                rev2 = self.enabled.imap4rev2 and response.name == "SEARCH"
                check(not rev2, "SEARCH although IMAP4rev2 is enabled (RFC 9051 §6.4.4)")
                self.found = [int(value) for value in response.values if isinstance(value, str)]
            case "ESEARCH":
                self._esearch(response)
            case "OK" | "NO":
                self._code(response)
        if response.tag != "*":
            self._completed()

    # Numbers

    def _exists(self, count: int, request: Request | None) -> None:
        check(count >= len(self.messages), f"EXISTS went down from {len(self.messages)}")
        awaited = (
            bool(self.enabled.notify)
            and not self.opening
            and (
                # RFC 5465 §5.2: not of what the client has put there itself.
                request is None or request.name not in PLACING
            )
        )
        self.messages += [Known(awaited=awaited) for _ in range(count - len(self.messages))]

    def _may_expunge(self, request: Request | None) -> None:
        if self.enabled.notify == "SELECTED":
            return  # RFC 5465 §6.1.1: at any time
        check(request is not None, "an expunge while no command is in progress")
        if request is not None:
            check(request.uid or request.name not in NUMBERED, "an expunge while numbers are in use")

    def _expunge(self, number: int, request: Request | None) -> None:
        check(not self.enabled.qresync, "EXPUNGE although QRESYNC is enabled (RFC 7162 §3.2.10)")
        check(not self.enabled.uidonly, "EXPUNGE although UIDONLY is enabled (RFC 9586 §3.5)")
        self._may_expunge(request)
        check(1 <= number <= len(self.messages), f"no such number of {len(self.messages)}")
        gone = self.messages.pop(number - 1)
        for result in self.results.values():
            result.check_without(gone, gone.uid)

    def _vanished(self, response: Response, request: Request | None) -> None:
        earlier = response.values[0] == ["EARLIER"]
        uids = set(numbers(str(response.values[-1])))
        if earlier:
            check(request is not None and request.earlier, "VANISHED (EARLIER) that nobody asked for")
            self.messages = [known for known in self.messages if known.uid not in uids]
            return
        on = self.enabled.qresync or self.enabled.uidonly
        check(on, "VANISHED although neither QRESYNC nor UIDONLY is enabled")
        self._may_expunge(request)
        for result in self.results.values():
            for uid in uids:
                result.check_without(None, uid)
        there = {known.uid for known in self.messages}
        if None not in there:
            check(uids <= there, f"VANISHED of {uids - there}, which are not there")
            self.messages = [known for known in self.messages if known.uid not in uids]
        else:  # some are not known by UID: all that can be told is how many are left
            left = len(self.messages) - len(uids)
            check(left >= 0, "more vanished than there were")
            self.messages = [Known() for _ in range(left)]
            self.results = {tag: result for tag, result in self.results.items() if result.uid}

    def number_of(self, response: Response) -> int:
        """Return the number of the message that a FETCH or UIDFETCH is about; 0 when it is about none that is known."""
        number = response.number or 0
        if response.name == "FETCH":
            return number if number <= len(self.messages) else 0
        return next((at for at, known in enumerate(self.messages, 1) if known.uid == number), 0)

    def _known_by(self, uid: int) -> int:
        """Return the number of a message with that UID, which may be one whose UID was not known."""
        there = [at for at, known in enumerate(self.messages, 1) if known.uid == uid]
        if there:
            return there[0]
        unknown = [at for at, known in enumerate(self.messages) if known.uid is None]
        check(bool(unknown), f"all UIDs are known, and {uid} is none of them")
        known = self.messages.pop(unknown[-1])
        # Which of the unknown ones it is cannot be told; the known ones stay in their order.
        at = next((at for at, each in enumerate(self.messages) if (each.uid or 0) > uid), len(self.messages))
        self.messages.insert(at, known)
        return at + 1

    # Results

    def _esearch(self, response: Response) -> None:
        values = list(response.values)
        tag = ""
        if values and isinstance(values[0], list):
            (_, raw) = values.pop(0)  # type: ignore[misc]
            tag = raw.decode() if isinstance(raw, bytes) else str(raw)
        uid = bool(values) and values[0] == "UID"
        values = values[1:] if uid else values
        check(uid or not self.enabled.uidonly, "ESEARCH of sequence numbers although UIDONLY is enabled")
        told = {str(name).upper(): value for name, value in zip(values[::2], values[1::2], strict=True)}
        found = numbers(str(told["ALL"])) if "ALL" in told else []
        changes = [name for name in told if name in {"ADDTO", "REMOVEFROM"}]
        if tag in self.results:
            result = self.results[tag]
            check(result.uid == uid, "another kind of numbers than the command's")
            if not changes:
                result.begin(self.messages, found)
            for name in changes:
                change = told[name]
                assert isinstance(change, list)
                result.change(name, self.messages, change)
        if not changes:
            self.found, self.returned = found, told
        else:
            check(tag in self.results, "ADDTO or REMOVEFROM of a result that is not kept")

    # Messages

    def _fetch(self, response: Response, request: Request | None) -> None:
        number = response.number or 0
        uidonly = self.enabled.uidonly
        check((response.name == "UIDFETCH") == uidonly, f"{response.name}, and UIDONLY enabled: {uidonly}")
        if uidonly:
            number = self._known_by(number)
        check(1 <= number <= len(self.messages), f"no such number of {len(self.messages)}")
        known = self.messages[number - 1]
        items = response.items
        if uidonly:
            self._uid(number, response.number or 0)
        elif "UID" in items:
            self._uid(number, int(str(items["UID"])))
        elif self.enabled.qresync and "FLAGS" in items:
            raise ViolationError("FLAGS without UID although QRESYNC is enabled (RFC 7162 §3.2.4)")
        elif request is None or (self.enabled.imap4rev2 and request.name not in {"FETCH", "STORE"}):
            raise ViolationError("FETCH that nobody asked for, without UID (RFC 9051 §7.5.2, RFC 5465 §5.1)")
        if "MODSEQ" in items:
            value = items["MODSEQ"]
            check(isinstance(value, list) and len(value) == 1, "a mod-sequence is in parentheses")
            modseq = int(str(value[0])) if isinstance(value, list) else 0
            check(0 < modseq < 2**63, "impossible mod-sequence")
            check(modseq >= known.modseq, f"mod-sequence went down from {known.modseq}")
            known.modseq = modseq
            self._seen_modseq = max(self._seen_modseq, modseq)
        elif self.enabled.condstore and "FLAGS" in items:
            raise ViolationError("FLAGS without MODSEQ although CONDSTORE is enabled (RFC 7162 §3.1)")
        if "FLAGS" in items:
            flags = items["FLAGS"]
            check(isinstance(flags, list), "flags are a list")
            check(not self.enabled.imap4rev2 or "\\Recent" not in (flags or ()), "\\Recent in IMAP4rev2")
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
            case "UNSEEN":
                check(not self.enabled.uidonly, "a sequence number although UIDONLY is enabled (RFC 9586 §3)")
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

    def adopt(self, flags: Mapping[int, frozenset[str]]) -> None:
        """Take UIDs and flags that were kept, and brought up to date, for those of the messages there are."""
        check(
            len(flags) == len(self.messages), f"{len(self.messages)} EXISTS, and {sorted(flags)} were told of"
        )
        known = {each.uid: each for each in self.messages if each.uid is not None}
        self.messages = [known.get(uid, Known(uid, flags[uid])) for uid in sorted(flags)]

    def forget_flags(self) -> None:
        """Do as if no flags were known."""
        for known in self.messages:
            known.flags, known.awaited = None, False

    def cache(self) -> Cache | None:
        """Return what may be kept when the mailbox is left; `None` when not all is known."""
        flags = {known.uid: known.flags for known in self.messages}
        if None in flags or None in flags.values() or not self.enabled.condstore:
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
