"""Commands about access control lists (RFC 4314)."""

from typing import TYPE_CHECKING

from esp.core import rights
from esp.core.errors import InvalidError
from esp.core.rights import LETTERS, Rights
from esp.imap.responses import bad_when
from esp.native import AclArguments, Command, MailboxArguments, encode_mailbox, encode_string

if TYPE_CHECKING:
    from esp.imap.session import Session


async def set_acl(session: "Session", command: Command) -> str:
    """SETACL."""
    arguments = command.arguments
    assert isinstance(arguments, AclArguments)
    assert arguments.rights is not None
    with bad_when(InvalidError):  # RFC 4314 §3, §3.1: an unknown right, an identifier that is none
        changed = await session.door.sharing.change(
            session.owner, arguments.mailbox, arguments.identifier, arguments.rights
        )
    session.door.open_mailboxes.heard(changed.mailbox, changed.modseq)
    return "OK SETACL completed"


async def delete_acl(session: "Session", command: Command) -> str:
    """DELETEACL."""
    arguments = command.arguments
    assert isinstance(arguments, AclArguments)
    with bad_when(InvalidError):  # RFC 4314 §3, §3.1: an unknown right, an identifier that is none
        changed = await session.door.sharing.revoke(session.owner, arguments.mailbox, arguments.identifier)
    session.door.open_mailboxes.heard(changed.mailbox, changed.modseq)
    return "OK DELETEACL completed"


async def get_acl(session: "Session", command: Command) -> str:
    """GETACL."""
    arguments = command.arguments
    assert isinstance(arguments, MailboxArguments)
    found = await session.door.sharing.listing(session.owner, arguments.mailbox)
    entries = b"".join(
        b" " + _astring(("-" if grant.negative else "") + grant.identifier) + b" " + _letters(grant.rights)
        for grant in found.grants
    )
    session.connection.write(b"* ACL " + _name(session, found.reached.name) + entries + b"\r\n")
    return "OK GETACL completed"


async def list_rights(session: "Session", command: Command) -> str:
    """LISTRIGHTS: no rights are tied together here, so each is a string of its own."""
    arguments = command.arguments
    assert isinstance(arguments, AclArguments)
    with bad_when(InvalidError):  # RFC 4314 §3, §3.1: an unknown right, an identifier that is none
        found = await session.door.sharing.grantable(session.owner, arguments.mailbox, arguments.identifier)
    # RFC 4314 §2.1.1: the virtual rights are listed by themselves, since they are tied to no other.
    optional = [letter for letter, right in LETTERS if right in found.optional] + ["c", "d"]
    session.connection.write(
        b"* LISTRIGHTS "
        + _name(session, found.reached.name)
        + b" "
        + _astring(arguments.identifier)
        + b" "
        + _letters(found.required)
        + b" "
        + " ".join(optional).encode()
        + b"\r\n"
    )
    return "OK LISTRIGHTS completed"


async def my_rights(session: "Session", command: Command) -> str:
    """MYRIGHTS."""
    arguments = command.arguments
    assert isinstance(arguments, MailboxArguments)
    reached = await session.door.sharing.mine(session.owner, arguments.mailbox)
    session.connection.write(my_rights_line(session, reached.name, reached.rights))
    return "OK MYRIGHTS completed"


def my_rights_line(session: "Session", name: str, granted: Rights) -> bytes:
    """Return the untagged MYRIGHTS response."""
    return b"* MYRIGHTS " + _name(session, name) + b" " + _letters(granted) + b"\r\n"


def _name(session: "Session", name: str) -> bytes:
    return encode_mailbox(name, session.connection.reader.utf8)


def _letters(granted: Rights) -> bytes:
    return rights.shown(granted).encode() or b'""'


def _astring(identifier: str) -> bytes:
    # Addresses are atoms unless their local part is quoted or not ASCII.
    return identifier.encode() if _is_atom(identifier) else encode_string(identifier)


def _is_atom(identifier: str) -> bool:
    return identifier.isascii() and identifier.isprintable() and not set(identifier) & set(' (){%*"\\')
