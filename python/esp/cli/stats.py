"""`esp-cli stats`."""

from esp.cli.console import Config, Json, as_json, fields, run, size
from esp.server.administration import Administration
from esp.storage.postgres import reports


def stats(*, config: Config = None, json: Json = False) -> None:
    """Count what the installation holds, and what its workers still have to do."""

    async def work(esp: Administration) -> reports.Totals:
        async with esp.database.connection() as connection:
            return await reports.totals(connection)

    found = run(config, work)
    if json:
        return as_json(found)
    return fields(
        [
            ("domains", found.domains),
            ("accounts", found.accounts),
            ("aliases", found.aliases),
            ("mailboxes", found.mailboxes),
            ("messages", found.messages),
            ("mail", size(found.octets)),
            ("database", size(found.database_octets)),
            ("not indexed yet", found.unindexed),
            ("outbox", ", ".join(f"{topic} {rows}" for topic, rows in found.outbox.items()) or "empty"),
        ]
    )
