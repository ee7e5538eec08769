"""What a server is said to cost is what it cost."""

import os
import subprocess
import sys

import pytest
from benchmarks.processes import ProcessTree, parse_stat, proportional_memory

# Burns a third of a second of CPU in itself and as much in a child it waits for, then says so and stays.
_BURNER = """
import os, sys, time
def burn():
    while time.process_time() < 0.3:
        pass
if os.fork() == 0:
    burn()
    os._exit(0)
os.wait()
burn()
print("burnt", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_a_name_with_blanks_and_parentheses_does_not_shift_the_fields() -> None:
    line = "77 (a b) (c)) S 12 1 1 0 -1 0 0 0 0 0 100 20 300 40 20 0 1 0 5555 0 0"
    stat = parse_stat(line)
    assert (stat.pid, stat.name, stat.parent) == (77, "a b) (c)", 12)
    assert (stat.own, stat.reaped, stat.started) == (120, 340, 5555)


def test_cpu_counts_a_process_and_the_children_it_waited_for() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BURNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as burner:
        assert burner.stdout is not None
        assert burner.stdout.readline() == b"burnt\n"
        tree = ProcessTree(burner.pid)
        used = tree.cpu()
        burner.communicate()
    assert used == pytest.approx(0.6, abs=0.12)


def test_descendants_are_members_and_strangers_are_not() -> None:
    shell = "sleep 60 >/dev/null & echo $!; read line; kill $!"
    with subprocess.Popen(["/bin/sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        members = {stat.pid for stat in ProcessTree(parent.pid).members()}
        parent.communicate(b"\n")
    assert members == {parent.pid, child}


def test_a_member_stays_one_when_its_parent_has_ended() -> None:
    shell = "sleep 60 >/dev/null & echo $!; read line"
    with subprocess.Popen(["/bin/sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        tree = ProcessTree(parent.pid)
        tree.members()
        parent.communicate(b"\n")
    try:
        assert [stat.pid for stat in tree.members()] == [child]
    finally:
        os.kill(child, 15)


def test_memory_of_a_process_is_about_what_it_touched() -> None:
    # 40 MiB written, so that they are there.
    program = "data = bytearray(b'x') * (40 << 20); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = ProcessTree(process.pid).memory()
        process.communicate(b"\n")
    assert 40 << 20 < memory < 80 << 20


def test_a_process_that_has_ended_has_no_memory() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    assert proportional_memory(process.pid) == 0
