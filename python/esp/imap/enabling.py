"""What a session turns on and off: ENABLE, COMPRESS, UNAUTHENTICATE (RFC 5161, RFC 9051 §6.3.1, RFC 4978, RFC 8437)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from esp.imap.responses import Refusal
from esp.native import Command, CompressArguments, EnableArguments

if TYPE_CHECKING:
    from esp.imap.session import Session

IMAP4REV2 = "IMAP4rev2"
UTF8_ACCEPT = "UTF8=ACCEPT"


async def enable(session: "Session", command: Command) -> str:
    """ENABLE: unknown capabilities are passed over, and only newly enabled ones are reported (RFC 9051 §6.3.1)."""
    arguments = command.arguments
    assert isinstance(arguments, EnableArguments)
    enabled = []
    for name, turn_on in _EXTENSIONS.items():
        if name.upper() in arguments.capabilities and turn_on(session):
            enabled.append(name)
    session.untagged(" ".join(["ENABLED", *enabled]))
    return "OK ENABLE completed"


def enable_condstore(session: "Session") -> bool:
    """Send mod-sequences from now on: any command that uses one asks for that (RFC 7162 §3.1).

    Returns:
        Whether CONDSTORE was not enabled before.
    """
    if session.condstore:
        return False
    session.condstore = True
    if session.selected is not None:
        session.selected.view.enable_condstore()
        # What the session was told, not what the index knows by now: the client takes this for what it has.
        session.untagged(f"OK [HIGHESTMODSEQ {session.selected.view.told}] CONDSTORE enabled")
    return True


def _enable_qresync(session: "Session") -> bool:
    if session.qresync:
        return False
    enable_condstore(session)  # RFC 7162 §3.2.3
    session.qresync = True
    if session.selected is not None:
        session.selected.view.enable_qresync()
    return True


def _enable_uidonly(session: "Session") -> bool:
    if session.uidonly:
        return False
    session.uidonly = True
    if session.selected is not None:
        session.selected.view.enable_uidonly()
    return True


def _enable_imap4rev2(session: "Session") -> bool:
    if session.imap4rev2:
        return False
    session.imap4rev2 = True
    session.connection.reader.utf8 = True  # RFC 9051 §5.1
    if session.selected is not None:
        session.selected.view.enable_imap4rev2()
    return True


def _enable_utf8(session: "Session") -> bool:
    if session.utf8_accept:
        return False
    session.utf8_accept = True
    session.connection.reader.utf8 = True  # RFC 6855 §3
    return True


_EXTENSIONS: dict[str, Callable[["Session"], bool]] = {
    "CONDSTORE": enable_condstore,
    "QRESYNC": _enable_qresync,
    "UIDONLY": _enable_uidonly,
    IMAP4REV2: _enable_imap4rev2,
    UTF8_ACCEPT: _enable_utf8,
}


async def compress(session: "Session", command: Command) -> None:
    """COMPRESS: everything after this command's OK is compressed, in both directions."""
    arguments = command.arguments
    assert isinstance(arguments, CompressArguments)
    connection = session.connection
    if arguments.algorithm != "DEFLATE":
        raise Refusal("BAD DEFLATE is the only algorithm")
    if connection.compressed:
        raise Refusal("NO [COMPRESSIONACTIVE] DEFLATE is active already")
    if connection.reader.buffered:
        # RFC 4978 §3: the client sends nothing before the answer. Whether such octets are compressed is a guess.
        raise Refusal("BAD [CLIENTBUG] Nothing may follow COMPRESS before its answer")
    session.tell()
    session.tagged(command.tag, "OK DEFLATE active")
    connection.begin_compression()


async def unauthenticate(session: "Session", command: Command) -> None:
    """UNAUTHENTICATE: everything is as before the login, except for TLS and what ID said (RFC 8437 §4)."""
    if not session.door.settings.unauthenticate:
        raise Refusal("BAD UNAUTHENTICATE is not offered")
    session.log_out()
    # The client may have sent its next login already, so the answer is the last thing that is compressed.
    session.tagged(command.tag, f"OK [CAPABILITY {session.capabilities()}] UNAUTHENTICATE completed")
    session.connection.end_compression()
