"""The grammar of IMAP responses, as far as a client needs it: atoms, strings and lists (RFC 3501 §9)."""

import re
from typing import TYPE_CHECKING, TypeAlias

from esp.native import Spool

if TYPE_CHECKING:
    from collections.abc import Sequence

DEEPEST = 50

_TOKEN = re.compile(
    rb'(?P<space>[ \t]+)|(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\]|\\.)*)"'
    # `BODY[HEADER.FIELDS (To)]` is one word. No octet is looked at again for another bracket or quote, of which a line
    # may have millions: what follows a quote without its end is one word.
    rb"|(?P<word>(?:[^ \t()\"\[]|\[[^\[\]\"]*\]|\[)+|\"[\s\S]*)"
)


class Text(bytes):
    """A string; `NIL` in quotes is one, and no NIL."""


Value: TypeAlias = bytes | Spool | list["Value"]


def parse(parts: "Sequence[bytes | Text | Spool]") -> "list[Value]":
    """Return what a response consists of: lines with literals between them.

    Raises:
        ValueError: its parentheses do not fit together.
    """
    root: list[Value] = []
    stack = [root]
    for part in parts:
        if isinstance(part, (Text, Spool)):
            stack[-1].append(part)
            continue
        for found in _TOKEN.finditer(part):
            match found.lastgroup:
                case "open":
                    inner: list[Value] = []
                    stack[-1].append(inner)
                    stack.append(inner)
                    if len(stack) > DEEPEST:
                        raise ValueError("lists within lists without end")
                case "close":
                    if len(stack) > 1:
                        stack.pop()
                    else:
                        stack[-1].append(b")")  # in the text for people
                case "quoted":
                    stack[-1].append(Text(re.sub(rb"\\(.)", rb"\1", found["quoted"])))
                case "word":
                    stack[-1].append(found["word"])
    # The text of a status response may have an open parenthesis.
    if len(stack) > 1 and root[1:2] not in ([b"OK"], [b"NO"], [b"BAD"], [b"BYE"], [b"PREAUTH"]):
        raise ValueError("a list without end")
    return root
