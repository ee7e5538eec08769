"""`python -m benchmarks.profile`: where the time of a running ESP goes, by process and by function.

Attaches to all processes below the supervisor while one load runs: `perf` for the kernel, Rust, PostgreSQL,
Valkey, or (`--no-perf`) `py-spy` for Python functions. Writes flame-graph stacks (a line
`frame;frame;frame count` each, for speedscope or flamegraph.pl) and prints the top of each list.
"""

import argparse
import collections
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.load import Load, send, write_messages
from benchmarks.messages import users
from benchmarks.processes import ProcessTree, Stat

_SHOWN = 25


def roles(run: Path, tree: ProcessTree) -> dict[int, str]:
    """Return what each process is, as the supervisor wrote it down; the rest by their command lines."""
    state = json.loads((run / "state.json").read_text())
    known = {each["pid"]: name for name, processes in state["roles"].items() for each in processes}
    known |= {process["pid"]: name for name, process in state["stores"].items()}
    known[state["supervisor"]] = "supervisor"
    return {stat.pid: known.get(stat.pid) or _described(stat) for stat in tree.members()}


def _described(stat: Stat) -> str:
    words = (
        Path(f"/proc/{stat.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    )
    if words.startswith("postgres:"):
        # `postgres: background writer`, `postgres: user database host COMMAND`.
        return "postgres backends" if "esp" in words else words.replace("postgres: ", "postgres ")
    return stat.name


def top(stacks: Path, shown: int = _SHOWN) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Return the largest shares of collapsed stacks: by the function itself, and with what it calls."""
    own: collections.Counter[str] = collections.Counter()
    whole: collections.Counter[str] = collections.Counter()
    total = 0
    for line in stacks.read_text(errors="replace").splitlines():
        frames, _, count = line.rpartition(" ")
        if not count.isdecimal():
            continue
        names = frames.split(";")
        total += int(count)
        own[names[-1]] += int(count)
        for name in set(names):
            whole[name] += int(count)
    if not total:
        return [], []
    return (
        [(name, count / total) for name, count in own.most_common(shown)],
        [(name, count / total) for name, count in whole.most_common(shown)],
    )


def _collapse(script: str) -> dict[str, int]:
    """Turn the samples of `perf script` into collapsed stacks."""
    stacks: collections.Counter[str] = collections.Counter()
    for block in script.split("\n\n"):
        lines = block.strip().splitlines()
        if not lines:
            continue
        frames = []
        for line in lines[1:]:
            name, _, place = line.strip().partition(" ")[2].rpartition(" (")
            library = Path(place.rstrip(")")).name
            # Without symbols the library's name still tells where the time is.
            frames.append(f"{library}:?" if name in {"", "[unknown]"} else f"{name} [{library}]")
        if frames:
            stacks[";".join([lines[0].split()[0], *reversed(frames)])] += 1
    return stacks


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--var", type=Path, default=Path("var"), help="the instance's folder (ESP_VAR)")
    parser.add_argument("--smtp", type=int, help="send mail to the benchmark's users on this port meanwhile")
    parser.add_argument("--recipient", help="send all of it to this address instead")
    parser.add_argument("--each", type=int, default=1000, help="messages for each session")
    parser.add_argument("--octets", type=int, default=4096)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--roles", default="smtp,worker,imap", help="which roles py-spy attaches to")
    parser.add_argument("--folder", type=Path, default=Path("var/profile"))
    parser.add_argument("--no-perf", action="store_true")
    return parser.parse_args()


def _show(title: str, stacks: Path) -> None:
    own, whole = top(stacks)
    print(f"\n## {title} ({stacks})")
    for label, rows in (("itself", own), ("with what it calls", whole)):
        print(f"\n{label}:")
        for name, share in rows:
            print(f"{share:7.1%}  {name[:140]}")


def main() -> int:
    """Attach, load, and print."""
    chosen = _arguments()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    run = chosen.var / "run"
    tree = ProcessTree(int((run / "esp.pid").read_text()))
    known = roles(run, tree)
    spies = {}
    spy = Path(sys.executable).with_name("py-spy")
    program = str(spy) if spy.exists() else shutil.which("py-spy")
    before = {stat.pid: stat.own for stat in tree.members()}
    cpu, began = tree.cpu(), time.perf_counter()
    perf = None
    if not chosen.no_perf and shutil.which("perf"):
        command = ["perf", "record", "-q", "-F", "499", "-g", "-o", str(chosen.folder / "perf.data")]
        command += ["-p", ",".join(map(str, known)), "--", "sleep", str(chosen.seconds)]
        perf = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    elif program:
        for pid, name in known.items():
            if name in chosen.roles.split(","):
                file = chosen.folder / f"{name}-{pid}.stacks"
                command = [program, "record", "-p", str(pid), "-d", str(int(chosen.seconds)), "-r", "200"]
                command += ["--gil", "-f", "raw", "-o", str(file)]
                spies[file] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if chosen.smtp:
        load = Load(chosen.octets, chosen.sessions)
        messages = write_messages(chosen.folder / "messages", chosen.octets, chosen.sessions)
        recipients = [chosen.recipient] * chosen.sessions if chosen.recipient else users()
        sent = send(chosen.smtp, load, chosen.each, recipients, messages)
        print(f"accepted {chosen.each * chosen.sessions / sent.seconds:,.0f} messages/s")
    for process in (*spies.values(), *([perf] if perf else [])):
        process.wait()
    tree.settle(20)
    elapsed = time.perf_counter() - began
    count = chosen.each * chosen.sessions if chosen.smtp else 0
    print(
        f"CPU of all processes: {tree.cpu() - cpu:.2f} s in {elapsed:.1f} s"
        + (f", {count} messages" if count else "")
    )
    used: collections.Counter[str] = collections.Counter()
    for stat in tree.members():
        used[known.get(stat.pid) or _described(stat)] += stat.own - before.get(stat.pid, 0)
    for name, ticks in used.most_common():
        each = f", {ticks * 10_000 / count:7.0f} µs a message" if count else ""
        print(f"  {name:24} {ticks / 100:6.2f} s{each}")
    if perf:
        script = subprocess.run(
            ["perf", "script", "-i", str(chosen.folder / "perf.data"), "-F", "pid,tid,comm,ip,sym,dso"],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
        ).stdout
        _by_role(script, known, chosen.folder)
    for file, spied in spies.items():
        if spied.returncode:
            print(f"py-spy could not attach for {file.name}; it needs root, or kernel.yama.ptrace_scope=0")
        else:
            _show(file.stem, file)
    return 0


def _by_role(script: str, known: dict[int, str], folder: Path) -> None:
    blocks: dict[str, list[str]] = {}
    for block in script.split("\n\n"):
        head = re.match(r"\s*(.+?)\s+(\d+)(?:/\d+)?\s", block + " ")
        if head:
            blocks.setdefault(known.get(int(head[2]), "other"), []).append(block)
    for name, mine in sorted(blocks.items(), key=lambda item: -len(item[1])):
        file = folder / f"perf-{name.replace(' ', '-')}.stacks"
        file.write_text(
            "".join(f"{stack} {count}\n" for stack, count in _collapse("\n\n".join(mine)).items())
        )
        _show(f"perf, {name}: {len(mine)} samples", file)


if __name__ == "__main__":
    sys.exit(main())
