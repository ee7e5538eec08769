"""`esp-cli`: domains, accounts, aliases, mailboxes and messages of an installation."""

import os
import sys

from cyclopts import App, CycloptsError

from esp import config as configuration
from esp.cli.console import Config, Json, as_json, fields, run, size
from esp.cli.domains import alias, domain
from esp.cli.mailboxes import mailbox
from esp.cli.messages import message
from esp.cli.users import user
from esp.core.errors import EspError, InvalidError
from esp.server.administration import Administration
from esp.storage.postgres import reports

FAILED = 1
USAGE = 2

app = App(
    "esp-cli", help="Administer ESP: domains, accounts, aliases, mailboxes, messages.", version_flags=[]
)
for group in (domain, user, alias, mailbox, message):
    app.command(group)


@app.command
def stats(*, config: Config = None, json: Json = False) -> None:
    """Count what the installation holds, and what its workers still have to do."""

    async def work(esp: Administration) -> reports.Totals:
        async with esp.database.connection() as connection:
            return await reports.totals(connection)

    found = run(config, work)
    if json:
        return as_json(found)
    return fields(
        [
            ("domains", found.domains),
            ("accounts", found.accounts),
            ("aliases", found.aliases),
            ("mailboxes", found.mailboxes),
            ("messages", found.messages),
            ("mail", size(found.octets)),
            ("database", size(found.database_octets)),
            ("not indexed yet", found.unindexed),
            ("outbox", ", ".join(f"{topic} {rows}" for topic, rows in found.outbox.items()) or "empty"),
        ]
    )


def main() -> None:
    """Run the command; exit 0, 1 (failed) or 2 (usage or configuration)."""
    try:
        app(_options_last(sys.argv[1:]), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(str(error), USAGE)
    except configuration.ConfigError as error:
        _fail(error.detail, USAGE)
    except InvalidError as error:
        _fail(error.detail, USAGE)
    except EspError as error:
        _fail(error.detail, FAILED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; what is left must not be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", FAILED)


def _options_last(tokens: list[str]) -> list[str]:
    """Return the command line with `--config F` and `--json` behind the command, where they are declared."""
    leading: list[str] = []
    rest = list(tokens)
    while rest and (rest[0] in {"--config", "--json"} or rest[0].startswith("--config=")):
        taken = 2 if rest[0] == "--config" else 1
        leading += rest[:taken]
        del rest[:taken]
    return rest + leading


def _fail(detail: str, code: int) -> None:
    print(f"esp-cli: {' '.join(detail.split()) if code == FAILED else detail.strip()}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
