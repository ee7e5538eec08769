"""The Makefile's promises that can be seen without running them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("has_git", "commit"), [(True, "[0-9a-f]{40}"), (False, "unknown")])
def test_a_build_says_which_commit_it_is_of(tmp_path: Path, has_git: bool, commit: str) -> None:
    """Without a repository, as from an archive, it says that it does not know, and not that something was changed."""
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "python" / "esp").mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("_build.json\n")
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    if has_git:
        for command in (
            ("init", "--quiet"),
            ("add", "--all"),
            ("-c", "user.name=x", "-c", "user.email=x@y.test", "commit", "--quiet", "--message=x"),
        ):
            subprocess.run(["git", *command], cwd=tmp_path, env=environment, check=True)
    subprocess.run(["make", "--silent", "python/esp/_build.json"], cwd=tmp_path, env=environment, check=True)
    built = json.loads((tmp_path / "python" / "esp" / "_build.json").read_text())
    assert re.fullmatch(commit, built["commit"])


def test_no_file_names_a_registry() -> None:
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "requirements-build.txt", ".ci/run"):
        assert "://" not in (PROJECT / name).read_text(), name


def test_every_locked_requirement_has_a_hash() -> None:
    for path in PROJECT.glob("requirements*.txt"):
        text = re.sub(r"\\\n\s*", " ", path.read_text())
        pinned = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pinned
        assert all("--hash=sha256:" in line for line in pinned)
