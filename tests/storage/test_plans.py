"""No statement compares all of a large mailbox with all of a long list, however often it has been planned."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from esp.core.mailbox import Mailbox, Uid
from esp.storage.postgres import directory, messages, upkeep
from esp.storage.postgres.pool import Connection, Database
from tests.storage.test_mailbox_rows import new_account, new_mailbox


class Noting:
    """A connection that only notes what it is asked."""

    def __init__(self) -> None:
        self.query = ""
        self.arguments: tuple[Any, ...] = ()

    async def fetch(self, query: str, *arguments: object) -> list[object]:
        self.query, self.arguments = query, arguments
        return []

    execute = fetch


async def generic_plan(database: Database, noted: Noting, *settings: str) -> str:
    """Return the plan that PostgreSQL would keep for every list."""
    async with database.transaction() as tx:
        for setting in settings:
            await tx.execute(setting)
        await tx.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await tx.execute(f"PREPARE noted AS {noted.query}")
        given = ", ".join(map(_literal, noted.arguments))
        rows = await tx.fetch(f"EXPLAIN EXECUTE noted ({given})")
        await tx.execute("DEALLOCATE noted")
    return "\n".join(row[0] for row in rows)


def _literal(value: object) -> str:
    if isinstance(value, list):
        return "'{" + ",".join(map(str, value)) + "}'"
    return f"'{value}'" if isinstance(value, str) else str(value)


@pytest.mark.parametrize(
    ("ask", "wanted"),
    [
        (lambda c, box: messages.rows(c, box, [1, 2, 4]), "Index Cond: .*uid = ANY"),
        (lambda c, box: messages.rows(c, box, [1, 2, 3]), "Index Cond: .*uid >= "),
        (lambda c, box: messages.uids(c, box, range(1, 9), most=5), "Index Cond: .*uid >= "),
        (lambda c, box: messages.changed_since(c, box, [1, 2, 4], 1), "Index Cond: .*uid = ANY"),
        (lambda c, box: upkeep.known_files(c, box, ["a", "b"]), "hashed SubPlan"),
        (lambda c, box: messages.add_copies(c, box, box, [(1, "a", "S")], []), "Index Cond: .*uid >= n.uid"),
        (
            lambda c, box: upkeep.note_names(c, box.account, box.id, [(Uid(1), "S")]),
            "Index Cond: .*uid = ANY",
        ),
    ],
)
async def test_a_list_is_looked_up_and_not_walked_through(
    database: Database, ask: Callable[[Connection, Mailbox], Awaitable[object]], wanted: str
) -> None:
    mailbox = await new_mailbox(database, await new_account(database), "A")
    noted = Noting()
    await ask(cast(Connection, noted), mailbox)

    plan = await generic_plan(database, noted)

    assert not re.search("Filter: .*(= ANY|unnest)|Join Filter: ", plan), plan
    assert re.search(wanted, plan), plan


async def test_aliases_into_a_domain_are_found_by_an_index(database: Database) -> None:
    noted = Noting()
    await directory.aliases_into(cast(Connection, noted), ["example.test"])

    # With so few aliases as here, reading all of them is quicker.
    plan = await generic_plan(database, noted, "SET LOCAL enable_seqscan = off")

    assert "Index Scan on alias_target_domains" in plan, plan
