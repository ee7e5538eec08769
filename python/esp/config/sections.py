"""The sections of the configuration: one frozen struct each, a docstring per field.

`Size` and `Duration` fields are written `25MiB` and `5m` in YAML; in the structs they are octets and seconds.
The example file and the reference are made from these docstrings (`config.reference`).
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

Size = Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"format": "size"})]
Duration = Annotated[float, msgspec.Meta(ge=0, extra_json_schema={"format": "duration"})]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Network = Annotated[str, msgspec.Meta(extra={"kind": "network"})]
Secret = Annotated[str, msgspec.Meta(extra={"kind": "secret"})]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section; an unknown key stops the start."""


class Server(_Section, frozen=True):
    """The node as a whole."""

    hostname: str = "localhost"
    """Name in greetings, Received and Message-ID; should resolve to this machine."""
    run_path: Path = Path("/run/esp")
    """Process id, state of the roles, embedded stores' sockets, metrics files."""
    drain_timeout: Duration = 20.0
    """How long a stopping role waits for its sessions and jobs."""


class Database(_Section, frozen=True):
    """PostgreSQL >= 15."""

    dsn: Secret = ""
    """`postgresql://…`; empty: ESP runs a PostgreSQL of its own."""
    path: Path | None = None
    """Data folder of our own PostgreSQL; `postgres` beside `storage.path` when not given."""
    user: str = ""
    """System user of our own PostgreSQL when started by root; empty: the first of esp, postgres, nobody."""
    pool_size: Positive = 4
    """Connections per process. Each is 4 MiB of the server, and statements are short; 100 in all is PostgreSQL's own
    default."""
    timeout: Duration = 10.0
    """For one statement; a longer one is a transient error."""


class Redis(_Section, frozen=True):
    """Redis or Valkey >= 7.0; holds only what may be forgotten."""

    url: Secret = ""
    """`redis://…`, `rediss://…` or `unix:///path`; empty: ESP runs a Valkey of its own."""
    path: Path | None = None
    """Data folder of our own Valkey; `valkey` beside `storage.path` when not given."""


class Storage(_Section, frozen=True):
    """Maildirs."""

    path: Path = Path("/var/lib/esp/mail")
    """Root of all Maildirs; one file system, so that a message for many recipients is one inode."""
    sync: bool = True
    """Fsync before the 250. Off only for throw-away tests: mail is lost with the machine's power."""
    sync_threads: Positive = 16
    """Threads that write message files of one process; the disk, not the cores, is the limit."""
    quarantine_retention: Duration = 30 * 86400.0
    """How long files that belong to no message are kept in `quarantine`; 0: until an administrator removes them."""


class Tls(_Section, frozen=True):
    """Certificate of the mail doors."""

    certificate: Path | None = None
    """PEM chain, leaf first."""
    key: Path | None = None
    """PEM private key."""


class Security(_Section, frozen=True):
    """Who may show a password, and how often wrongly."""

    plaintext_login_networks: tuple[Network, ...] = ()
    """Networks that may log in without TLS; for proxies that end TLS, and for measurements."""
    proxy_networks: tuple[Network, ...] = ()
    """Networks whose connections must begin with a PROXY protocol v2 header."""
    limit_exempt_networks: tuple[Network, ...] = ()
    """Networks without message-rate and connection limits (never exempt from login throttling)."""
    login_failures: Positive = 10
    """Failed logins of one address or one client before both have to wait."""
    login_failure_window: Duration = 600.0
    """Time in which `login_failures` are counted."""


class Smtp(_Section, frozen=True):
    """SMTP in, submission and LMTP."""

    address: str = "0.0.0.0"  # noqa: S104 - a mail server listens to the world
    """Where to listen; `::` for both families."""
    port: Port = 25
    """0 turns the door off, here and below."""
    submission_port: Port = 587
    """STARTTLS, then AUTH (RFC 6409)."""
    submissions_port: Port = 465
    """TLS from the first octet (RFC 8314)."""
    lmtp_port: Port = 24
    """LMTP (RFC 2033), for `lmtp_address` only."""
    lmtp_address: str = "127.0.0.1"
    """LMTP has no authentication: keep it private."""
    processes: Count = 0
    """0: one for every two cores; the others are busy for them, with PostgreSQL, files and workers."""
    max_message_size: Size = 50 * 1024 * 1024
    """Announced with SIZE (RFC 1870)."""
    memory_limit: Size = 256 * 1024
    """A larger body streams to disk as it comes."""
    max_recipients: Positive = 1000
    """In one transaction; RFC 5321 §4.5.3.1.8 wants 100 at least."""
    max_connections: Positive = 20000
    """Of one process."""
    max_connections_per_ip: Positive = 50
    """Of one process; not for `security.limit_exempt_networks`."""
    max_errors: Positive = 20
    """Refused commands in one session before 421."""
    idle_timeout: Duration = 300.0
    """RFC 5321 §4.5.3.2.7: five minutes at least."""
    data_timeout: Duration = 600.0
    """For one message to arrive whole."""
    recipient_delimiter: str = "+"
    """Parts the local part from its tag: `user+tag` (RFC 5233); empty for none."""


class Imap(_Section, frozen=True):
    """The IMAP door."""

    address: str = "0.0.0.0"  # noqa: S104 - a mail server listens to the world
    """Where to listen; `::` for both families."""
    port: Port = 143
    """Plain, with STARTTLS."""
    imaps_port: Port = 993
    """TLS from the first octet."""
    processes: Count = 0
    """0: one for each core."""
    max_connections: Positive = 50000
    """Of one process."""
    max_connections_per_user: Positive = 100
    """Of one process."""
    idle_timeout: Duration = 1800.0
    """RFC 9051 §5.4: thirty minutes at least once logged in."""
    login_timeout: Duration = 60.0
    """Before login."""
    max_literal: Size = 64 * 1024 * 1024
    """For APPEND; other literals end at 64 KiB."""
    text_cache: Size = 256 * 1024 * 1024
    """Decoded text that one process keeps for SEARCH."""
    poll_interval: Duration = 5.0
    """How soon a change is seen when Redis did not tell."""
    idle_reminder: Duration = 120.0
    """How often who sits in IDLE is told that we are still here: Outlook never asks again by itself, and routers forget
    connections on which nothing passes."""
    unauthenticate: bool = True
    """Whether a connection may change its user (RFC 8437 §8: not behind a proxy that checks logins for us)."""
    save_limit: Positive = 100_000
    """Messages of one COPY (RFC 9738; not below 1000): all of them are linked and counted in one transaction."""
    progress_interval: Duration = 10.0
    """How often a client that waits for an answer is told that it is being worked at (RFC 9585); 0: never."""
    expunged_retention: Duration = 90 * 86400.0
    """How long it is remembered which messages were expunged; who was away for longer is told all that is not there."""


class Api(_Section, frozen=True):
    """Health, metrics, REST."""

    address: str = "0.0.0.0"  # noqa: S104 - see above
    """Where to listen."""
    port: Port = 8080
    """Plain HTTP; put a TLS proxy before it, or bind it privately."""


class Worker(_Section, frozen=True):
    """RQ workers: all that may wait."""

    processes: Positive = 1
    """Each is one RQ worker with one event loop."""
    batch: Positive = 500
    """Outbox rows taken at once."""
    unlink_after: Duration = 60.0
    """Expunged files stay this long: a slow FETCH may still be reading."""


class Logging(_Section, frozen=True):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is less important is not written."""
    format: Literal["text", "json"] = "text"
    """`text` for eyes, `json` for programs: one object a line."""


class Settings(_Section, frozen=True):
    """The whole configuration."""

    server: Server = Server()
    database: Database = Database()
    redis: Redis = Redis()
    storage: Storage = Storage()
    tls: Tls = Tls()
    security: Security = Security()
    smtp: Smtp = Smtp()
    imap: Imap = Imap()
    api: Api = Api()
    worker: Worker = Worker()
    logging: Logging = Logging()
