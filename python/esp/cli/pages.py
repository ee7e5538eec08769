"""The generated pages of `docs/reference`, and the example configuration; run by `make docs`.

Each is made from the code that it describes, and a test compares them.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from esp.cli import admin, server
from esp.config import reference
from esp.telemetry import metrics

_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
_LOGGERS = ("log", "_log", "logger", "_logger")


def pages(project: Path) -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    return {
        project / "docs/reference/configuration.md": reference.markdown(),
        project / "docs/reference/metrics.md": _metrics(),
        project / "docs/reference/events.md": _events(project / "python/esp"),
        project / "docs/reference/cli.md": _cli(),
        project / "deploy/esp.example.yaml": reference.example(),
    }


def main() -> None:
    """Write the pages below the working folder."""
    for path, text in pages(Path.cwd()).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _metrics() -> str:
    lines = [
        "# Metrics",
        "",
        "Prometheus text at `/metrics` on the API port, added up over all processes of the node. Made from",
        "`python/esp/telemetry/metrics.py` by `make docs`.",
        "",
        "| metric | kind | labels | what it is |",
        "|---|---|---|---|",
    ]
    for _, metric in inspect.getmembers(metrics, lambda value: hasattr(value, "_labelnames")):
        (described,) = metric.describe()
        name = described.name + ("_total" if described.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(f"| `{name}` | {described.type} | {labels} | {described.documentation} |")
    return "\n".join(lines) + "\n"


def _events(package: Path) -> str:
    lines = [
        "# Log events",
        "",
        "What ESP writes to standard error, besides the records of its libraries. Made from the code by `make docs`.",
        "Every event also has `timestamp`, `level`, `source` (the module), `role` and `process`. What a door tells has",
        "`connection` as well, a number that its process gives once, and from the login on `user`; SMTP's have `door`.",
        "A message is known by its `transaction`, which is in its Received field and in the reply to the client; a job",
        "by its `topic`. A value that is not known is left out.",
        "",
        "| event | level | source | values |",
        "|---|---|---|---|",
    ]
    lines += sorted({line for path in package.rglob("*.py") for line in _logged(path, package)})
    return "\n".join(lines) + "\n"


def _logged(path: Path, package: Path) -> Iterator[str]:
    source = ".".join(("esp", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=level, value=ast.Name(id=name) | ast.Attribute(attr=name)),
                args=[ast.Constant(value=str(event)), *_],
            ) if level in _LEVELS and name in _LOGGERS:
                values = ", ".join(f"`{keyword.arg}`" for keyword in node.keywords if keyword.arg)
                yield f"| {event} | {'error' if level == 'exception' else level} | `{source}` | {values} |"


def _cli() -> str:
    apps = [server.app, admin.app]
    # The usage lines begin with the name of the running program, which is this one.
    running, sys.argv = sys.argv, ["esp"]
    try:
        text = "\n".join(app.generate_docs() for app in apps)
    finally:
        sys.argv = running
    return "# Commands\n\nMade from the commands themselves by `make docs`.\n\n" + text


if __name__ == "__main__":
    main()
