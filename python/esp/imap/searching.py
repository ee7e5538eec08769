"""SEARCH, SORT and THREAD (RFC 3501 §6.4.4, RFC 5256), with the results of RFC 4731, 5182, 5267 and 6203."""

from typing import TYPE_CHECKING

from esp.core.errors import EspError
from esp.imap.enabling import enable_condstore
from esp.imap.responses import UID_REQUIRED, Refusal
from esp.native import Command, ReturnOptions, SearchArguments, SortArguments, ThreadArguments

if TYPE_CHECKING:
    from esp.imap.session import Session


async def search(session: "Session", command: Command) -> str:
    """SEARCH, SORT, THREAD, and each with UID."""
    arguments = command.arguments
    selected = session.selected
    assert isinstance(arguments, SearchArguments | SortArguments | ThreadArguments)
    assert selected is not None
    order = None if isinstance(arguments, SearchArguments) else arguments.order
    returns = None if isinstance(arguments, ThreadArguments) else arguments.returns
    saves = returns is not None and "SAVE" in returns
    if isinstance(arguments, SearchArguments):
        if arguments.charset and session.utf8_accept:
            raise Refusal("BAD A charset cannot be named after ENABLE UTF8=ACCEPT")  # RFC 6855 §3
        if returns is None and session.imap4rev2:
            returns = ReturnOptions("ALL")  # RFC 9051 §6.4.4: ESEARCH, with or without RETURN
    if session.uidonly and arguments.program.numbers:
        raise Refusal(f"BAD {UID_REQUIRED}")
    updates = returns is not None and "UPDATE" in returns
    if updates and command.tag in selected.contexts:
        raise Refusal("BAD Tag reuse")  # RFC 5267 §4.3: updates of both would look alike
    if arguments.program.modseq:
        enable_condstore(session)
    try:
        await session.refresh()
        connection = session.connection
        searched, last_uid = selected.opened.index.modseq, selected.view.last_uid
        found = await session.door.searching.search(
            selected.view,
            selected.opened.index,
            arguments.program,
            order=order,
            threads=await session.door.contents.of_threads(
                selected.opened.index, arguments.program.threads, session.progress.reached
            ),
            wanted=lambda: not connection.closing,
        )
    except EspError:
        if saves:
            # RFC 5182 §2.1: after NO nothing is saved; after BAD it was no search at all, and the old result stays.
            selected.view.save([])
        raise
    if returns is not None and saves:
        selected.view.save(found.saved(returns))
    connection.write(found.response(uid=command.uid, tag=command.tag, returns=returns))
    if updates and selected.contexts.full:
        session.untagged(f'NO [NOUPDATE "{command.tag}"] Too many contexts')
    elif updates:
        assert returns is not None
        selected.contexts.add(
            command,
            found,
            arguments.program,
            order,
            searched,
            fetch=returns.fetch,
            last_uid=last_uid,
        )
    name = f"UID {command.name}" if command.uid else command.name
    code = "[EXPUNGEISSUED] " if found.leaves_out else ""  # RFC 5530 §3
    return f"OK {code}{name} completed{', result saved' if saves else ''}"
