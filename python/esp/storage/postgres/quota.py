"""How full accounts are, and whether a warning was given already."""

from collections.abc import Collection, Sequence

import msgspec

from esp.core.principal import AccountId
from esp.core.quota import Quota
from esp.storage.postgres.pool import Connection


class Crossing(msgspec.Struct, frozen=True):
    """An account whose usage has passed a level."""

    address: str
    level: int
    """Percent."""
    quota: Quota


async def crossings(
    connection: Connection, accounts: Collection[AccountId] | None, levels: Sequence[int]
) -> list[Crossing]:
    """Record the level that accounts (`None`: all) have reached, and return those where it rose: each only once."""
    rows = await connection.fetch(
        """
        WITH used AS (
            SELECT a.id, a.quota_level AS before, coalesce(sum(m.octets), 0)::bigint AS octets,
                coalesce(sum(m.messages), 0)::bigint AS messages
            FROM account AS a LEFT JOIN mailbox AS m ON m.account_id = a.id
            WHERE ($1::bigint[] IS NULL OR a.id = ANY($1))
                AND (a.quota_octets IS NOT NULL OR a.quota_messages IS NOT NULL OR a.quota_level > 0)
            GROUP BY a.id
        ), now AS (
            SELECT used.*, (
                SELECT coalesce(max(level), 0) FROM unnest($2::integer[]) AS level
                WHERE used.octets::numeric * 100 >= a.quota_octets::numeric * level AND used.octets > 0
                    OR used.messages::numeric * 100 >= a.quota_messages::numeric * level AND used.messages > 0
            ) AS level
            FROM used JOIN account AS a ON a.id = used.id
        ), noted AS (
            UPDATE account AS a SET quota_level = now.level FROM now
            WHERE a.id = now.id AND a.quota_level = now.before AND now.level <> now.before
            RETURNING a.id, a.local_part, a.domain_id, a.quota_octets, a.quota_messages
        )
        SELECT noted.local_part || '@' || d.name, now.level, now.octets, noted.quota_octets, now.messages,
            noted.quota_messages
        FROM noted JOIN now ON now.id = noted.id JOIN domain AS d ON d.id = noted.domain_id
        WHERE now.level > now.before ORDER BY 1
        """,
        None if accounts is None else sorted(accounts),
        list(levels),
    )
    return [Crossing(row[0], row[1], Quota(row[2], row[3], row[4], row[5])) for row in rows]
