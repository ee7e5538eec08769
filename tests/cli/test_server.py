"""`esp-server` as a shell sees it: output, exit code, one clear line on standard error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from esp.cli.options import behind_the_command
from tests.imap.tls import certificate, encrypted
from tests.support.instance import PROJECT

QUIET = {"ESP_SMTP__SUBMISSIONS_PORT": "0", "ESP_IMAP__IMAPS_PORT": "0"}


def esp_server(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "esp.cli.server", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT / "python"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "words", [[], ["serve"], ["migrate"], ["migrate", "up"], ["config"], ["config", "show"]]
)
def test_help_on_every_level(tmp_path: Path, words: list[str]) -> None:
    done = esp_server(tmp_path, *words, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["migrate", "down"],
        ["migrate", "down", "many"],
        ["serve", "--rolle", "x"],
        ["config", "check", "x"],
    ],
)
def test_wrong_usage_exits_2_with_one_line(tmp_path: Path, words: list[str]) -> None:
    done = esp_server(tmp_path, *words, **QUIET)
    assert done.returncode == 2
    assert done.stderr.startswith("esp-server: ")
    assert "Traceback" not in done.stderr


def test_what_is_too_much_is_named(tmp_path: Path) -> None:
    done = esp_server(tmp_path, "config", "check", "this", "that", **QUIET)
    assert done.stderr == "esp-server: unexpected: this that; --help shows what the command takes\n"


def test_wrong_configuration_exits_2_and_names_every_key(tmp_path: Path) -> None:
    (tmp_path / "esp.yaml").write_text("smtp: {prot: 1}\nimap: {port: x}\n")
    for words in (["config", "check"], ["serve"], ["migrate", "status"]):
        done = esp_server(tmp_path, *words, **QUIET)
        assert done.returncode == 2
        assert [line.split(": ")[:3] for line in done.stderr.splitlines()] == [
            ["esp-server", "esp.yaml", "smtp.prot"],
            ["esp-server", "esp.yaml", "imap.port"],
        ]


@pytest.mark.parametrize("words", [["migrate"], ["migrate", "up"]])
def test_no_database_exits_1(tmp_path: Path, words: list[str]) -> None:
    """And `migrate` alone is `migrate up`: a page of help with exit 0 would pass for a migrated database."""
    dsn = f"postgresql://esp@/esp?host={tmp_path}"
    done = esp_server(tmp_path, *words, ESP_DATABASE__DSN=dsn, **QUIET)
    assert done.returncode == 1
    assert done.stderr.startswith("esp-server: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_role_is_named(tmp_path: Path) -> None:
    done = esp_server(tmp_path, "serve", "--role", "smpt", ESP_SERVER__RUN_PATH=str(tmp_path), **QUIET)
    assert done.returncode == 2
    assert "smpt" in done.stderr
    assert "smtp, imap, api" in done.stderr


def test_version_for_programs(tmp_path: Path) -> None:
    said = json.loads(esp_server(tmp_path, "version", "--json").stdout)
    assert said.keys() == {"version", "commit", "built_at"}
    assert said["version"] in esp_server(tmp_path, "version").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "c.yaml", "config", "show"],
        ["--config=c.yaml", "config", "show"],
        ["config", "--config", "c.yaml", "show"],
        ["config", "show", "--config", "c.yaml"],
    ],
)
def test_the_configuration_may_be_named_before_the_command(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "c.yaml").write_text("server: {hostname: named.example.test}\n")
    done = esp_server(tmp_path, *words, **QUIET)
    assert done.returncode == 0
    assert "hostname: named.example.test" in done.stdout


def test_every_command_takes_the_option(tmp_path: Path) -> None:
    assert esp_server(tmp_path, "--config", "none.yaml", "version").returncode == 0


def test_the_value_of_another_option_stays_where_it_is() -> None:
    line = ["message", "list", "--mailbox", "--json", "x"]
    assert behind_the_command(line) == line
    assert behind_the_command(["--json", "user", "--config", "f", "list", "-x"]) == [
        "user", "list", "--json", "--config", "f", "-x",
    ]  # fmt: skip


def test_the_example_passes_its_own_check(tmp_path: Path) -> None:
    example = esp_server(tmp_path, "config", "example").stdout
    (tmp_path / "esp.yaml").write_text(example)
    assert esp_server(tmp_path, "config", "check", **QUIET).returncode == 0
    assert esp_server(tmp_path, "config", "check", "--config", "esp.yaml", **QUIET).returncode == 0


@pytest.mark.parametrize("key", ["of another", "with a password", "no key", "missing"])
def test_a_key_that_is_not_the_certificates_does_not_pass_the_check(tmp_path: Path, key: str) -> None:
    (tmp_path / "other").mkdir()
    tls, _ = certificate(tmp_path)
    other, _ = certificate(tmp_path / "other")
    assert tls.key is not None
    assert other.key is not None
    wrong = {"of another": other.key, "no key": tls.certificate, "missing": tmp_path / "nothing"}.get(key)
    if wrong is None:
        wrong = tmp_path / "encrypted.pem"
        wrong.write_bytes(encrypted(tls.key.read_bytes()))
    pair = {"ESP_TLS__CERTIFICATE": str(tls.certificate), "ESP_TLS__KEY": str(tls.key)}
    assert esp_server(tmp_path, "config", "check", **pair).returncode == 0
    done = esp_server(tmp_path, "config", "check", **{**pair, "ESP_TLS__KEY": str(wrong)})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert ": tls.key: " in line
    assert str(wrong) in line
    assert key == "missing" or "give the pair that was issued together" in line
