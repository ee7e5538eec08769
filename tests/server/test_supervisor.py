"""A whole ESP: what dies comes back, what is asked to stop stops in order, what cannot start says why."""

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esp.server import demo
from tests.support.instance import Instance

ROLES = ("smtp", "imap", "api", "worker", "scheduler")


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_role_is_started_again(esp_instance: Instance, role: str) -> None:
    before = esp_instance.pids(role)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: esp_instance.pids(role) and before[0] not in esp_instance.pids(role))
    esp_instance.wait_ready()
    assert len(esp_instance.pids(role)) == len(before)


@pytest.mark.parametrize("store", ["postgres", "valkey"])
def test_a_killed_store_is_started_again_and_health_tells(esp_instance: Instance, store: str) -> None:
    (before,) = esp_instance.pids(store)
    os.kill(before, signal.SIGKILL)
    until(lambda: esp_instance.pids(store) not in ([], [before]))
    esp_instance.wait_ready()


def test_a_stopped_store_makes_it_not_ready(esp_instance: Instance) -> None:
    (valkey,) = esp_instance.pids("valkey")
    os.kill(valkey, signal.SIGSTOP)
    try:
        status, body = esp_instance.health()
        assert (status, body["checks"]["redis"]) == (503, False)
    finally:
        os.kill(valkey, signal.SIGCONT)
    esp_instance.wait_ready()


def test_the_fork_server_itself_may_die(esp_instance: Instance) -> None:
    before = esp_instance.pids("worker")
    parent = int(Path(f"/proc/{before[0]}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)
    until(lambda: not set(before) & set(esp_instance.pids("worker")))
    esp_instance.wait_ready()


def test_metrics_add_up_over_processes(esp_instance: Instance) -> None:
    text = esp_instance.metrics()
    starts = {
        line.split('"')[1] for line in text.splitlines() if line.startswith("esp_process_starts_total{")
    }
    assert starts >= set(ROLES)


def test_a_second_start_says_that_it_runs_already(esp_instance: Instance) -> None:
    done = esp_instance.command("esp.cli.server", "serve", "--demo", str(esp_instance.folder))
    assert done.returncode == 1
    assert f"already running here (process {esp_instance.pids('supervisor')[0]})" in done.stderr
    assert esp_instance.is_ready()


def test_each_taken_port_is_named_with_its_setting(esp_instance: Instance, tmp_path: Path) -> None:
    ports = esp_instance.ports
    environment = {name: "0" for name in esp_instance.environment if name.endswith("_PORT") and "__" in name}
    environment |= {"ESP_API__PORT": str(ports["api"]), "ESP_SMTP__PORT": str(ports["smtp"])}
    done = esp_instance.command("esp.cli.server", "serve", "--demo", str(tmp_path / "v"), extra=environment)
    assert done.returncode == 1
    smtp, api = done.stderr.splitlines()
    assert smtp.startswith(f"esp-server: smtp.port {ports['smtp']} on ")
    assert smtp.endswith("ESP_SMTP__PORT")
    assert api.startswith(f"esp-server: api.port {ports['api']} on ")
    assert api.endswith("ESP_API__PORT")


def test_data_of_another_major_version_stops_the_start(esp_instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "v" / "postgres").mkdir(parents=True)
    (tmp_path / "v" / "postgres" / "PG_VERSION").write_text("9\n")
    ports = {name: "0" for name in esp_instance.environment if name.endswith("_PORT") and "__" in name}
    done = esp_instance.command("esp.cli.server", "serve", "--demo", str(tmp_path / "v"), extra=ports)
    assert done.returncode == 1
    assert "made by PostgreSQL 9" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_start_with_advice(esp_instance: Instance, small_disk: Path) -> None:
    done = esp_instance.command(
        "esp.cli.server", "serve", "--demo", str(small_disk / "v"),
        extra={name: "0" for name in esp_instance.environment if name.endswith("_PORT") and "__" in name},
    )  # fmt: skip
    assert done.returncode == 1
    assert "disk full: " in done.stderr
    assert "free space and start again, or move it (ESP_VAR" in done.stderr


def test_credentials_are_the_owners_alone(esp_instance: Instance) -> None:
    path = esp_instance.folder / "demo-credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()).keys() == {
        "alice@example.test",
        "bob@example.test",
        "admin@example.test",
    }
    assert stat.S_IMODE((esp_instance.folder / "tls" / "key.pem").stat().st_mode) == 0o600


def test_everything_is_a_descendant_and_stops_in_order(instance_factory: Callable[..., Instance]) -> None:
    instance = instance_factory(ESP_DEMO_PASSWORD="one for all")
    assert set(instance.passwords.values()) == {"one for all"}
    pids = [pid for role in (*ROLES, "postgres", "valkey") for pid in instance.pids(role)]
    supervisor = int((instance.folder / "run" / "esp.pid").read_text())
    assert all(supervisor in ancestors(pid) for pid in pids)
    assert instance.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert "database system is shut down" in (instance.folder / "postgres.log").read_text()
    began = time.monotonic()
    instance.start()
    assert time.monotonic() - began < 15  # 5 s on a machine that does nothing else


def test_a_killed_supervisor_takes_all_with_it_and_can_start_again(
    instance_factory: Callable[..., Instance],
) -> None:
    instance = instance_factory()
    pids = [pid for role in (*ROLES, "postgres", "valkey") for pid in instance.pids(role)]
    assert instance.process is not None
    instance.process.kill()
    instance.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))
    instance.start()
    assert instance.is_ready()


def test_sighup_takes_new_settings_without_a_gap(instance_factory: Callable[..., Instance]) -> None:
    instance = instance_factory()
    config = instance.folder / "esp.yaml"
    supervisor = instance.pids("supervisor")[0]
    before = instance.pids("worker")
    config.write_text(config.read_text() + "worker: {processes: 0}\n")
    os.kill(supervisor, signal.SIGHUP)
    until(lambda: "new_configuration_refused" in instance.log_tail(400))
    assert instance.pids("worker") == before
    config.write_text(config.read_text().replace("processes: 0", "processes: 2"))
    os.kill(supervisor, signal.SIGHUP)
    until(lambda: len(instance.pids("worker")) == 2 and not set(before) & set(instance.pids("worker")))
    instance.wait_ready()


def test_sighup_takes_a_new_certificate_and_refuses_a_broken_one(
    instance_factory: Callable[..., Instance],
) -> None:
    instance = instance_factory()
    supervisor, pids = instance.pids("supervisor")[0], instance.pids("imap")
    tls, before = instance.folder / "tls", certificate(instance)
    whole = (tls / "cert.pem").read_text()
    (tls / "cert.pem").write_text("not a certificate")
    os.kill(supervisor, signal.SIGHUP)
    until(lambda: instance.log.read_text().count("certificate_not_reloaded") == 4)
    assert certificate(instance) == before
    (tls / "cert.pem").write_text(whole)
    shutil.rmtree(tls)
    demo.prepare_folder(instance.folder, {})
    os.kill(supervisor, signal.SIGHUP)
    until(lambda: certificate(instance) != before)
    assert instance.pids("imap") == pids


def certificate(instance: Instance) -> str:
    return ssl.get_server_certificate(("127.0.0.1", instance.ports["imaps"]), timeout=20)


def test_systemd_is_told(instance_factory: Callable[..., Instance], tmp_path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        instance = instance_factory(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert b"READY=1" in systemd.recv(1000)
        os.kill(instance.pids("supervisor")[0], signal.SIGHUP)
        assert b"RELOADING=1\nMONOTONIC_USEC=" in systemd.recv(1000)
        assert b"READY=1" in systemd.recv(1000)
        instance.stop()
        assert b"STOPPING=1" in systemd.recv(1000)


def ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        found.add(pid)
    return found
