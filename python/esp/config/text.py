"""How sizes and durations are written: `25MiB`, `5m`, `1h30m`."""

import re

_SIZES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZES |= {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_LARGEST = (1 << 63) - 1
"""What PostgreSQL's bigint holds."""
_LONGEST = 36_500 * 86_400.0
"""A century: moments that far away can still be reckoned with."""
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*", re.ASCII)


def parse_size(text: str) -> int:
    """Return octets.

    Raises:
        ValueError: not a number with an optional unit, or more than any disk has.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in _SIZES:
        raise ValueError(text)
    unit = _SIZES[match[2]]
    octets = int(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit
    if octets > _LARGEST:
        raise ValueError(text)
    return octets


def parse_duration(text: str) -> float:
    """Return seconds; a number without a unit is seconds.

    Raises:
        ValueError: not a number, nor numbers with units, or more than a century.
    """
    stripped = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", stripped, re.ASCII):
        seconds = float(stripped)
    elif not stripped or _DURATION_PART.sub("", stripped):
        raise ValueError(text)
    else:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(stripped))
    if seconds > _LONGEST:
        raise ValueError(text)
    return seconds


def format_size(octets: int) -> str:
    """Return the shortest exact writing of `octets`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if octets and octets % _SIZES[unit] == 0:
            return f"{octets // _SIZES[unit]}{unit}"
    return str(octets)


def format_duration(seconds: float) -> str:
    """Return the shortest exact writing of `seconds`."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"
