"""`esp-cli mailbox acl`."""

from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from esp.cli.console import Config, Json, as_json, run, table
from esp.core import rights
from esp.core.address import parse
from esp.server.administration import Administration
from esp.services.sharing import Listing

acl = App("acl", help="Who may use a mailbox, and how (RFC 4314).")

Letters = Annotated[
    str,
    Parameter(
        help="lrswipkxtea; +letters adds, -letters takes away, none removes the entry.",
        allow_leading_hyphen=True,
    ),
]
Identifier = Annotated[
    str,
    Parameter(help="An address, or anyone (in the domain); -ADDRESS denies.", allow_leading_hyphen=True),
]


class Entry(msgspec.Struct, frozen=True):
    """An entry for people and programs."""

    identifier: str
    rights: str


@acl.command(name="list")
def list_entries(user: str, name: str, /, *, config: Config = None, json: Json = False) -> None:
    """List who may do what with the mailbox NAME of USER."""

    async def work(esp: Administration) -> Listing:
        return await esp.sharing.listing(await esp.accounts.principal(parse(user)), name)

    _show(run(config, work), json=json)


@acl.command(name="set")
def set_entry(
    user: str,
    name: str,
    identifier: Identifier,
    letters: Letters,
    /,
    *,
    config: Config = None,
    json: Json = False,
) -> None:
    """Give IDENTIFIER rights on the mailbox NAME of USER."""

    async def work(esp: Administration) -> Listing:
        owner = await esp.accounts.principal(parse(user))
        if letters == "none":
            await esp.sharing.revoke(owner, name, identifier)
        else:
            await esp.sharing.change(owner, name, identifier, letters)
        return await esp.sharing.listing(owner, name)

    _show(run(config, work), json=json)


def _show(listing: Listing, *, json: bool) -> None:
    entries = [
        Entry(("-" if grant.negative else "") + grant.identifier, rights.letters(grant.rights))
        for grant in listing.grants
    ]
    if json:
        return as_json(entries)
    return table("identifier", "rights", rows=((e.identifier, e.rights) for e in entries), empty="nobody")
