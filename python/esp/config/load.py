"""From a YAML file and the environment to `Settings`, or to a list of everything that is wrong with them.

Defaults < YAML < environment. Every key can be overridden by `ESP_` and its path joined with `__`
(`ESP_SMTP__MAX_MESSAGE_SIZE=52428800`); lists and maps are JSON there; `…_FILE` names a file with
the value.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import yaml
from msgspec import inspect

from esp.config import checks, kinds, stores
from esp.config.sections import Settings
from esp.config.text import parse_duration, parse_size
from esp.core.errors import EspError

ENVIRONMENT_PREFIX = "ESP_"
SYSTEM_FILE = Path("/etc/esp/esp.yaml")

Problem = tuple[str, str]
"""Where (a dotted path, or the name of a variable), and what is wrong and allowed."""


class ConfigError(EspError):
    """The configuration cannot be used; `problems` says everything that is wrong with it."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        lines = [f"{where}: {what}" if where else what for where, what in problems]
        super().__init__("\n".join(f"{source}: {line}" for line in lines))


def find_file(explicit: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Return the file to read: `explicit`, `$ESP_CONFIG`, `./esp.yaml`, the demo's, `/etc/esp/esp.yaml`.

    The demo's (`$ESP_VAR/esp.yaml` or `./var/esp.yaml`) is what `make run` writes, so that `esp-cli` in the
    project's folder finds that instance by itself.
    """
    if explicit is not None:
        return explicit
    if named := environment.get("ESP_CONFIG"):
        return Path(named)
    demo = Path(environment.get("ESP_VAR") or "var") / "esp.yaml"
    return next((path for path in (Path("esp.yaml"), demo, SYSTEM_FILE) if path.is_file()), None)


def load(config: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings, complete: the addresses of stores that ESP runs itself are filled in.

    Raises:
        ConfigError: with every unknown key, wrong type and impossible combination.
    """
    path = find_file(config, environment)
    problems: list[Problem] = []
    raw = _read(path) if path is not None else {}
    _override(raw, environment, problems)
    settings: Settings = _struct(inspect.type_info(Settings), raw, "", problems)
    problems += _combinations(settings, problems)
    if problems:
        # Whoever forgot the file, or stands in another folder, is told so first.
        raise ConfigError(str(path) if path is not None else "no configuration file found", problems)
    return stores.complete(settings)


def _combinations(settings: Settings, problems: list[Problem]) -> list[Problem]:
    """Return what cannot be together, but for what only follows from a key that is wrong and has its default here."""
    wrong = {
        where.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".").removesuffix("_file")
        if where.startswith(ENVIRONMENT_PREFIX)
        else where.partition("[")[0]
        for where, _ in problems
    }
    return [
        (where, what)
        for where, what in checks.impossible(settings)
        if where not in wrong and not any(re.search(rf"\b{re.escape(key)}\b", what) for key in wrong)
    ]


class _Loader(yaml.SafeLoader):
    """The safe loader, and a key written twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    def fail(what: str) -> NoReturn:
        raise ConfigError(str(path), [("", what)])

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"cannot be read: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}")
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        fail(f"{line}{error.problem or 'not YAML'}")
    except yaml.YAMLError:
        fail("not YAML")
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        fail("expected sections such as `smtp:`")
    return raw


def _override(raw: dict[str, Any], environment: Mapping[str, str], problems: list[Problem]) -> None:
    sections = {field.encode_name for field in kinds.sections()}
    for name in sorted(environment):
        # Only names with a path are ours: others (`ESP_VAR`, or another program's) are not keys.
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        path = [part.lower() for part in name.removeprefix(ENVIRONMENT_PREFIX).split("__")]
        if path[0] not in sections:
            problems.append((name, f"no such section; allowed are {', '.join(sorted(sections))}"))
            continue
        text = environment[name]
        kind = kinds.at(path)
        if kind is None and path[-1].endswith("_file"):
            path[-1] = path[-1].removesuffix("_file")
            kind = kinds.at(path)
            try:
                text = Path(text).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError):
                problems.append((name, f"the file {text} cannot be read"))
                continue
        if kind is None:
            problems.append((name, f"no such key; allowed are {kinds.keys_below(path[:-1])}"))
            continue
        target = raw
        for part in path[:-1]:
            below = target.get(part)
            if not isinstance(below, dict):
                below = target[part] = {}
            target = below
        try:
            target[path[-1]] = _from_text(kind, text)
        except ValueError:
            problems.append((name, f"expected {kinds.expected(kind)}, got {text!r}"))


def _from_text(kind: inspect.Type, text: str) -> object:
    """Return what YAML would have given for an environment variable of this type.

    Raises:
        ValueError: `text` cannot be a value of `kind`.
    """
    inner = kinds.bare(kind)
    if isinstance(inner, inspect.BoolType):
        words = {
            "true": True,
            "yes": True,
            "1": True,
            "on": True,
            "false": False,
            "no": False,
            "0": False,
            "off": False,
        }
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    if isinstance(inner, inspect.VarTupleType | inspect.StructType | inspect.DictType):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ValueError(text) from error
    if isinstance(inner, inspect.IntType | inspect.FloatType) and kinds.written_as(kind) is None:
        return float(text) if isinstance(inner, inspect.FloatType) else int(text)
    if isinstance(inner, inspect.CustomType) and kinds.optional(kind) and not text:
        return None
    return text


def _struct(kind: inspect.Type, raw: object, where: str, problems: list[Problem]) -> Any:
    assert isinstance(kind, inspect.StructType)
    if raw is None:  # `smtp:` with nothing below it
        raw = {}
    if not isinstance(raw, dict):
        problems.append((where, f"expected keys below it: {', '.join(f.encode_name for f in kind.fields)}"))
        return kind.cls()
    known = {field.encode_name: field for field in kind.fields}
    values: dict[str, object] = {}
    for key, value in raw.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in known:
            problems.append((path, f"unknown key; allowed are {', '.join(known)}"))
            continue
        before = len(problems)
        read = _value(known[key].type, value, path, problems)
        # What is wrong has its default, so that all else can be looked at.
        if len(problems) == before or isinstance(read, msgspec.Struct):
            values[known[key].name] = read
    return kind.cls(**values)


def _value(kind: inspect.Type, raw: object, where: str, problems: list[Problem]) -> object:
    inner = kinds.bare(kind)
    if isinstance(inner, inspect.StructType):
        return _struct(inner, raw, where, problems)
    if isinstance(inner, inspect.VarTupleType):
        if not isinstance(raw, list):
            problems.append((where, f"expected a list, got {raw!r}"))
            return ()
        return tuple(_value(inner.item_type, item, f"{where}[{n}]", problems) for n, item in enumerate(raw))
    if isinstance(inner, inspect.DictType):
        if not isinstance(raw, dict):
            problems.append((where, f"expected a map, got {raw!r}"))
            return {}
        return {
            str(key): _value(inner.value_type, item, f"{where}.{key}", problems) for key, item in raw.items()
        }
    try:
        return _scalar(kind, raw)
    except ValueError:
        shown = "a value" if kinds.meaning(kind) == "secret" else repr(raw)
        problems.append((where, f"expected {kinds.expected(kind)}, got {shown}"))
        return None


def _scalar(kind: inspect.Type, raw: object) -> object:
    """Return `raw` as `kind`.

    Raises:
        ValueError: it is none.
    """
    inner = kinds.bare(kind)
    if raw is None and kinds.optional(kind):
        return None
    if isinstance(inner, inspect.CustomType) and inner.cls is Path:
        if not isinstance(raw, str) or not raw:
            raise ValueError(raw)
        # Relative paths are of the folder ESP is started in; made absolute so that no later chdir matters.
        return Path(raw).expanduser().absolute()
    if isinstance(inner, inspect.LiteralType):
        if raw not in inner.values:
            raise ValueError(raw)
        return raw
    if isinstance(raw, str) and kinds.written_as(kind) == "size":
        raw = parse_size(raw)
    elif isinstance(raw, str) and kinds.written_as(kind) == "duration":
        raw = parse_duration(raw)
    if isinstance(inner, inspect.IntType | inspect.FloatType):
        return _number(inner, raw)
    if isinstance(inner, inspect.BoolType):
        if not isinstance(raw, bool):
            raise ValueError(raw)
        return raw
    if not isinstance(raw, str):
        raise ValueError(raw)
    if kinds.meaning(kind) == "network":
        ipaddress.ip_network(raw)
    return raw


def _number(inner: inspect.IntType | inspect.FloatType, raw: object) -> int | float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(raw)
    if isinstance(inner, inspect.IntType) and not isinstance(raw, int):
        raise ValueError(raw)
    if (inner.ge is not None and raw < inner.ge) or (inner.le is not None and raw > inner.le):
        raise ValueError(raw)
    return raw if isinstance(inner, inspect.IntType) else float(raw)
