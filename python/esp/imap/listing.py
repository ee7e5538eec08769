"""Which names LIST and LSUB show, and with what attributes (RFC 3501 §6.3.8-9, RFC 5258, RFC 6154 §2)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from esp.core import mailbox_name
from esp.core.mailbox import DELIMITER
from esp.native import ListArguments, encode_mailbox, list_matches
from esp.services.mailboxes import Listed

if TYPE_CHECKING:
    from esp.imap.session import Session

Line = tuple[Listed | None, bytes]


def list_lines(
    arguments: ListArguments, listed: Sequence[Listed], *, lsub: bool, utf8: bool, imap4rev2: bool
) -> Iterator[Line]:
    """Return the responses, each with the name that it is about."""
    if arguments.patterns == ("",) and not arguments.extended:
        # RFC 3501 §6.3.8: an empty name asks for the delimiter, and the root of the reference.
        yield None, _line("LSUB" if lsub else "LIST", ["\\Noselect"], b'""')
        return
    patterns = [mailbox_name.canonical(arguments.reference + pattern) for pattern in arguments.patterns]
    shown = (
        _subscribed(patterns, listed) if lsub else _selected(arguments, patterns, listed, imap4rev2=imap4rev2)
    )
    for name, attributes, more in shown:
        wire = encode_mailbox(name.name, utf8)
        yield name, _line("LSUB" if lsub else "LIST", attributes, wire, more.encode())


def name_line(name: Listed, *, utf8: bool, subscribed: bool = False, old_name: str | None = None) -> bytes:
    """Return a LIST response that nobody's pattern asked for (RFC 9051 §6.3.9.7, RFC 5465 §5.4-5).

    Args:
        name: what is so now.
        utf8: how the session reads names.
        subscribed: whether `\\Subscribed` is told.
        old_name: what the name was before, or what the client wrote.
    """
    attributes = _attributes(name, extended=True)
    if subscribed and name.subscribed:
        attributes.append("\\Subscribed")
    more = b"" if old_name is None else b' ("OLDNAME" (' + encode_mailbox(old_name, utf8) + b"))"
    return _line("LIST", attributes, encode_mailbox(name.name, utf8), more)


async def write_list(session: "Session", written: str) -> None:
    """Tell an IMAP4rev2 client of the mailbox it has named, and under which name it goes (RFC 9051 §6.3.2)."""
    canonical = mailbox_name.canonical(written)
    for name in await session.door.mailboxes.listed(session.owner):
        if name.name == canonical:
            old_name = written if written != canonical else None
            utf8 = session.connection.reader.utf8
            session.connection.write(name_line(name, utf8=utf8, old_name=old_name))


def _selected(
    arguments: ListArguments, patterns: Sequence[str], listed: Sequence[Listed], *, imap4rev2: bool
) -> Iterator[tuple[Listed, list[str], str]]:
    selection, returns = frozenset(arguments.selection), frozenset(arguments.returns)
    by_subscription = "SUBSCRIBED" in selection
    above_subscribed = mailbox_name.with_children(
        # RFC 5258 §4: CHILDINFO says that a child is subscribed which the patterns themselves do not show.
        name.name
        for name in listed
        if name.subscribed and not _matches(patterns, name.name)
    )
    for name in listed:
        if not _matches(patterns, name.name):
            continue
        exists = name.mailbox is not None or name.has_children
        child_info = "RECURSIVEMATCH" in selection and by_subscription and name.name in above_subscribed
        if by_subscription and not name.subscribed and not child_info:
            continue
        if not by_subscription and not exists:
            continue
        use = name.mailbox.special_use if name.mailbox is not None else None
        if "SPECIAL-USE" in selection and use is None:
            continue
        attributes = _attributes(name, extended=arguments.extended or imap4rev2)
        if name.subscribed and (by_subscription or "SUBSCRIBED" in returns):
            attributes.append("\\Subscribed")
        yield name, attributes, ' ("CHILDINFO" ("SUBSCRIBED"))' if child_info else ""


def _subscribed(patterns: Sequence[str], listed: Sequence[Listed]) -> Iterator[tuple[Listed, list[str], str]]:
    above = mailbox_name.with_children(name.name for name in listed if name.subscribed)
    for name in listed:
        if not _matches(patterns, name.name):
            continue
        if name.subscribed:
            yield name, _attributes(name, extended=False), ""
        elif name.name in above and any("%" in pattern for pattern in patterns):
            # RFC 3501 §6.3.9: "foo" not subscribed, "foo/bar" is: LSUB "%" must show foo.
            yield name, ["\\Noselect"], ""


def _attributes(name: Listed, *, extended: bool) -> list[str]:
    attributes = []
    if name.mailbox is None:
        # RFC 5258 §3: \NonExistent implies \Noselect, which older clients need to see.
        attributes += ["\\NonExistent", "\\Noselect"] if extended else ["\\Noselect"]
    attributes.append("\\HasChildren" if name.has_children else "\\HasNoChildren")
    if name.mailbox is not None and name.mailbox.special_use is not None:
        attributes.append(name.mailbox.special_use)
    return attributes


def _matches(patterns: Sequence[str], name: str) -> bool:
    return any(list_matches(pattern, name) for pattern in patterns)


def _line(response: str, attributes: Sequence[str], wire_name: bytes, more: bytes = b"") -> bytes:
    head = f'* {response} ({" ".join(attributes)}) "{DELIMITER}" '
    return head.encode() + wire_name + more + b"\r\n"
