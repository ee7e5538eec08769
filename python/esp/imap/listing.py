"""Which names LIST and LSUB show, and with what attributes (RFC 3501 §6.3.8-9, RFC 5258, RFC 6154 §2, RFC 4314 §4)."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from esp.core import mailbox_name
from esp.core.mailbox import DELIMITER
from esp.core.rights import Rights
from esp.imap.responses import Refusal
from esp.native import ListArguments, ListPatterns, encode_mailbox
from esp.services.mailboxes import Listed

if TYPE_CHECKING:
    from esp.imap.session import Session

Line = tuple[Listed | None, bytes]
_Shown = tuple[Listed, list[str], str, bool]

MOST_PATTERNS = 100
"""Patterns with wildcards: each is tried on each name."""


def list_lines(
    arguments: ListArguments, listed: Sequence[Listed], *, lsub: bool, utf8: bool, imap4rev2: bool
) -> Iterator[Line]:
    """Return the responses, each with its name if the return options may tell more about it.

    Raises:
        Refusal: there are too many patterns.
    """
    if arguments.patterns == ("",) and not arguments.extended:
        # RFC 3501 §6.3.8: an empty name asks for the delimiter, and the root of the reference.
        yield None, _line("LSUB" if lsub else "LIST", ["\\Noselect"], b'""')
        return
    # RFC 5258 §3: in the extended form an empty name matches nothing.
    patterns = ListPatterns(
        [mailbox_name.canonical(arguments.reference + pattern) for pattern in arguments.patterns if pattern]
    )
    if patterns.wild > MOST_PATTERNS:
        raise Refusal("NO [LIMIT] Too many patterns")
    shown = (
        _subscribed(arguments, patterns, listed)
        if lsub
        else _selected(arguments, patterns, listed, imap4rev2=imap4rev2)
    )
    for name, attributes, more, selected in shown:
        wire = encode_mailbox(name.name, utf8)
        # RFC 9051 §6.3.9.8, RFC 8440 §4, RFC 9590 §4: not for a name that is listed only because of what is below it.
        yield name if selected else None, _line("LSUB" if lsub else "LIST", attributes, wire, more.encode())


def name_line(
    name: Listed,
    *,
    utf8: bool,
    subscribed: bool = False,
    no_access: bool = False,
    old_name: str | None = None,
) -> bytes:
    """Return a LIST response that no LIST command asked for (RFC 9051 §6.3.9.7, RFC 5465 §5.4-5).

    Args:
        name: as it is now.
        utf8: how the session reads names.
        subscribed: whether `\\Subscribed` is shown.
        no_access: whether the session lacks the right to be told of it (RFC 5465 §3.1).
        old_name: what the name was before, or what the client wrote.
    """
    attributes = _attributes(name, extended=True)
    if no_access:
        attributes.insert(0, "\\NoAccess")
    if subscribed and name.subscribed:
        attributes.append("\\Subscribed")
    more = b"" if old_name is None else b' ("OLDNAME" (' + encode_mailbox(old_name, utf8) + b"))"
    return _line("LIST", attributes, encode_mailbox(name.name, utf8), more)


async def write_list(session: "Session", written: str, old_name: str | None = None) -> None:
    """Tell an IMAP4rev2 client of the mailbox it has named, and under which name it goes (RFC 9051 §6.3.2).

    Args:
        session: whose client.
        written: the name as the client wrote it.
        old_name: what it was before; by default `written`, where it goes under another name.
    """
    canonical = mailbox_name.canonical(written)
    if old_name is None and written != canonical:
        old_name = written
    for name in await session.door.mailboxes.listed(session.owner):
        if name.name == canonical:
            utf8 = session.connection.reader.utf8
            session.connection.write(name_line(name, utf8=utf8, old_name=old_name))


def _selected(
    arguments: ListArguments, patterns: ListPatterns, listed: Sequence[Listed], *, imap4rev2: bool
) -> Iterator[_Shown]:
    returns = frozenset(arguments.returns)
    # REMOTE would add mailboxes of other servers; there are none. The others are criteria, all of which must hold.
    criteria = [option for option in ("SUBSCRIBED", "SPECIAL-USE") if option in arguments.selection]
    meeting = {name.name for name in listed if all(_CRITERIA[option](name) for option in criteria)}
    parents: frozenset[str] = frozenset()
    parents_of_hidden: frozenset[str] = frozenset()
    if "RECURSIVEMATCH" in arguments.selection:
        parents = mailbox_name.with_children(meeting)
        parents_of_hidden = mailbox_name.with_children(name for name in meeting if not patterns.matches(name))
    quoted = " ".join(f'"{option}"' for option in criteria)
    told = "SUBSCRIBED" in criteria or "SUBSCRIBED" in returns
    for name in listed:
        if not patterns.matches(name.name):
            continue
        # Without criteria, a name that only has others below it is listed as RFC 3501 §6.3.8 has it: \Noselect.
        selected = name.name in meeting if criteria else _is_visible(name) or name.has_children
        # RFC 9051 §6.3.9.6: a name that meets no criterion itself is not listed for children that are listed as well.
        child_info = name.name in (parents if selected else parents_of_hidden)
        if not selected and not child_info:
            continue
        attributes = _attributes(name, extended=arguments.extended or imap4rev2)
        if told and name.subscribed:
            attributes.append("\\Subscribed")
        yield name, attributes, f' ("CHILDINFO" ({quoted}))' if child_info else "", selected


def _subscribed(
    arguments: ListArguments, patterns: ListPatterns, listed: Sequence[Listed]
) -> Iterator[_Shown]:
    matching = [name for name in listed if patterns.matches(name.name)]
    above: frozenset[str] = frozenset()
    if any("%" in pattern for pattern in arguments.patterns):
        # RFC 3501 §6.3.9: "foo" not subscribed, "foo/bar" is: LSUB "%" must show foo; not so "*", which shows foo/bar.
        shown = {name.name for name in matching}
        above = mailbox_name.with_children(
            name.name for name in listed if name.subscribed and name.name not in shown
        )
    for name in matching:
        if name.subscribed:
            yield name, _attributes(name, extended=False), "", True
        elif name.name in above:
            yield name, ["\\Noselect"], "", True


_CRITERIA: dict[str, Callable[[Listed], bool]] = {
    "SUBSCRIBED": lambda name: name.subscribed,
    "SPECIAL-USE": lambda name: _use(name) is not None,
}


def _is_visible(name: Listed) -> bool:
    return name.mailbox is not None and Rights.LOOKUP in name.rights


def _use(name: Listed) -> str | None:
    # RFC 6154 §2: the uses are for the account that logs in; what another account uses a mailbox for is not shown.
    return name.mailbox.special_use if name.mailbox is not None and name.own else None


def _attributes(name: Listed, *, extended: bool) -> list[str]:
    attributes = []
    if name.mailbox is None:
        # RFC 5258 §3: \NonExistent implies \Noselect. A client that does not use extended LIST knows only the latter.
        attributes.append("\\NonExistent" if extended else "\\Noselect")
    elif Rights.READ not in name.rights:
        # RFC 5819 §2: a mailbox with the right to look it up but not to read it cannot be selected.
        attributes.append("\\Noselect")
    attributes.append("\\HasChildren" if name.has_children else "\\HasNoChildren")
    if (use := _use(name)) is not None:
        attributes.append(use)
    return attributes


def _line(response: str, attributes: Sequence[str], wire_name: bytes, more: bytes = b"") -> bytes:
    head = f'* {response} ({" ".join(attributes)}) "{DELIMITER}" '
    return head.encode() + wire_name + more + b"\r\n"
