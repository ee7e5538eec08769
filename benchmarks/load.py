"""Mail sent by Postfix's `smtp-source`, one process for each session.

`smtp-source` sends all its messages to one address (with `-r`, to the address with numbers before it), so
sessions to different users are different processes; each is small and costs 50 to 90 µs a message.
"""

import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.messages import Writer
from benchmarks.server import HOST


class Load(msgspec.Struct, frozen=True):
    """The shape of a load."""

    octets: int
    sessions: int
    keep: bool = True
    """Many messages over one connection, or a connection each."""
    recipients: int = 1


class Sent(msgspec.Struct, frozen=True):
    """What sending took."""

    began: float
    """`perf_counter`."""
    seconds: float
    """Until the last message was accepted."""
    cpu: float
    """Of the load generator."""


def write_messages(folder: Path, octets: int, count: int) -> list[Path]:
    """Write one message for each session, with the line ends `smtp-source -F` wants."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = Writer(octets)
    paths = []
    for number in range(count):
        path = folder / f"{octets}-{number}.eml"
        if not path.exists():
            path.write_bytes(writer.message(number, octets).replace(b"\r\n", b"\n"))
        paths.append(path)
    return paths


def send(port: int, load: Load, each: int, recipients: Sequence[str], messages: Sequence[Path]) -> Sent:
    """Send `each` messages in every session, session *n* to `recipients[n]`.

    Raises:
        RuntimeError: the server refused something; nothing may be refused.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    running = []
    for session in range(load.sessions):
        command = ["smtp-source", "-s", "1", "-m", str(each), "-M", "load.elsewhere.test", "-C", "10"]
        command += [
            "-f",
            f"sender{session}@elsewhere.test",
            "-t",
            recipients[session],
            "-F",
            str(messages[session]),
        ]
        if load.keep:
            command.append("-d")
        if load.recipients > 1:
            command += ["-r", str(load.recipients)]
        running.append(
            subprocess.Popen(
                [*command, f"{HOST}:{port}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                close_fds=False,
            )
        )
    errors = [(process.communicate()[1], process.returncode) for process in running]
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for text, code in errors:
        if code:
            raise RuntimeError(f"smtp-source ended with {code}: {text.decode(errors='replace').strip()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sent(began=began, seconds=seconds, cpu=cpu)
