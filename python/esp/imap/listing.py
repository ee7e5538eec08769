"""Which names LIST and LSUB show, and with what attributes (RFC 3501 §6.3.8-9, RFC 5258, RFC 6154 §2)."""

from collections.abc import Iterator, Sequence

from esp.core import mailbox_name
from esp.core.mailbox import DELIMITER
from esp.native import ListArguments, encode_mailbox, list_matches
from esp.services.mailboxes import Listed

Line = tuple[Listed | None, bytes]


def list_lines(
    arguments: ListArguments, listed: Sequence[Listed], *, lsub: bool, utf8: bool
) -> Iterator[Line]:
    """Return the responses, each with the name that it is about."""
    if arguments.patterns == ("",) and not arguments.extended:
        # RFC 3501 §6.3.8: an empty name asks for the delimiter, and the root of the reference.
        yield None, _line("LSUB" if lsub else "LIST", ["\\Noselect"], b'""')
        return
    patterns = [mailbox_name.canonical(arguments.reference + pattern) for pattern in arguments.patterns]
    shown = _subscribed(patterns, listed) if lsub else _selected(arguments, patterns, listed)
    for name, attributes, more in shown:
        wire = encode_mailbox(name.name, utf8)
        yield name, _line("LSUB" if lsub else "LIST", attributes, wire, more)


def _selected(
    arguments: ListArguments, patterns: Sequence[str], listed: Sequence[Listed]
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
        attributes = _attributes(name, extended=arguments.extended)
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


def _line(response: str, attributes: Sequence[str], wire_name: bytes, more: str = "") -> bytes:
    head = f'* {response} ({" ".join(attributes)}) "{DELIMITER}" '
    return head.encode() + wire_name + more.encode() + b"\r\n"
