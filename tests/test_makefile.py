"""The Makefile's promises that can be seen without running them."""

import re
import subprocess

from tests.support.instance import PROJECT

TARGETS = {
    "run",
    "test",
    "build",
    "lint",
    "check",
    "soak",
    "fuzz",
    "fmt",
    "migrate",
    "bench",
    "docs",
    "clean",
    "help",
}


def test_help_lists_every_target() -> None:
    said = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make ([a-z]+) ", said)) == TARGETS


def test_no_file_names_a_registry() -> None:
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "requirements-build.txt", ".ci/run"):
        assert "://" not in (PROJECT / name).read_text(), name


def test_every_locked_requirement_has_a_hash() -> None:
    for path in PROJECT.glob("requirements*.txt"):
        text = re.sub(r"\\\n\s*", " ", path.read_text())
        pinned = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pinned
        assert all("--hash=sha256:" in line for line in pinned)
