"""`esp-server`: run ESP, migrate its database, look at its configuration."""

import asyncio
import os
import ssl
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, CycloptsError, Parameter

from esp import config, version
from esp.cli.options import behind_the_command, wrong_usage
from esp.config import reference
from esp.core.errors import EspError

FAILED = 1
USAGE = 2

Config = Annotated[
    Path | None,
    Parameter(
        "--config", help="Configuration; else $ESP_CONFIG, ./esp.yaml, ./var/esp.yaml, /etc/esp/esp.yaml."
    ),
]

app = App("esp-server", help="Run ESP, migrate its database, look at its configuration.", version_flags=[])
migrate = App(
    "migrate",
    help="Bring the database's schema to the current version (`up`), to another, or tell which it has.",
)
configuration = App("config", help="Check the configuration, show it, or write an example.")
app.command(migrate)
app.command(configuration)


@app.command
def serve(
    *,
    role: Annotated[
        tuple[str, ...],
        Parameter(help="smtp, imap, api, worker, scheduler; several with commas. Default: all."),
    ] = (),
    config: Config = None,  # noqa: A002, RUF100 - the option's name
    demo: Annotated[
        Path | None, Parameter(help="Make a demo in this folder, if there is none, and run it.")
    ] = None,
) -> None:
    """Start ESP and run it until SIGTERM or Ctrl-C; SIGHUP reloads configuration and certificates."""
    page = None
    if demo is not None:
        from esp.server import demo as demonstration  # noqa: PLC0415 - cryptography, for this alone

        demo = demo.absolute()
        made = demonstration.prepare_folder(demo, os.environ)
        config = config or made
        page = demonstration.page(_load(config), demo)
    orders = {
        "config": str(config.absolute()) if config else None,
        "roles": list(role),
        "demo": str(demo) if demo else None,
        "page": page,
    }
    # The supervisor lives long and does little: it is a program of its own, without the modules imported here.
    sys.stdout.flush()
    os.execv(  # noqa: S606 - ourselves
        sys.executable, [sys.executable, "-m", "esp.server", msgspec.json.encode(orders).decode()]
    )


@migrate.default
@migrate.command
def up(*, config: Config = None) -> None:
    """Apply every migration that is missing."""
    from esp.storage.postgres import migrate as migrations  # noqa: PLC0415

    done = asyncio.run(migrations.up(_load(config).database.dsn))
    print("\n".join(f"applied {title}" for title in done) or "nothing to apply")


@migrate.command
def down(count: int, /, *, config: Config = None) -> None:
    """Take back the COUNT migrations applied last."""
    from esp.storage.postgres import migrate as migrations  # noqa: PLC0415

    done = asyncio.run(migrations.down(_load(config).database.dsn, count))
    print("\n".join(f"took back {title}" for title in done) or "nothing to take back")


@migrate.command
def status(*, config: Config = None) -> None:
    """List every migration and when it was applied."""
    from esp.storage.postgres import migrate as migrations  # noqa: PLC0415

    for line in asyncio.run(migrations.status(_load(config).database.dsn)):
        when = line.applied_at.isoformat(timespec="seconds") if line.applied_at else "not applied"
        print(f"{line.title}  {when}")


@app.command(name="version")
def show_version(
    *,
    json: Annotated[bool, Parameter(negative="", help="Print JSON, for programs.")] = False,
    config: Annotated[Path | None, Parameter("--config", help="Taken as by all commands; not read.")] = None,
) -> None:
    """Print the version, the commit and when it was built."""
    del config
    current = version.current()
    if json:
        print(msgspec.json.encode(current).decode())
        return
    built = f", built {current.built_at}" if current.built_at else ""
    print(f"ESP {current.version} ({current.commit or 'unknown commit'}{built})")


@configuration.command
def check(*, config: Config = None) -> None:
    """Say everything that is wrong with the configuration; exit 0 when nothing is."""
    settings = _load(config)
    found = _config_file(config)
    _check_certificate(settings, str(found or "environment"))
    print(f"{found or 'defaults and environment'}: fine, ESP would be {settings.server.hostname}")


def _check_certificate(settings: config.Settings, source: str) -> None:
    """Load certificate and key as the doors will.

    Raises:
        ConfigError: they cannot be read, or do not belong together.
    """
    from esp.services import certificates  # noqa: PLC0415 - cryptography, for this alone

    try:
        certificates.server_context(settings.tls)
    except ssl.SSLError as error:
        raise config.ConfigError(source, [("tls.key", str(error.strerror))]) from error
    except OSError as error:
        what = f"certificate or key cannot be read by this user: {error.strerror}"
        raise config.ConfigError(source, [("tls", what)]) from error


@configuration.command
def show(*, config: Config = None) -> None:
    """Print every setting in force as YAML, secrets masked."""
    print(reference.show(_load(config)), end="")


@configuration.command
def example(
    *, form: Annotated[Literal["yaml", "markdown"], Parameter(help="markdown: the reference page.")] = "yaml"
) -> None:
    """Print a configuration file with every key, its default and what it is."""
    print(reference.example() if form == "yaml" else reference.markdown(), end="")


def main() -> None:
    """Run the command; exit 0, 1 (failed) or 2 (usage or configuration)."""
    try:
        app(behind_the_command(sys.argv[1:]), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(wrong_usage(error), USAGE)
    except config.ConfigError as error:
        _fail(error.detail, USAGE)
    except EspError as error:
        _fail(error.detail, FAILED)
    except OSError as error:
        _fail(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", FAILED)


def _load(path: Path | None) -> config.Settings:
    return config.load(path)


def _config_file(path: Path | None) -> Path | None:
    return config.find_file(path, os.environ)


def _fail(detail: str, code: int) -> None:
    for line in detail.strip().splitlines():
        print(f"esp-server: {line}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
