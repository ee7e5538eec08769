"""`python -m benchmarks`: run the scenarios and write the figures down."""

import argparse
import os
import platform
import sys
import time
import traceback
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import disk, postfix_dovecot
from benchmarks.bench import Bench
from benchmarks.esp import PROJECT, Esp
from benchmarks.figures import Report
from benchmarks.postfix_dovecot import PostfixDovecot
from benchmarks.scenarios import QUICK, SCENARIOS

if TYPE_CHECKING:
    from benchmarks.server import Server

DOCUMENT = PROJECT / "docs" / "performance.md"
_BEGIN = "<!-- figures: written by make bench -->\n"
_END = "<!-- end of figures -->\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"which, in this order; all of: {' '.join(SCENARIOS)}")
    parser.add_argument("--quick", action="store_true", help="one short turn each; figures are rough")
    parser.add_argument("--only", choices=["esp", "peers"], help="measure one side only")
    parser.add_argument("--folder", type=Path, help="where both servers keep everything")
    parser.add_argument("--json", type=Path, help="write the figures for programs here")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument(
        "--esp",
        default="make -s run",
        help="starts ESP in ESP_VAR, also written {var} (default: %(default)s)",
    )
    chosen = parser.parse_args()
    unknown = [name for name in chosen.scenario if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {' '.join(unknown)}")
    if not chosen.scenario:
        chosen.scenario = list(QUICK if chosen.quick else SCENARIOS)
    return chosen


def _home(wanted: Path | None) -> Path:
    """Return a fresh folder that every user may pass through: Postfix and Dovecot give up root's rights."""
    base = wanted or PROJECT / "build" / "bench"
    if (
        wanted is None
        and os.geteuid() == 0
        and not all(parent.stat().st_mode & 1 for parent in PROJECT.parents)
    ):
        base = Path("/var/tmp/esp-bench")
    folder = (base / f"{datetime.now(UTC):%Y%m%dT%H%M%S}").resolve()
    folder.mkdir(parents=True)
    for each in (folder, base):
        each.chmod(0o755)
    return folder


def _write(report: Report) -> None:
    table = report.markdown(Esp.name, PostfixDovecot.name)
    text = DOCUMENT.read_text() if DOCUMENT.exists() else f"# Performance\n\n{_BEGIN}{_END}"
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(f"{head}{_BEGIN}\n{table}\n{_END}{tail}")


def main() -> int:
    """Run; 1 when a scenario could not be carried out."""
    chosen = _arguments()
    folder = _home(chosen.folder)
    servers: list[Server] = []
    if chosen.only != "peers":
        var = folder / "esp"
        servers.append(Esp(var, [word.format(var=var) for word in chosen.esp.split()]))
    if chosen.only != "esp":
        postfix_dovecot.install()
        servers.append(PostfixDovecot(folder / "peers"))
    report = Report(
        began=datetime.now(UTC),
        cores=os.cpu_count() or 1,
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        system=f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}",
        quick=chosen.quick,
        servers=[server.name for server in servers],
    )
    report.notes.append(
        f"The disk at the start: {disk.durable_files(folder, 1):,.0f} durable files of 4 KiB a second by one "
        f"thread, {disk.durable_files(folder, 8):,.0f} by eight."
    )
    bench = Bench(servers=servers, report=report, folder=folder, quick=chosen.quick)
    failed = 0
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
            report.versions |= server.versions()
        for name in chosen.scenario:
            began = time.monotonic()
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                SCENARIOS[name](bench)
            except Exception as error:
                failed += 1
                report.notes.append(f"{name} was not measured to its end: {error}")
                traceback.print_exc()
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            if chosen.json:
                chosen.json.write_bytes(report.json())
    print(report.markdown(Esp.name, PostfixDovecot.name))
    if chosen.write:
        _write(report)
    # Deleting many synced files slows the making of new ones for minutes, in the next run too.
    print(f"Mail and logs stay in {folder} until `make clean`.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
