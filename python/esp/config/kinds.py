"""What a field of a section is, asked of msgspec: its type, and how to name it to a person."""

from msgspec import inspect

from esp.config.sections import Settings


def fields(kind: inspect.Type) -> tuple[inspect.Field, ...]:
    """Return the fields of a struct."""
    assert isinstance(kind, inspect.StructType)
    return kind.fields


def sections() -> tuple[inspect.Field, ...]:
    """Return the sections of the configuration."""
    return fields(inspect.type_info(Settings))


def at(path: list[str]) -> inspect.Type | None:
    """Return the type of the key at `path`, or `None` when there is none."""
    kind: inspect.Type = inspect.type_info(Settings)
    for part in path:
        if not isinstance(kind, inspect.StructType):
            return None
        found = next((field for field in kind.fields if field.encode_name == part), None)
        if found is None:
            return None
        kind = found.type
    return kind


def keys_below(path: list[str]) -> str:
    """Name the keys that are allowed below `path`."""
    kind = at(path)
    if not isinstance(kind, inspect.StructType):
        return "none below it"
    return ", ".join(field.encode_name for field in kind.fields)


def expected(kind: inspect.Type) -> str:
    """Say what a value of this type looks like."""
    inner = bare(kind)
    if written_as(kind) == "size":
        return "a size such as 25MiB"
    if written_as(kind) == "duration":
        return "a duration such as 5m"
    if meaning(kind) == "network":
        return "a network such as 192.0.2.0/24 or 2001:db8::/32"
    match inner:
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, inner.values))}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() if inner.le is not None:
            return f"a number from {inner.ge} to {inner.le}"
        case inspect.IntType() | inspect.FloatType():
            return "a number" if inner.ge is None else f"a number of {inner.ge} or more"
        case inspect.CustomType():
            return "a path"
        case inspect.VarTupleType():
            return "a JSON list"
        case inspect.DictType() | inspect.StructType():
            return "a JSON map"
    return "text"


def bare(kind: inspect.Type) -> inspect.Type:
    """Return the type without annotations and without `None`."""
    if isinstance(kind, inspect.Metadata):
        return bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next(bare(t) for t in kind.types if not isinstance(t, inspect.NoneType))
    return kind


def optional(kind: inspect.Type) -> bool:
    """Tell whether `None` is allowed."""
    return isinstance(kind, inspect.UnionType) and kind.includes_none


def written_as(kind: inspect.Type) -> str | None:
    """Return `size` or `duration` for numbers that are written with a unit."""
    if isinstance(kind, inspect.Metadata):
        found = (kind.extra_json_schema or {}).get("format")
        return str(found) if found else None
    return None


def meaning(kind: inspect.Type) -> str | None:
    """Return `network` or `secret` for text that is more than text."""
    if isinstance(kind, inspect.Metadata):
        found = (kind.extra or {}).get("kind")
        return str(found) if found else None
    return None
