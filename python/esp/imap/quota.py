"""GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208)."""

from typing import TYPE_CHECKING

from esp.core import mailbox_name, namespace
from esp.core.errors import NotFoundError
from esp.core.rights import Rights
from esp.native import (
    Command,
    MailboxArguments,
    QuotaArguments,
    SetQuotaArguments,
    encode_mailbox,
    encode_string,
)
from esp.services.quotas import MESSAGE, STORAGE, STORAGE_UNIT, Root

if TYPE_CHECKING:
    from esp.imap.session import Session


async def get_quota(session: "Session", command: Command) -> str:
    """GETQUOTA (RFC 9208 §4.1.1): the account's own root has an empty name, another's its address."""
    arguments = command.arguments
    assert isinstance(arguments, QuotaArguments)
    _write(session, await session.door.quotas.find(session.owner, arguments.root))
    return "OK GETQUOTA completed"


async def get_quota_root(session: "Session", command: Command) -> str:
    """GETQUOTAROOT (RFC 9208 §4.1.2)."""
    arguments = command.arguments
    assert isinstance(arguments, MailboxArguments)
    name = mailbox_name.canonical(arguments.mailbox)
    try:
        reached = await session.door.mailboxes.reach(session.owner, name, Rights.READ)
        root = await session.door.quotas.root_of(reached)
    except NotFoundError:
        if namespace.place(name).owner is not None:
            raise
        # RFC 9208 §4.1.2: the mailbox need not exist; a client asks which root it would be charged to.
        root = await session.door.quotas.find(session.owner, "")
    wire_name = encode_mailbox(name, session.connection.reader.utf8)
    session.connection.write(b"* QUOTAROOT " + wire_name + b" " + encode_string(root.name) + b"\r\n")
    _write(session, root)
    return "OK GETQUOTAROOT completed"


async def set_quota(session: "Session", command: Command) -> str:
    """SETQUOTA (RFC 9208 §4.1.3): for administrators."""
    arguments = command.arguments
    assert isinstance(arguments, SetQuotaArguments)
    _write(session, await session.door.quotas.limit(session.owner, arguments.root, dict(arguments.limits)))
    return "OK SETQUOTA completed"


def _write(session: "Session", root: Root) -> None:
    quota = root.quota
    limits = []
    if quota.limit is not None:
        # The usage is rounded up, the limit down.
        limits.append(f"{STORAGE} {-(-quota.used // STORAGE_UNIT)} {quota.limit // STORAGE_UNIT}")
    if quota.message_limit is not None:
        limits.append(f"{MESSAGE} {quota.messages} {quota.message_limit}")
    # Also where nothing is limited: RFC 2087 §5.1 lets the list be empty, RFC 9208 §7 no longer does. net-imap 0.2.3 of
    # Ruby 3.1 raises when no QUOTA comes at all, and reads the empty list as no limit.
    session.connection.write(b"* QUOTA " + encode_string(root.name) + f" ({' '.join(limits)})\r\n".encode())
