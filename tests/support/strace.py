"""Python run under strace, which makes the kernel answer as it seldom does."""

import os
import subprocess
import sys

import pytest

from tests.support import debian


def run(script: str, *arguments: object, options: list[str]) -> str:
    """Return what `script` prints with these `options` of strace; it must not fail."""
    debian.require("strace")
    done = subprocess.run(
        [
            str(debian.path("strace")),
            "-f",
            "-qq",
            *options,
            sys.executable,
            "-c",
            script,
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if "ptrace" in done.stderr.lower():
        pytest.skip("NOT TESTED: no process may be traced here")
    assert done.returncode == 0, done.stderr
    return done.stdout
