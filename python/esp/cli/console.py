"""What every command of `esp-cli` shares: its options, the way to the services, tables and JSON."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from cyclopts import Parameter
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from esp import config
from esp.config.text import parse_size
from esp.core.address import Address
from esp.core.errors import InvalidError
from esp.telemetry import log

if TYPE_CHECKING:
    from esp.server.administration import Administration

T = TypeVar("T")

Config = Annotated[
    Path | None,
    Parameter(
        "--config", help="Configuration; else $ESP_CONFIG, ./esp.yaml, ./var/esp.yaml, /etc/esp/esp.yaml."
    ),
]
Json = Annotated[bool, Parameter("--json", negative="", help="Print JSON, for programs.", show_default=False)]
PasswordStdin = Annotated[
    bool,
    Parameter(
        "--password-stdin",
        negative="",
        show_default=False,
        help="Read the password from the first line of standard input; else it is asked for.",
    ),
]

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

FOLDED = 1000
"""Rows up to which a table is folded to a screen's width; folding takes more than a millisecond for each."""


def run(path: Path | None, work: "Callable[[Administration], Awaitable[T]]") -> T:
    """Do `work` with the services of the configured installation."""
    # Not imported before a command runs: help and usage errors need no service.
    from esp.server.administration import administration  # noqa: PLC0415

    settings = config.load(path)
    log.configure("warning", settings.logging.format)

    async def within() -> T:
        async with administration(settings) as esp:
            return await work(esp)

    return asyncio.run(within())


def as_json(value: object) -> None:
    """Print a value for programs."""
    print(msgspec.json.encode(value).decode())


def table(*columns: str, rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows for people, or `empty` if there are none."""
    texts = [[_text(value) for value in row] for row in rows]
    if not texts:
        print(empty)
    elif sys.stdout.isatty() and len(texts) <= FOLDED:
        shown = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in texts:
            shown.add_row(*row)
        Console(highlight=False, markup=False).print(shown)
    else:
        _print_lines([columns, *texts])


def _print_lines(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, one line each: never cut to a screen's width, and fast for thousands."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line."""
    lines = [(name, _text(value)) for name, value in pairs]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}".rstrip())


def removed(what: str, left: Sequence[Address], *, json: bool) -> None:
    """Say that an address was removed, and which aliases still lead to it."""
    names = [written(each) for each in left]
    if json:
        return as_json({"removed": what, "aliases": names})
    print(f"removed {what}")
    if names:
        print(f"aliases still lead to it, in vain: {', '.join(names)}")
    return None


def written(address: Address) -> str:
    """Return an alias as an administrator writes it: `@domain` for a catch-all."""
    return str(address) if address.local_part else f"@{address.domain}"


def password(from_stdin: bool) -> str:
    """Return the password that the administrator gives.

    Raises:
        InvalidError: none was given, or the two that were typed differ.
    """
    if from_stdin:
        line = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
        if not line:
            raise InvalidError("standard input holds no password")
        return line
    if not sys.stdin.isatty():
        raise InvalidError("give the password with --password-stdin")
    typed = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != typed:
        raise InvalidError("the two passwords differ")
    return typed


def limit(text: str | None) -> int | None:
    """Return octets, `None` for `none`.

    Raises:
        InvalidError: it is not a size.
    """
    if text is None or text.lower() in {"", "none", "unlimited"}:
        return None
    try:
        return parse_size(text)
    except ValueError:
        raise InvalidError(f"{text!r} is no size: write 500MiB, 1GiB, or none") from None


def size(octets: int | None) -> str:
    """Return octets as people write them."""
    if octets is None:
        return "none"
    value = float(octets)
    for unit in UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {UNITS[-1]}"


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return ""
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case _:
            # What a stranger wrote into a header must not control the terminal.
            return "".join(c if c.isprintable() else "�" for c in str(value))
