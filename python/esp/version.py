"""Which ESP this is: the version of `Cargo.toml`, the commit and the date it was built from."""

import importlib.metadata
import json
from pathlib import Path

import msgspec

_BUILD = Path(__file__).with_name("_build.json")
"""Written by `make build`; not in the repository."""


def _version() -> str:
    try:
        return importlib.metadata.version("esp")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"  # run from a source folder that was not built


class Version(msgspec.Struct, frozen=True):
    """What `esp-server version --json` prints."""

    version: str
    commit: str | None
    """Of the source; with `-dirty` when files were changed since."""
    built_at: str | None
    """UTC."""


VERSION = _version()


def current() -> Version:
    """Return all that is known about this build."""
    try:
        build = json.loads(_BUILD.read_text())
    except (OSError, ValueError):
        build = {}
    return Version(VERSION, build.get("commit"), build.get("built_at"))
