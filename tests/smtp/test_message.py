"""Messages on their way in: where they end, what is refused, what is kept where."""

import asyncio
import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from esp.config.sections import Smtp
from esp.core.errors import NotFoundError, OverQuotaError, StorageFullError, UnavailableError
from tests.smtp.support import HOSTNAME, Talk, world
from tests.support.resets import reset

SMUGGLED = (
    "MAIL FROM:<evil@other.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\n.\r\n"
)

FALSE_ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n",
    b"\r\n.\r\r\n", b"\r\n\r.\r\n", b"\r\r\n.\n", b"\n\n.\n\n", b"\r\n.\x00\r\n", b"\r\n\x00.\r\n", b"\r\n. \r\n",
]  # fmt: skip


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
async def test_nothing_but_crlf_dot_crlf_ends_a_message(false_end: bytes) -> None:
    async with world() as made:
        talk = await Talk.to(made)
        await talk.begin()
        talk.send(
            b"Subject: x\r\n\r\ntext"
            + false_end
            + SMUGGLED.replace("\r\n.\r\n", "\r\n").encode()
            + b"\r\n.\r\n"
        )
        answer = await talk.reply()
        bare = false_end.replace(b"\r\n", b"")
        if b"\r" in bare or b"\n" in bare:
            assert answer.startswith("550 5.5.2")
            assert made.dispatch.bodies == []
        else:
            assert answer.startswith("250")
            assert [placed.targets[0].account for placed, _ in made.dispatch.delivered] == [1]
        assert (await talk.ask("NOOP")).startswith("250")
        talk.send("QUIT\r\n")
        assert (await talk.reply()).startswith("221")
        assert await talk.closed()


async def test_a_bare_line_feed_in_a_command_ends_the_connection() -> None:
    async with world() as made:
        talk = await Talk.to(made)
        talk.send(b"EHLO client.test\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\n")
        assert (await talk.reply()).startswith("500 5.5.2")
        assert await talk.closed()


WORDS = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"\r\n.\r\n",
        b"a",
        b"Bcc: x\r\n",
        b"Received: x\r\n",
        b"QUIT\r\n",
        b"NOOP\r\n",
    ]
)


async def conversation(made: object, octets: bytes, cuts: list[int]) -> tuple[str | None, list[bytes]]:
    from tests.smtp.support import World

    assert isinstance(made, World)
    made.dispatch.delivered.clear()
    talk = await Talk.to(made)
    try:
        for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
            talk.send(octets[start:end])
            await talk.writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            said = (await talk.reader.read()).decode()
    except ConnectionError:
        # After a bare LF in a command the server has gone, perhaps before the client had said all.
        return None, made.dispatch.bodies
    # Ids differ from message to message.
    said = "\r\n".join(line[:13] for line in said.split("\r\n"))
    return said, made.dispatch.bodies


@settings(max_examples=60)
@given(words=st.lists(WORDS, max_size=20), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_the_division_of_the_octets_does_not_matter(words: list[bytes], cuts: list[int]) -> None:
    octets = (
        b"EHLO client.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
        + b"".join(words)
        + b"\r\n.\r\nNOOP\r\nQUIT\r\n"
    )
    at = sorted(min(cut, len(octets)) for cut in cuts)

    async def both() -> None:
        async with world() as made:
            whole = await conversation(made, octets, [])
            divided = await conversation(made, octets, at)
            assert divided[1] == whole[1]
            assert divided[0] is None or whole[0] is None or divided[0] == whole[0]

    asyncio.run(both())


async def test_a_large_message_is_spooled_and_whole() -> None:
    body = b"Subject: large\r\n\r\n" + b"".join(b"%d %s\r\n" % (n, b"x" * 60) for n in range(20_000))
    async with world(smtp=Smtp(memory_limit=64 * 1024)) as made:
        talk = await Talk.to(made)
        await talk.begin()
        talk.send(body + b".\r\n")
        assert (await talk.reply()).startswith("250")
        (spool,) = made.spools
        assert made.dispatch.bodies == [body]
        assert spool.closed
        assert made.door.limits.held < 16_384


async def test_a_full_disk_is_told_and_the_session_goes_on() -> None:
    async with world(smtp=Smtp(memory_limit=1024)) as made:
        made.spool_error = OSError(errno.ENOSPC, "No space left on device")
        talk = await Talk.to(made)
        await talk.begin()
        talk.send(b"Subject: x\r\n\r\n" + b"x\r\n" * 10_000)
        while not made.spools:
            await asyncio.sleep(0)
        assert (await talk.ask("more\r\n.")).startswith("452 4.3.1")
        assert (await talk.ask("MAIL FROM:<a@b.test>")).startswith("250")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError("x"), "451 4.3.0"),
        (StorageFullError("x"), "452 4.3.1"),
        (OverQuotaError("x"), "452 4.2.2"),
        # The mailbox vanished after RCPT; the others' mail must not bounce for it.
        (NotFoundError("x"), "451 4.3.0"),
        (RuntimeError("x"), "451 4.3.0"),
    ],
)
async def test_a_delivery_that_fails_is_temporary(error: Exception, code: str) -> None:
    async with world() as made:
        made.dispatch.fail[None] = error  # type: ignore[assignment]
        talk = await Talk.to(made)
        await talk.begin()
        assert (await talk.ask("Subject: x\r\n\r\n.")).startswith(code)
        assert (await talk.ask("MAIL FROM:<a@b.test>")).startswith("250")


@pytest.mark.parametrize(("cause", "known"), [(None, None), (OSError("cut off"), "OSError('cut off')")])
async def test_a_refusal_is_logged_with_its_cause_where_there_is_one(
    cause: Exception | None, known: str | None
) -> None:
    with capture_logs() as events:
        async with world() as made:
            made.dispatch.fail[None] = UnavailableError("x")
            made.dispatch.fail[None].__cause__ = cause
            talk = await Talk.to(made)
            await talk.begin()
            await talk.ask("Subject: x\r\n\r\n.")
    (event,) = [event for event in events if event["event"] == "message_refused"]
    assert event["cause"] == known  # `None` is left out of the line (tests/telemetry)


async def test_a_message_above_the_limit_is_refused_without_being_kept() -> None:
    async with world(smtp=Smtp(max_message_size=100_000)) as made:
        talk = await Talk.to(made)
        await talk.begin()
        for _ in range(100):
            talk.send(b"x" * 998 + b"\r\n" + b"y" * 9_998 + b"\r\n")
            await talk.writer.drain()
        assert (await talk.ask(".")).startswith("552 5.3.4")
        assert made.dispatch.bodies == []
        await talk.all_of(["MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>"])
        assert made.door.limits.held < 16_384


async def test_a_chunk_above_the_limit_is_taken_and_refused() -> None:
    # RFC 3030 §2: it is discarded before the reply, and the transaction is over.
    async with world(smtp=Smtp(max_message_size=100_000)) as made:
        talk = await Talk.to(made)
        await talk.all_of(["EHLO client.test", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>"])
        talk.send("BDAT 10\r\nSubject: x")
        assert (await talk.reply()).startswith("250")
        talk.send(b"BDAT 1000000\r\n" + b"x" * 1_000_000 + b"BDAT 5 LAST\r\nabcdeNOOP\r\n")
        assert (await talk.reply()) == "552 5.3.4 Message too large"
        assert (await talk.reply()) == "503 5.5.1 Need MAIL first"
        assert (await talk.reply()).startswith("250")
        assert made.door.limits.held < 16_384
        assert made.dispatch.bodies == []


async def test_each_recipient_has_a_reply_to_a_last_chunk_above_the_limit() -> None:
    async with world(lmtp=True, smtp=Smtp(max_message_size=100_000)) as made:
        talk = await Talk.to(made)
        await talk.all_of(["LHLO client.test", "MAIL FROM:<>"])
        await talk.all_of(["RCPT TO:<alice@example.test>", "RCPT TO:<bob@example.test>"])
        talk.send(b"BDAT 100001 LAST\r\n" + b"x" * 100_001 + b"BDAT 1 LAST\r\nxNOOP\r\n")
        replies = [(await talk.reply())[:9] for _ in range(4)]
        assert replies == ["552 5.3.4"] * 2 + ["503 5.5.1", "250 2.0.0"]


async def test_a_chunk_that_is_refused_has_no_longer_than_one_that_is_kept() -> None:
    async with world(smtp=Smtp(idle_timeout=60, data_timeout=0.1), sweep=0.01) as made:
        talk = await Talk.to(made)
        await talk.ask("EHLO client.test")
        talk.send("BDAT 3\r\nabc")
        assert (await talk.reply()).startswith("503")
        talk.send("BDAT 18446744073709551615 LAST\r\nabc")
        assert (await talk.reply()).startswith("421 4.4.2")
        assert await talk.closed()


async def test_a_header_line_of_a_megabyte_is_refused_in_bounds() -> None:
    async with world() as made:
        talk = await Talk.to(made)
        await talk.begin()
        talk.send(b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\n.\r\n")
        assert (await talk.reply()).startswith("552 5.3.4")
        assert made.door.limits.held < 16_384
        talk.send(b"x" * 1_000_000 + b"\r\n")
        assert (await talk.reply()).startswith("500 5.5.2")
        assert (await talk.ask("NOOP")).startswith("250")


async def test_trace_fields_stand_before_the_message_and_forged_results_are_gone() -> None:
    async with world() as made:
        talk = await Talk.to(made)
        await talk.begin()
        await talk.ask(
            f"Authentication-Results: {HOSTNAME}; spf=pass\r\n"
            "Authentication-Results: other.test; spf=pass\r\nSubject: x\r\n\r\n."
        )
        ((incoming, body),) = made.dispatch.delivered
        lines = incoming.prefix.decode().split("\r\n")
        assert lines[0] == "Return-Path: <sender@other.test>"
        # RFC 8601 §5.
        assert lines[1] == f"Authentication-Results: {HOSTNAME}; none"
        assert lines[2] == "Received: from client.test ([127.0.0.1])"
        assert lines[3].startswith(f"\tby {HOSTNAME} (ESP) with ESMTP id ")
        assert lines[4] == "\tfor <alice@example.test>;"
        assert body == b"Authentication-Results: other.test; spf=pass\r\nSubject: x\r\n\r\n"


async def test_one_file_for_all_recipients_names_none_of_them() -> None:
    async with world() as made:
        talk = await Talk.to(made)
        await talk.all_of(
            [
                "EHLO (bad\tname)",
                "MAIL FROM:<>",
                "RCPT TO:<alice@example.test>",
                "RCPT TO:<team@example.test>",
                "DATA",
            ]
        )
        await talk.ask("Subject: x\r\n\r\n.")
        ((incoming, _),) = made.dispatch.delivered
        assert [target.account for target in incoming.targets] == [1, 2]
        assert incoming.prefix.startswith(b"Return-Path: <>\r\n")
        assert b"\r\nReceived: from unknown (" in incoming.prefix
        assert b"example.test>" not in incoming.prefix


async def test_a_message_that_travelled_too_far_is_refused() -> None:
    async with world() as made:
        talk = await Talk.to(made)
        await talk.begin()
        assert (await talk.ask("Received: by x\r\n" * 101 + "\r\n.")).startswith("554 5.4.6")


async def test_a_message_larger_than_the_room_left_is_refused_though_none_was_declared() -> None:
    async with world() as made:
        talk = await Talk.to(made)
        await talk.begin("small@example.test")
        assert (await talk.ask("Subject: x\r\n\r\n" + "x\r\n" * 500 + ".")).startswith("452 4.2.2")
        assert made.dispatch.bodies == []


async def test_a_client_that_leaves_after_the_final_dot_has_delivered() -> None:
    async with world() as made:
        made.dispatch.gate = asyncio.Event()
        talk = await Talk.to(made)
        await talk.begin()
        talk.send("Subject: x\r\n\r\n.\r\n")
        await made.dispatch.entered.wait()
        reset(talk.writer)
        while made.door.census.total:
            await asyncio.sleep(0)
        made.dispatch.gate.set()
        while not made.dispatch.bodies:
            await asyncio.sleep(0)


async def test_a_client_that_leaves_before_the_final_dot_has_not() -> None:
    async with world(smtp=Smtp(memory_limit=1000)) as made:
        talk = await Talk.to(made)
        await talk.begin()
        talk.send("Subject: x\r\n\r\n" + "x\r\n" * 10_000)
        await talk.writer.drain()
        await talk.close()
        while made.door.census.total:
            await asyncio.sleep(0.001)
        other = await Talk.to(made)
        await other.begin()
        assert (await other.ask("Subject: whole\r\n\r\n.")).startswith("250")
        await other.close()
        # Had a delivery begun, it would be waited for.
        await made.door.drain(10.0)
        assert made.dispatch.bodies == [b"Subject: whole\r\n\r\n"]
        assert all(spool.closed for spool in made.spools)
        assert made.door.limits.held < 2048


async def test_lmtp_tells_the_outcome_for_each_recipient() -> None:
    async with world(lmtp=True) as made:
        made.dispatch.fail[2] = OverQuotaError("full")
        talk = await Talk.to(made)
        await talk.all_of(
            [
                "LHLO x",
                "MAIL FROM:<a@b.test>",
                "RCPT TO:<bob@example.test>",
                "RCPT TO:<alice@example.test>",
                "DATA",
            ]
        )
        talk.send("Subject: x\r\n\r\n.\r\n")
        assert [(await talk.reply())[:9] for _ in range(2)] == ["452 4.2.2", "250 2.0.0"]
        assert [[t.account for t in i.targets] for i, _ in made.dispatch.delivered] == [[1]]
