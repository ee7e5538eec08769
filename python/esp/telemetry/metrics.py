"""Every metric of ESP, in one place; `docs/reference/metrics.md` is made from this file.

Processes share them through files (prometheus-client's multi-process mode): the API role adds them up at
`/metrics`. Names follow Prometheus: base units, `_total` for what only grows.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry(auto_describe=False)
"""ESP's own; the library's default one has collectors that make no sense for several processes."""

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def _counter(name: str, what: str, *labels: str) -> Counter:
    return Counter(name, what, labels, registry=REGISTRY)


def _gauge(name: str, what: str, *labels: str) -> Gauge:
    return Gauge(name, what, labels, registry=REGISTRY, multiprocess_mode="livesum")


def _histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(name, what, labels, registry=REGISTRY, buckets=buckets)


SMTP_CONNECTIONS = _counter(
    "esp_smtp_connections_total", "Connections taken, by door (smtp, submission, submissions, lmtp).", "door"
)
SMTP_SESSIONS = _gauge("esp_smtp_sessions", "Sessions open now, by door.", "door")
SMTP_REPLIES = _counter(
    "esp_smtp_replies_total", "Final replies to commands, by door, verb and code.", "door", "verb", "code"
)
MESSAGES_ACCEPTED = _counter("esp_messages_accepted_total", "Messages answered with 250, by door.", "door")
MESSAGES_REFUSED = _counter(
    "esp_messages_refused_total",
    "Messages answered with 4yz or 5yz after their data, by door.",
    "door",
    "code",
)
MESSAGES_ACCEPTED_BYTES = _counter(
    "esp_messages_accepted_bytes_total", "Size of accepted messages, by door.", "door"
)

DISPATCH_BATCH = _histogram("esp_dispatch_batch_messages", "Messages committed together.", _COUNTS)
DISPATCH_STEP_SECONDS = _histogram(
    "esp_dispatch_step_seconds",
    "Time of one step (files, rows) of a batch; rows where both are one.",
    _FAST,
    "step",
)
DELIVERIES = _counter("esp_deliveries_total", "Messages placed in mailboxes, one for each mailbox.")
DELIVERY_FAILURES = _counter(
    "esp_delivery_failures_total", "Deliveries that failed, by error (class of core.errors).", "error"
)

IMAP_CONNECTIONS = _counter("esp_imap_connections_total", "Connections taken, by door (imap, imaps).", "door")
IMAP_SESSIONS = _gauge("esp_imap_sessions", "Sessions open now, with and without login.")
IMAP_COMMANDS = _counter(
    "esp_imap_commands_total", "Commands answered, by name and outcome (OK, NO, BAD).", "command", "outcome"
)
IMAP_COMMAND_SECONDS = _histogram("esp_imap_command_seconds", "Time to answer a command.", _FAST, "command")
IMAP_INDEXES = _gauge("esp_imap_indexes", "Mailbox indexes in memory.")

LOGINS = _counter(
    "esp_logins_total", "Logins, by door and outcome (ok, failed, throttled).", "door", "outcome"
)

OUTBOX_HANDLED = _counter("esp_outbox_handled_total", "Outbox rows worked off, by topic.", "topic")
OUTBOX_FAILED = _counter(
    "esp_outbox_failed_total", "Outbox rows whose work failed and will be tried again.", "topic"
)
OUTBOX_DUE = Gauge(
    "esp_outbox_due", "Outbox rows that are due, as the scheduler saw last.", ("topic",),
    registry=REGISTRY, multiprocess_mode="livemostrecent",
)  # fmt: skip
JOBS = _counter(
    "esp_jobs_total", "Jobs done by RQ workers, by topic and outcome (ok, failed).", "topic", "outcome"
)
JOB_SECONDS = _histogram("esp_job_seconds", "Time of one job.", _FAST, "topic")
WAKEUPS = _counter("esp_wakeups_total", "Wake-ups of workers, by outcome (sent, merged, failed).", "outcome")

TASK_FAILURES = _counter(
    "esp_task_failures_total", "Errors that nobody thought of in tasks that go on all the same.", "task"
)
PROCESS_STARTS = _counter("esp_process_starts_total", "Starts of role processes.", "role")
