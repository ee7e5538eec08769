"""`esp-cli` run within the test's own process, against stores that are real."""

import io
import itertools
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from esp.cli import admin
from esp.config import sections

_numbers = itertools.count(1)


class Run(msgspec.Struct):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.out)
        except ValueError:
            pytest.fail(f"It said no JSON: {self}")


Cli = Callable[..., Run]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command sets logging up for its process, which here is that of all tests."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def cli(
    database_settings: sections.Database,
    valkey: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    config = tmp_path / "esp.yaml"
    config.write_text(
        f"database: {{dsn: '{database_settings.dsn}'}}\n"
        f"redis: {{url: '{valkey}'}}\n"
        f"storage: {{path: {tmp_path / 'mail'}}}\n"
        "smtp: {submissions_port: 0}\n"
        "imap: {imaps_port: 0}\n"
    )

    def run(*arguments: str, text: str = "") -> Run:
        monkeypatch.setattr(sys, "argv", ["esp-cli", "--config", str(config), *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        capsys.readouterr()
        try:
            admin.main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        streams = capsys.readouterr()
        return Run(code, streams.out, streams.err)

    return run


@pytest.fixture
def domain(cli: Cli) -> str:
    name = f"cli{next(_numbers)}.test"
    assert cli("domain", "add", name).code == 0
    return name
