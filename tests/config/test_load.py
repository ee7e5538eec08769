"""From YAML and environment to settings, or to everything that is wrong with them."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp.config import ConfigError, Settings, find_file, load, reference
from esp.config.text import format_duration, format_size, parse_duration, parse_size

QUIET = {"ESP_SMTP__SUBMISSIONS_PORT": "0", "ESP_IMAP__IMAPS_PORT": "0"}
"""Without a certificate there is no implicit TLS."""


def written(folder: Path, text: str) -> Path:
    path = folder / "esp.yaml"
    path.write_text(text)
    return path


def problems(path: Path | None, **environment: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as refused:
        load(path, {**QUIET, **environment})
    return dict(refused.value.problems)


def test_units_are_understood(tmp_path: Path) -> None:
    path = written(tmp_path, "smtp: {max_message_size: 25MiB, idle_timeout: 5m, data_timeout: 1h30m}")
    settings = load(path, QUIET)
    assert settings.smtp.max_message_size == 25 * 1024 * 1024
    assert settings.smtp.idle_timeout == 300.0
    assert settings.smtp.data_timeout == 5400.0


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "smtp: {port: 2500}\nlogging: {level: debug}")
    settings = load(
        path, {**QUIET, "ESP_SMTP__PORT": "2600", "ESP_SECURITY__PROXY_NETWORKS": '["192.0.2.0/24"]'}
    )
    assert (settings.smtp.port, settings.logging.level) == (2600, "debug")
    assert settings.security.proxy_networks == ("192.0.2.0/24",)


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://esp:s3cret@db/esp\n")
    assert load(None, {**QUIET, "ESP_DATABASE__DSN_FILE": str(secret)}).database.dsn.endswith("@db/esp")


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "smtp: {port: 99999, max_message_size: big, prot: 25}\nlogging: {level: loud}\nsmpt: {}\n"
        "security: {proxy_networks: [10.0.0.1/8]}\nstorage: {sync: maybe}\n",
    )
    found = problems(path, ESP_IMAP__PROT="1", ESP_NOWHERE__X="1", ESP_API__PORT="http")
    assert found.keys() == {
        "smtp.port", "smtp.max_message_size", "smtp.prot", "logging.level", "smpt", "storage.sync",
        "security.proxy_networks[0]", "ESP_IMAP__PROT", "ESP_NOWHERE__X", "ESP_API__PORT",
    }  # fmt: skip
    assert "0 to 65535" in found["smtp.port"]
    assert "one of debug, error, info, warning" in found["logging.level"]
    assert "port" in found["smtp.prot"]


def test_impossible_combinations_are_reported_with_all_else_that_is_wrong(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "smtp: {port: x, lmtp_port: 2400, memory_limit: 1GiB}\nimap: {port: 2400, imaps_port: 25}\nfoo: 1\napi: 7\n",
    )
    found = problems(path, ESP_SMTP__IDLE_TIMEOUT="long", ESP_TLS__KEY="/nowhere/key.pem")
    assert found.keys() == {
        "smtp.port", "smtp.memory_limit", "imap.port", "foo", "api", "smtp.idle_timeout", "tls.key",
        "tls.certificate",
    }  # fmt: skip
    assert "2400 is also smtp.lmtp_port" in found["imap.port"]


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("smtp: {port: x}\nimap: {port: 25}", {}),
        ("imap: {port: 25}", {"ESP_SMTP__PORT": "x"}),
        ("smtp: {max_message_size: big, memory_limit: 100MiB}", {}),
        ("tls: {certificate: [], key: pyproject.toml}", {"ESP_SMTP__SUBMISSIONS_PORT": "465"}),
    ],
)
def test_what_only_follows_from_something_wrong_is_not_reported(
    tmp_path: Path, text: str, environment: dict[str, str]
) -> None:
    assert len(problems(written(tmp_path, text), **environment)) == 1


def test_a_wrong_secret_is_not_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in str(problems(written(tmp_path, "database: {dsn: [hunter2]}")))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("tls: {certificate: /nowhere/cert.pem}", "tls.key"),
        ("smtp: {submissions_port: 465}", "smtp.submissions_port"),
        ("imap: {port: 25}", "imap.port"),
        ("database: {dsn: 'mysql://x'}", "database.dsn"),
        ("redis: {url: 'http://x'}", "redis.url"),
        ("smtp: {recipient_delimiter: '+-'}", "smtp.recipient_delimiter"),
        ("smtp: {memory_limit: 1GiB}", "smtp.memory_limit"),
    ],
)
def test_impossible_combinations_are_refused(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, text), {"ESP_IMAP__IMAPS_PORT": "0"} if "submissions" in text else QUIET)
    assert where in dict(refused.value.problems)


@pytest.mark.parametrize(
    "text", ["smtp: {port: 1\n", "- a\n", "smtp: {port: 1, port: 2}", "a: !!python/name:os.x"]
)
def test_what_is_not_our_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="esp.yaml"):
        load(written(tmp_path, text), QUIET)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yaml", QUIET)


def test_the_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "esp.yaml").touch()
    assert find_file(None, {}) == Path("var/esp.yaml")
    (tmp_path / "esp.yaml").touch()
    assert find_file(None, {}) == Path("esp.yaml")
    assert find_file(None, {"ESP_CONFIG": "/c.yaml"}) == Path("/c.yaml")
    assert find_file(Path("/d.yaml"), {"ESP_CONFIG": "/c.yaml"}) == Path("/d.yaml")


def test_our_own_stores_are_found_by_every_process(tmp_path: Path) -> None:
    settings = load(written(tmp_path, f"server: {{run_path: {tmp_path / ('x' * 200)}}}"), QUIET)
    assert settings.database.dsn.startswith("postgresql://esp@/esp?host=/")
    assert len(settings.redis.url.removeprefix("unix://")) < 104
    assert load(None, {**QUIET, "ESP_REDIS__URL": "redis://h"}).redis.url == "redis://h"


def test_the_example_says_the_same_as_no_file(tmp_path: Path) -> None:
    path = written(tmp_path, reference.example())
    assert load(path, QUIET) == load(None, {**QUIET, "ESP_CONFIG": str(written(tmp_path, ""))})


def test_show_masks_secrets_and_nothing_else(tmp_path: Path) -> None:
    settings = load(written(tmp_path, "database: {dsn: 'postgresql://esp:s3cret@db/esp'}"), QUIET)
    shown = reference.show(settings)
    assert "s3cret" not in shown
    assert "max_message_size: 50MiB" in shown
    masked = written(tmp_path, shown.replace("'********'", "''"))
    again = msgspec.structs.replace(settings, database=msgspec.structs.replace(settings.database, dsn=""))
    assert load(masked, QUIET).smtp == again.smtp


@given(st.integers(0, 1 << 50))
def test_a_size_reads_back(octets: int) -> None:
    assert parse_size(format_size(octets)) == octets


@given(st.integers(0, 10_000_000))
def test_a_duration_reads_back(seconds: int) -> None:
    assert parse_duration(format_duration(float(seconds))) == seconds


@pytest.mark.parametrize("text", ["", "5", "m5", "-1s", "5 parsecs", "1e3", "9" * 40])
def test_strange_durations_and_sizes(text: str) -> None:
    if text == "5":
        assert (parse_size(text), parse_duration(text)) == (5, 5.0)
        return
    for parse in (parse_duration, parse_size):
        with pytest.raises(ValueError):
            parse(text)


def test_what_no_column_holds_and_no_clock_reckons_with_is_refused() -> None:
    assert parse_size("8388607TiB") < 1 << 63
    assert parse_duration("36500d") > 3e9
    for parse, text in ((parse_size, "8388608TiB"), (parse_size, "9e9TiB"), (parse_duration, "36501d")):
        with pytest.raises(ValueError):
            parse(text)


def test_whoever_has_no_file_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="^no configuration file found: ESP_SMTP__PORT: ") as refused:
        load(None, {**QUIET, "ESP_SMTP__PORT": "x"})
    assert refused.value.problems


def test_defaults_need_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, QUIET).smtp.port == Settings().smtp.port == 25
