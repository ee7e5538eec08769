"""Structured logs on standard error: one event per decision, with the ids of connection and message.

`get_logger(__name__).info("message_accepted", recipients=3)`; what `bind` was given follows in every event of
the same task and of the tasks it starts. A value that is `None` is left out: it is not known. Other libraries' records
arrive in the same form.
"""

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TextIO, cast

import orjson
import structlog

_SECRET_NAMES = ("password", "secret", "token", "authorization", "credential", "private_key")
_MASK = "********"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

Logger = structlog.typing.FilteringBoundLogger


def configure(
    level: str = "info",
    form: Literal["text", "json"] = "text",
    *,
    stream: TextIO | None = None,
    **context: object,
) -> None:
    """Set logging up for this process; `context` (role, number) is part of every event."""
    output = _Output(stream or sys.stderr)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with(context),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_secrets,
    ]
    final: list[structlog.typing.Processor]
    if form == "json":
        # Without local variables: a password may be one of them.
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        final = [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer(_json)]
    else:
        final = [
            structlog.dev.ConsoleRenderer(
                colors=output.isatty(),
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    wrapper = structlog.make_filtering_bound_logger(_LEVELS[level])
    coloured = form == "text" and output.isatty()
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=wrapper
        if coloured
        else _quick(wrapper, _json_line if form == "json" else _text, context, output),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", output)),
        # A process configures once; looking it up anew would double the cost of an event.
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_add_source, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for chatty in (
        "rq.worker",
        "rq.job",
        "rq.queue",
        "uvicorn",
        "uvicorn.error",
        "uvicorn.access",
        "asyncio",
        "mail",
    ):
        # These tell of every job and request; what matters of them is an event or a metric of ours.
        logging.getLogger(chatty).setLevel(max(_LEVELS[level], logging.WARNING))


class _Output:
    """Where lines go. One that cannot be written is lost: mail goes on when the disk of logs is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except OSError:
            return

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            return


def get_logger(name: str) -> Logger:
    """Return a logger whose events carry `source=name`."""
    logger: Logger = structlog.get_logger(source=name)
    return logger


def bind(**context: object) -> AbstractContextManager[None]:
    """Add `context` to every event of this block, also in functions called and tasks started from it."""
    return structlog.contextvars.bound_contextvars(**context)


def cause_of(error: BaseException) -> str | None:
    """Return what caused an error, for the log; `None` where that is not known."""
    return None if error.__cause__ is None else repr(error.__cause__)


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Replace every value whose name tells of a secret; the last line of defence, not the first."""
    return _shown(event)


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event without secrets, and without what is not known: `None` tells nobody anything."""
    return {key: _MASK if _is_secret(key) else value for key, value in event.items() if value is not None}


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return any(name in key.lower() for name in _SECRET_NAMES)


def _quick(
    wrapper: type[Logger],
    render: Callable[[str, str | None, str, Mapping[str, object]], str],
    context: Mapping[str, object],
    output: "_Output",
) -> type[Logger]:
    """Return a logger that writes what the chain of processors does, without it.

    There is an event for every message, and the chain costs more than all else that its session does. What has an
    exception goes through the chain.
    """

    class Quick(wrapper):  # type: ignore[misc, valid-type]
        def _proxy_to_logger(self, method_name: str, event: str | None = None, **event_kw: Any) -> Any:
            if "exc_info" in event_kw or "stack_info" in event_kw:
                return super()._proxy_to_logger(method_name, event, **event_kw)
            about = {**context, **structlog.contextvars.get_contextvars(), **self._context, **event_kw}
            level = "warning" if method_name == "warn" else method_name
            # One call: lines of several threads stay whole.
            output.write(render(level, event, _timestamp(time.time()), about))
            output.flush()
            return None

    return Quick


def _timestamp(now: float) -> str:
    second = int(now)
    return f"{_second(second)}.{int((now - second) * 1e6):06}Z"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _text(level: str, event: str | None, timestamp: str, about: Mapping[str, object]) -> str:
    """Return the line that structlog's console renderer makes without colours."""
    parts = [f"{timestamp} [{level:9}] {event}"]
    for key, secret in _order(tuple(about)):
        value = about[key]
        if value is None:
            continue
        if secret:
            value = _MASK
        parts.append(f"{key}={value if type(value) is str and _plain(value) else repr(value)}")
    return " ".join(parts) + "\n"


@lru_cache(maxsize=1024)
def _order(keys: tuple[str, ...]) -> list[tuple[str, bool]]:
    """Return keys as they stand in a line, with whether each is a secret's: the same few sets come again and again."""
    return [(key, _is_secret(key)) for key in sorted(keys)]


_plain = re.compile(r"[!#-&(-<>-~]*").fullmatch
"""Whether a text can stand without quotes."""


def _add_source(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event["source"] = record.name
    return event


def _with(context: Mapping[str, object]) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        for key, value in context.items():
            event.setdefault(key, value)
        return event

    return add


def _json_line(level: str, event: str | None, timestamp: str, about: Mapping[str, object]) -> str:
    return _json({**_shown(about), "event": event, "level": level, "timestamp": timestamp}) + "\n"


def _json(event: object, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
