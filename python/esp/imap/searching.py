"""SEARCH and UID SEARCH, with results as RFC 4731 and RFC 5182 have them."""

from typing import TYPE_CHECKING

from esp.imap.enabling import enable_condstore
from esp.imap.responses import Refusal
from esp.native import Command, SearchArguments

if TYPE_CHECKING:
    from esp.imap.session import Session


async def search(session: "Session", command: Command) -> str:
    """SEARCH."""
    arguments = command.arguments
    selected = session.selected
    assert isinstance(arguments, SearchArguments)
    assert selected is not None
    if arguments.charset and session.utf8_accept:
        raise Refusal("BAD A charset cannot be named after ENABLE UTF8=ACCEPT")  # RFC 6855 §3
    if arguments.program.modseq:
        enable_condstore(session)
    await session.refresh()
    connection = session.connection
    try:
        found = await session.door.searching.search(
            selected.view, selected.opened.index, arguments.program, wanted=lambda: not connection.closing
        )
    except ValueError as error:
        raise Refusal(f"BAD {error}") from error
    returns = arguments.returns
    if returns is None and session.imap4rev2:
        returns = ("ALL",)  # RFC 9051 §6.4.4: the response is ESEARCH, whether or not RETURN was said
    if returns is not None and "SAVE" in returns:
        selected.view.save(_saved(found.uids, returns))
        # RFC 5182 §2.1: with SAVE alone there is no untagged response.
        returns = tuple(option for option in returns if option != "SAVE")
        if not returns:
            return f"OK {'UID ' if command.uid else ''}SEARCH completed, result saved"
    connection.write(found.response(uid=command.uid, tag=command.tag, returns=returns))
    return f"OK {'UID ' if command.uid else ''}SEARCH completed"


def _saved(uids: list[int], returns: tuple[str, ...]) -> list[int]:
    # RFC 5182 §2.4: with MIN or MAX only those are saved, unless ALL or COUNT is there as well.
    if {"ALL", "COUNT"} & set(returns) or not {"MIN", "MAX"} & set(returns) or not uids:
        return uids
    ends = {"MIN": uids[0], "MAX": uids[-1]}
    return sorted({uid for option, uid in ends.items() if option in returns})
