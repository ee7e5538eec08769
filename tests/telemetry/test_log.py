"""Logs: what programs read, and what must never be in them."""

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import structlog

from esp.telemetry import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configured, before = structlog.is_configured(), structlog.get_config()
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    # Loggers of other tests, which look at events, must find what they would without these tests.
    if configured:
        structlog.configure(**before)
    else:
        structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_context_follows_into_tasks_and_ends_with_its_block(stream: io.StringIO) -> None:
    log.configure("info", "json", stream=stream, role="smtp")
    logger = log.get_logger("room")

    async def task() -> None:
        logger.info("inside")

    with log.bind(session="s1"):
        await asyncio.create_task(task())
    logger.info("outside")
    inside, outside = lines(stream)
    assert (inside["session"], inside["role"], inside["source"]) == ("s1", "smtp", "room")
    assert "session" not in outside


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_and_no_local_variable_is_written(stream: io.StringIO, form: str) -> None:
    log.configure("debug", form, stream=stream)  # type: ignore[arg-type]
    hunter = "hunter" + "2"
    try:
        raise ValueError("wrong")
    except ValueError:
        log.get_logger("room").exception("failed", password=hunter, api_token=hunter, user_secret=hunter)
        logging.getLogger("library").exception("failed too")
    assert "ValueError: wrong" in stream.getvalue() or '"exc_value":"wrong"' in stream.getvalue()
    assert hunter not in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_not_known_is_left_out(stream: io.StringIO, form: str) -> None:
    log.configure("info", form, stream=stream)  # type: ignore[arg-type]
    logger = log.get_logger("room")
    logger.info("refused", origin=log.cause_of(ValueError()), size=0)
    try:
        raise ValueError
    except ValueError:
        logger.exception("failed", origin=None)
    assert "origin" not in stream.getvalue()
    assert "size" in stream.getvalue()


def test_less_important_events_are_not_written(stream: io.StringIO) -> None:
    log.configure("warning", "json", stream=stream)
    log.get_logger("room").info("quiet")
    logging.getLogger("library").info("quiet")
    log.get_logger("room").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_other_libraries_look_the_same(stream: io.StringIO) -> None:
    log.configure("info", "json", stream=stream, role="api")
    logging.getLogger("library").warning("number %d", 7)
    (line,) = lines(stream)
    assert (line["event"], line["source"], line["level"], line["role"]) == (
        "number 7",
        "library",
        "warning",
        "api",
    )


def test_a_value_ends_where_the_next_name_begins_and_a_line_is_one_line(stream: io.StringIO) -> None:
    log.configure("info", "text", stream=stream, role="smtp")
    log.get_logger("room").info("refused", reason="no such user", octets="a\nlevel=b", size=3, peer="::1")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(
        "[info     ] refused octets='a\\nlevel=b' peer=::1 reason='no such user' role=smtp size=3 source=room"
    )


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.usefixtures("stream")
def test_who_logs_does_not_suffer_from_a_full_disk(form: Literal["text", "json"]) -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closed below, where it fails
    try:
        log.configure("info", form, stream=full)
        for logger in (log.get_logger("room"), logging.getLogger("somebody.else")):
            logger.info("message_accepted")
            try:
                raise ValueError
            except ValueError:
                logger.exception("failed")
        with pytest.raises(OSError, match="No space left"):
            full.flush()
    finally:
        with contextlib.suppress(OSError):
            full.close()
