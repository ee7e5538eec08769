"""What runs and whether all of it serves: written by the supervisor, read by the API, by tests and by `esp-cli`."""

import os
from pathlib import Path

import msgspec

FILE = "state.json"
PID_FILE = "esp.pid"


class Process(msgspec.Struct, frozen=True):
    """One process of a role, or a store."""

    pid: int
    ready: bool


class State(msgspec.Struct, frozen=True):
    """The instance at this moment."""

    ready: bool
    """Every role serves, and ESP is not stopping."""
    supervisor: int
    roles: dict[str, list[Process]] = {}
    stores: dict[str, Process] = {}


def write(run_path: Path, state: State) -> None:
    """Replace the state file in one step."""
    part = run_path / f".{FILE}.{os.getpid()}"
    part.write_bytes(msgspec.json.encode(state))
    part.replace(run_path / FILE)


def read(run_path: Path) -> State | None:
    """Return the state, or `None` if ESP has never run here."""
    try:
        return msgspec.json.decode((run_path / FILE).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None
