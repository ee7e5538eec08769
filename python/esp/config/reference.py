"""The example file, the reference page and `config show`, all made from the sections themselves."""

import ast
import inspect as source
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import inspect

from esp.config import kinds, sections
from esp.config.sections import Settings
from esp.config.text import format_duration, format_size

MASK = "********"
_PREAMBLE = """\
# ESP's configuration: every key, with its default.
# Any of them can be overridden by ESP_ and its path joined with __, such as ESP_SMTP__PORT=2525; lists and
# maps are JSON there, and a name ending in _FILE (ESP_DATABASE__DSN_FILE) reads the value from that file.
"""


def example() -> str:
    """Return a commented YAML file that says the same as no file at all."""
    comments = _docstrings()
    lines = [_PREAMBLE]
    for section in kinds.sections():
        cls = _section_class(section)
        lines.append(f"# {_first_line(cls.__doc__)}\n{section.encode_name}:")
        for field in kinds.fields(section.type):
            lines.append(f"  # {comments[cls.__name__, field.name]}")
            lines.append(f"  {field.encode_name}: {_yaml(field.type, field.default)}")
        lines.append("")
    return "\n".join(lines)


def markdown() -> str:
    """Return `docs/reference/configuration.md`."""
    comments = _docstrings()
    lines = [
        "# Configuration",
        "",
        "Made from `python/esp/config/sections.py` by `make docs`; a test keeps them equal. The guide",
        "[Operating ESP](../guide/operate.md) says where the file is looked for.",
    ]
    for section in kinds.sections():
        cls = _section_class(section)
        lines += ["", f"## `{section.encode_name}`", "", _first_line(cls.__doc__), ""]
        lines += ["| key | type | default | what it is |", "|---|---|---|---|"]
        for field in kinds.fields(section.type):
            kind = _type_name(field.type)
            default = _yaml(field.type, field.default)
            comment = comments[cls.__name__, field.name].replace("|", "\\|")
            variable = f"ESP_{section.encode_name}__{field.encode_name}".upper()
            lines.append(f"| `{field.encode_name}`<br>`{variable}` | {kind} | `{default}` | {comment} |")
    return "\n".join(lines) + "\n"


def show(settings: Settings) -> str:
    """Return `settings` as YAML, secrets masked."""
    lines: list[str] = []
    for section in kinds.sections():
        value = getattr(settings, section.name)
        lines.append(f"{section.encode_name}:")
        for field in kinds.fields(section.type):
            lines.append(
                f"  {field.encode_name}: {_yaml(field.type, _masked(field, getattr(value, field.name)))}"
            )
    return "\n".join(lines) + "\n"


def _masked(field: inspect.Field, value: Any) -> Any:
    """Hide a secret; an address without a password in it is none."""
    if kinds.meaning(field.type) != "secret" or not value:
        return value
    if "://" in value and ":" not in value.split("://", 1)[1].split("@", 1)[0]:
        return value
    return MASK


def _section_class(field: inspect.Field) -> type:
    assert isinstance(field.type, inspect.StructType)
    return field.type.cls


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _docstrings() -> dict[tuple[str, str], str]:
    """Return the docstring of each field; Python keeps none, so they are read from the source."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(source.getsource(sections)).body:
        if not isinstance(node, ast.ClassDef) or node.name == "Settings":
            continue
        for field, comment in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                text = comment.value if isinstance(comment, ast.Expr) else None
                assert isinstance(text, ast.Constant), f"{node.name}.{field.target.id} has no docstring"
                found[node.name, field.target.id] = " ".join(str(text.value).split())
    return found


def _type_name(kind: inspect.Type) -> str:
    named = kinds.written_as(kind) or kinds.meaning(kind)
    if named:
        return named
    match kinds.bare(kind):
        case inspect.LiteralType() as literal:
            return " or ".join(f"`{value}`" for value in literal.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            return "number"
        case inspect.CustomType():
            return "path"
        case inspect.VarTupleType() as several:
            return f"list of {_type_name(several.item_type)}"
        case inspect.DictType():
            return "map"
    return "text"


def _yaml(kind: inspect.Type, value: Any) -> str:
    if kinds.written_as(kind) == "size":
        return format_size(value)
    if kinds.written_as(kind) == "duration":
        return format_duration(value)
    plain = msgspec.to_builtins(value, enc_hook=str) if not isinstance(value, Path) else str(value)
    text: str = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("...").rstrip()
