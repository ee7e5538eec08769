"""Where ESP's answer may differ from Dovecot's, each with its name in `docs/imap/differences.md`."""

import re
from collections.abc import Callable
from dataclasses import replace

from tests.scenarios.twins import Answer

Rule = Callable[[str, Answer, Answer], bool]

TAKEN_BY_DOVECOT = frozenset({
    "SELECT {p} {p}", "FETCH 1 BODY[]<0>", "FETCH 1 BODY[]<0.0>", "FETCH 1 BODY[0]", "STORE 1 FLAGS",
    "SEARCH BEFORE 32-Jan-2024", "SEARCH KEYWORD \\Seen", "COPY 1 {p} {p}", "EXPUNGE 1", "NOOP NOOP",
    "CLOSE 1", "ENABLE",
    "CREATE a*b", "CREATE a%b", "ID", "ID foo", "ID (a)", "UNSELECT 1",
})  # fmt: skip
"""Syntax errors (RFC 9051 §9) that Dovecot passes over."""


def _syntax(command: str, esp: Answer, dovecot: Answer) -> bool:
    return command in TAKEN_BY_DOVECOT and (esp.condition, dovecot.condition) == ("BAD", "OK")


def _name(command: str, esp: Answer, dovecot: Answer) -> bool:
    return "&" in command and (esp.condition, dovecot.condition) == ("OK", "NO")


def _recent(command: str, esp: Answer, dovecot: Answer) -> bool:
    return "\\Recent" in command and (esp.condition, dovecot.condition) == ("OK", "BAD")


def _code(command: str, esp: Answer, dovecot: Answer) -> bool:
    refused = esp.condition == dovecot.condition == "NO"
    return refused and replace(esp, code="") == replace(dovecot, code="")


def _read_only(command: str, esp: Answer, dovecot: Answer) -> bool:
    nothing = dovecot.condition == "OK" and not dovecot.expunged and not dovecot.fetched
    # Wrong in two ways: the numbers are beyond EXISTS as well.
    return esp.code == "CANNOT" and (
        nothing or (dovecot.condition == "BAD" and _SET.search(command) is not None)
    )


def _store(command: str, esp: Answer, dovecot: Answer) -> bool:
    same = replace(esp, fetched=()) == replace(dovecot, fetched=())
    told = {number: set(items) for number, items in esp.fetched}
    return (
        "STORE" in command and same and all(set(items) <= told.get(n, set()) for n, items in dovecot.fetched)
    )


def _absent(command: str, esp: Answer, dovecot: Answer) -> bool:
    def without(answer: Answer) -> Answer:
        fetched = tuple(
            (
                number,
                tuple(
                    (name, None if name.startswith("BODY[") and not value else value) for name, value in items
                ),
            )
            for number, items in answer.fetched
        )
        return replace(answer, fetched=fetched)

    return "FETCH" in command and without(esp) == without(dovecot)


def _children(command: str, esp: Answer, dovecot: Answer) -> bool:
    """RFC 5258 §3.2: children may be told unasked."""

    def without(answer: Answer) -> Answer:
        data = tuple(
            (name, tuple(each for each in entry[0] if "children" not in each), *entry[1:])
            if name in {"LIST", "LSUB"}
            else (name, *entry)
            for name, *entry in answer.data
        )
        return replace(answer, data=tuple(sorted(data, key=repr)))

    return (
        command.startswith(("LIST", "LSUB"))
        and "CHILDREN" not in command
        and without(esp) == without(dovecot)
    )


def _beyond(command: str, esp: Answer, dovecot: Answer) -> bool:
    # RFC 9051 §9, seq-number: BAD for numbers beyond EXISTS is a SHOULD, which Dovecot leaves when there are several
    # ranges.
    unequal = (esp.condition, dovecot.condition) == ("BAD", "OK")
    return unequal and "SEARCH" not in command and _SET.search(command) is not None


def _saved(command: str, esp: Answer, dovecot: Answer) -> bool:
    alone = "RETURN (SAVE)" in command and esp.condition == dovecot.condition == "OK"
    return alone and not esp.data and dovecot.data == (("ESEARCH", "UID SEARCH" in command, ()),)


def _nowhere(command: str, esp: Answer, dovecot: Answer) -> bool:
    # RFC 3501 §6.4.7 wants an error where the mailbox is missing, §6.4.8 none where the messages are.
    nothing = command.startswith(("UID COPY", "UID MOVE")) and not dovecot.data and not dovecot.expunged
    return nothing and (esp.condition, esp.code, dovecot.condition) == ("NO", "TRYCREATE", "OK")


def _modseq(command: str, esp: Answer, dovecot: Answer) -> bool:
    less = tuple((n, tuple(item for item in items if item[0] != "MODSEQ")) for n, items in esp.fetched)
    return replace(esp, fetched=less) == dovecot


def _uid(command: str, esp: Answer, dovecot: Answer) -> bool:
    return _without_uids(esp, dovecot) == dovecot


def _without_uids(esp: Answer, dovecot: Answer) -> Answer:
    """Return ESP's answer without the UIDs that go with mod-sequences, where Dovecot tells none (RFC 7162 §3.2.4)."""
    with_uid = {number for number, items in dovecot.fetched if any(name == "UID" for name, _ in items)}
    fetched = tuple(
        (
            number,
            items
            if number in with_uid or not any(name == "MODSEQ" for name, _ in items)
            else tuple(item for item in items if item[0] != "UID"),
        )
        for number, items in esp.fetched
    )
    return replace(esp, fetched=fetched)


def _enabled(command: str, esp: Answer, dovecot: Answer) -> bool:
    return command.startswith("ENABLE") and not esp.data and replace(esp, data=dovecot.data) == dovecot


def _charset(command: str, esp: Answer, dovecot: Answer) -> bool:
    return esp.code.startswith("BADCHARSET") and dovecot.condition == "BAD"


_SET = re.compile(r"(?<![^\s(])(?:[\d*]+[:,])*[\d*]+(?![^\s)])")

RULES: dict[str, Rule] = {
    "uid": _uid,
    "syntax": _syntax,
    "recent": _recent,
    "name": _name,
    "code": _code,
    "read-only": _read_only,
    "store": _store,
    "absent": _absent,
    "children": _children,
    "beyond": _beyond,
    "saved": _saved,
    "enabled": _enabled,
    "charset": _charset,
    "modseq": _modseq,
    "nowhere": _nowhere,
}
"""By the name in the page."""


def allowed(command: str, esp: Answer, dovecot: Answer) -> str | None:
    """Return what allows two answers to be different, empty when they are the same, `None` when nothing does."""
    if esp == dovecot:
        return ""
    less = _without_uids(esp, dovecot)  # this difference goes with all others
    return next((name for name, rule in RULES.items() if rule(command, less, dovecot)), None)
