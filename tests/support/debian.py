"""Tools from Debian packages that stories with real clients need."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

PACKAGES = {
    "doveconf": "dovecot-imapd",
    "dovecot": "dovecot-imapd",
    "mbsync": "isync",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mutt": "mutt",
    "offlineimap": "offlineimap3",
    "go": "golang-go",
    "node": "nodejs",
    "postfix": "postfix",
    "smtp-source": "postfix",
    "swaks": "swaks",
    "curl": "curl",
}
"""The package that brings a tool, where it is not called the same."""

_PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def require(*tools: str) -> None:
    """Have `tools` on this machine, installed by apt when we are root; else skip the test, saying why."""
    for tool in tools:
        if path(tool) is None:
            install(PACKAGES.get(tool, tool))
        if path(tool) is None:
            pytest.skip(
                f"NOT TESTED: {tool} is missing, and only root can apt-get install {PACKAGES.get(tool, tool)}"
            )


def path(tool: str) -> str | None:
    """Return where `tool` is, looking in the folders of system programs too."""
    return shutil.which(tool, path=os.pathsep.join((os.environ.get("PATH", ""), *_PLACES)))


@cache
def _updated() -> bool:
    return _apt("update").returncode == 0


@cache
def install(*packages: str) -> bool:
    """Install Debian packages; tell whether it worked."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    return _apt("install", "-y", "--no-install-recommends", *packages).returncode == 0 or (
        _updated() and _apt("install", "-y", "--no-install-recommends", *packages).returncode == 0
    )


def download(package: str, folder: Path) -> Path | None:
    """Put the file of a package into `folder`, and return where it is; `None` where apt cannot bring it."""
    if shutil.which("apt-get") is None:
        return None
    for attempt in (lambda: True, _updated):
        if attempt() and _apt("download", package, cwd=folder).returncode == 0:
            return next(folder.glob("*.deb"), None)
    return None


def _apt(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[bytes]":
    # policy-rc.d would be the other way to keep a package's own service from being started here.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    return subprocess.run(
        ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        timeout=900,
        check=False,
    )
