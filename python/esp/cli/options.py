"""Options that may stand before or after the command (`esp-cli --config F user list`), and wrong usage."""

from cyclopts import CycloptsError, UnusedCliTokensError

_WITH_VALUE = "--config"
_ALONE = "--json"


def behind_the_command(tokens: list[str]) -> list[str]:
    """Return the command line with `--config F` and `--json` moved behind the command, where they are declared.

    Only those among the first words are moved: behind another option, they may be its value.
    """
    words: list[str] = []
    moved: list[str] = []
    rest = list(tokens)
    while rest:
        if rest[0] == _WITH_VALUE:
            moved += rest[:2]
            del rest[:2]
        elif rest[0] == _ALONE or rest[0].startswith(f"{_WITH_VALUE}="):
            moved.append(rest.pop(0))
        elif rest[0].startswith("-"):
            break
        else:
            words.append(rest.pop(0))
    return words + moved + rest


def wrong_usage(error: CycloptsError) -> str:
    """Return what is wrong with a command line, in one line for people."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"unexpected: {' '.join(error.unused_tokens)}; --help shows what the command takes"
    return str(error)
