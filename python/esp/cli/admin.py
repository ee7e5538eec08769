"""`esp-cli`: domains, accounts, aliases, mailboxes and messages of an installation."""

import os
import sys

from cyclopts import App, CycloptsError

from esp import config as configuration
from esp.cli.options import behind_the_command, wrong_usage
from esp.core.errors import EspError, InvalidError

FAILED = 1
USAGE = 2

app = App(
    "esp-cli", help="Administer ESP: domains, accounts, aliases, mailboxes, messages.", version_flags=[]
)
# Each module is imported when its command is used.
for name, where, what in (
    ("alias", "esp.cli.domains:alias", "Addresses that lead to others."),
    ("domain", "esp.cli.domains:domain", "The domains that ESP takes mail for."),
    (
        "mailbox",
        "esp.cli.mailboxes:mailbox",
        "The mailboxes of an account, who may use them, and whether files and database agree.",
    ),
    ("message", "esp.cli.messages:message", "Messages of an account's mailbox, by UID; import and export."),
    (
        "stats",
        "esp.cli.stats:stats",
        "Count what the installation holds, and what its workers still have to do.",
    ),
    ("user", "esp.cli.users:user", "Accounts: who has mailboxes and may log in."),
):
    app.command(where, name=name, help=what)


def main() -> None:
    """Run the command; exit 0, 1 (failed) or 2 (usage or configuration)."""
    try:
        _refuse_other_octets(sys.argv[1:])
        app(behind_the_command(sys.argv[1:]), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(wrong_usage(error), USAGE)
    except configuration.ConfigError as error:
        _fail(error.detail, USAGE)
    except InvalidError as error:
        _fail(error.detail, USAGE)
    except EspError as error:
        _fail(error.detail, FAILED)
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe; what is left must not be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", FAILED)


def _refuse_other_octets(tokens: list[str]) -> None:
    """Refuse arguments that are not UTF-8: no name here can have such octets, and Python passes lone surrogates on.

    Raises:
        InvalidError: an argument is not UTF-8.
    """
    for token in tokens:
        if any("\udc80" <= character <= "\udcff" for character in token):
            raise InvalidError(f"{os.fsencode(token)!r} is not UTF-8")


def _fail(detail: str, code: int) -> None:
    # Each problem of a configuration has its own line.
    lines = [" ".join(detail.split())] if code == FAILED else detail.strip().splitlines()
    for line in lines:
        print(f"esp-cli: {line}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
