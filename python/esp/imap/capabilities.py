"""What the server says it can do: only what works, and only what is of use in the session's state (RFC 3501 §6.1.1)."""

from collections.abc import Sequence
from typing import Final

ALWAYS: Final = ("IMAP4rev1", "IMAP4rev2", "LITERAL+", "ID", "ENABLE", "SASL-IR")
AUTHENTICATED: Final = (
    "ACL",
    "APPENDLIMIT",
    "BINARY",
    "CATENATE",
    "CHILDREN",
    "CONDSTORE",
    "CONTEXT=SEARCH",
    "CONTEXT=SORT",
    "CREATE-SPECIAL-USE",
    "ESEARCH",
    "ESORT",
    "IDLE",
    "INPROGRESS",
    "LIST-EXTENDED",
    "LIST-METADATA",
    "LIST-MYRIGHTS",
    "LIST-STATUS",
    "METADATA",
    "METADATA-SERVER",
    "MOVE",
    "MULTISEARCH",
    "MULTIAPPEND",
    "NAMESPACE",
    "NOTIFY",
    "OBJECTID",
    "PARTIAL",
    "PREVIEW",
    "QRESYNC",
    "QUOTA",
    "QUOTA=RES-MESSAGE",
    "QUOTA=RES-STORAGE",
    "REPLACE",
    "RIGHTS=texk",
    "SAVEDATE",
    "SEARCH=FUZZY",
    "SEARCHRES",
    "SORT",
    "SORT=DISPLAY",
    "SPECIAL-USE",
    "STATUS=SIZE",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "THREAD=REFS",
    "UIDONLY",
    "UIDPLUS",
    "UNSELECT",
    "UTF8=ACCEPT",
    "WITHIN",
)
"""Shown before login as well: clients decide by these whether to log in at all."""


def capabilities(
    *,
    authenticated: bool,
    starttls: bool,
    mechanisms: Sequence[str],
    append_limit: int,
    save_limit: int,
    compressed: bool,
    unauthenticate: bool,
    admin: bool,
) -> str:
    """Return the capability list for a session.

    Args:
        authenticated: whether the client has logged in.
        starttls: whether TLS can still be begun.
        mechanisms: of SASL; empty while no password may be sent (that takes TLS or a trusted network).
        append_limit: octets of the largest APPEND (RFC 7889).
        save_limit: messages of the largest COPY (RFC 9738).
        compressed: whether COMPRESS was done already.
        unauthenticate: whether a login may be undone.
        admin: whether limits may be set (RFC 9208 §3.1.2).
    """
    names = list(ALWAYS)
    if not authenticated:
        if starttls:
            names.append("STARTTLS")
        # RFC 3501 §6.2.3: LOGINDISABLED as long as LOGIN would be refused. No mechanism is offered then either, since
        # SCRAM's messages in clear text can be attacked offline.
        names.extend([f"AUTH={name}" for name in mechanisms] or ["LOGINDISABLED"])
    names.extend(f"APPENDLIMIT={append_limit}" if name == "APPENDLIMIT" else name for name in AUTHENTICATED)
    names.append(f"SAVELIMIT={save_limit}")
    if not compressed:
        names.append("COMPRESS=DEFLATE")
    if authenticated and unauthenticate:
        names.append("UNAUTHENTICATE")
    if admin:
        names.append("QUOTASET")
    return " ".join(names)
