"""Keys of the installation: made once, by the first process that needs one, and then the same for all."""

import secrets

from esp.storage.postgres.pool import Connection


async def shared(connection: Connection, name: str) -> bytes:
    """Return the 32 octets of that name."""
    await connection.execute(
        "INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        name,
        secrets.token_bytes(32),
    )
    return bytes(await connection.fetchval("SELECT value FROM secret WHERE name = $1", name))
