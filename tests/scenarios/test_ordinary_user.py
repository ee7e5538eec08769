"""ESP runs as whoever starts it: here, an account made for the test."""

import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.test_real_clients import found
from tests.support.debian import require
from tests.support.instance import Instance

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a user")


@pytest.fixture
def somebody() -> Iterator[str]:
    name = f"esp{secrets.token_hex(3)}"
    subprocess.run(["useradd", "--create-home", name], check=True)
    yield name
    subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


@pytest.fixture
def house_of(somebody: str) -> Path:
    """A copy of the program and its interpreter that `somebody` can read; those below a private home are not."""
    home = Path(f"/home/{somebody}")
    house = home / "esp"
    project = Path(__file__).resolve().parents[2]
    shutil.copytree(project / "python", house / "python")
    shutil.copytree(sysconfig.get_paths()["purelib"], house / "site", symlinks=True)
    shutil.copytree(
        sys.base_prefix,
        house / "interpreter",
        symlinks=True,
        ignore=shutil.ignore_patterns("test", "site-packages"),
    )
    subprocess.run(["chown", "-R", f"{somebody}:", str(house)], check=True)
    return house


def test_somebody_else_can_run_it(somebody: str, house_of: Path) -> None:
    require("swaks")
    instance = Instance(house_of / "var")
    environment = {
        **{key: value for key, value in instance.environment.items() if key.startswith("ESP_")},
        "PATH": "/usr/bin:/bin",
        "HOME": f"/home/{somebody}",
        "PYTHONHOME": str(house_of / "interpreter"),
        "LD_LIBRARY_PATH": str(house_of / "interpreter" / "lib"),
        "PYTHONPATH": f"{house_of / 'python'}:{house_of / 'site'}",
    }
    python = house_of / "interpreter" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    log = house_of / "esp.log"
    with log.open("wb") as output:
        instance.process = subprocess.Popen(
            [str(python), "-m", "esp.cli.server", "serve", "--demo", str(instance.folder)],
            user=somebody, group=somebody, extra_groups=[], cwd=house_of, env=environment,
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    instance.log = log
    try:
        instance.wait_ready()
        owner = instance.folder.stat().st_uid
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in instance.pids("postgres")} == {owner}
        mode = (instance.folder / "demo-credentials.json").stat().st_mode
        assert mode & 0o777 == 0o600
        subprocess.run(
            ["swaks", "--server", f"127.0.0.1:{instance.ports['smtp']}", "--to", "alice@example.test",
             "--from", "x@y.test", "--header", "Subject: to somebody", "--body", "x"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        assert len(found(instance, "alice@example.test", "to somebody")) == 1
    finally:
        assert instance.stop() == 0
