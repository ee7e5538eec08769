"""Everything that is measured, by name."""

from collections.abc import Callable

from benchmarks import latency, light, mailbox, sessions, submission
from benchmarks.bench import Bench
from benchmarks.delivery import measure
from benchmarks.load import Load

KIB = 1024

SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "rest": sessions.at_rest,
    "deliver-4k-10": measure("4 KiB, 10 sessions", Load(4 * KIB, 10), visible=8, cpu=8),
    "deliver-4k-50": measure("4 KiB, 50 sessions", Load(4 * KIB, 50), visible=8, cpu=8),
    "deliver-64k": measure("64 KiB, 10 sessions", Load(64 * KIB, 10), visible=5),
    "deliver-1m": measure("1 MiB, 10 sessions", Load(1024 * KIB, 10), visible=2),
    "deliver-connect": measure(
        "4 KiB, a connection each, 10 sessions", Load(4 * KIB, 10, keep=False), visible=5
    ),
    "deliver-many": measure(
        "4 KiB to 10 recipients, 10 sessions", Load(4 * KIB, 10, recipients=10), visible=6
    ),
    "submission": submission.run,
    "latency": latency.run,
    "append": mailbox.append,
    "logins": sessions.logins,
    "mailbox": mailbox.large,
    "mailbox-append": mailbox.grown,
    "mailbox-huge": mailbox.huge,
    "idle": sessions.idle,
    "light": light.run,
}

QUICK = (
    "deliver-4k-10",
    "deliver-4k-50",
    "deliver-64k",
    "deliver-connect",
    "deliver-many",
    "latency",
    "logins",
)
"""What a quick run does unless told otherwise: one turn each, short."""
