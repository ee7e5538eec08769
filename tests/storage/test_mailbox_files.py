"""Maildirs and mboxes that are written while others take messages away, here and there."""

import mailbox
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from esp.core.errors import NotFoundError
from esp.core.message import SystemFlag
from esp.storage.mailbox_files import MaildirWriter, MboxWriter, Outgoing, Read
from esp.storage.maildir import INBOX_DIRECTORY, Card

TEXT = b"Subject: x\r\n\r\nHello\r\n"


def message(base: str, flags: int = int(SystemFlag.SEEN)) -> Outgoing:
    return Outgoing(base, flags, (), datetime(2024, 3, 1, tzinfo=UTC), len(TEXT), is_new=False)


def read(at: int) -> bytes:
    return TEXT[at:]


def gone_after(times: int) -> Read:
    """Return what reads a message line by line, and no longer finds it after so many times."""
    left = iter(range(times))

    def read_line(at: int) -> bytes:
        if next(left, None) is None:
            raise NotFoundError("gone")
        return TEXT[at:].partition(b"\n")[0] + b"\n" if at < len(TEXT) else b""

    return read_line


def writer(root: Path) -> MaildirWriter:
    made = MaildirWriter(root, INBOX_DIRECTORY, Card("INBOX", 1, None, False, ()))
    made.prepare()
    return made


def names(root: Path) -> list[str]:
    return sorted(f"{path.parent.name}/{path.name}" for path in (root / INBOX_DIRECTORY).glob("[cnt][ue]*/*"))


def test_a_message_that_was_taken_away_since_is_written_again(tmp_path: Path) -> None:
    writer(tmp_path).write(message("a"), read)
    again = writer(tmp_path)
    (tmp_path / INBOX_DIRECTORY / "cur" / "a:2,S").unlink()

    assert again.write(message("a", int(SystemFlag.FLAGGED)), read) is True

    assert names(tmp_path) == ["cur/a:2,F"]


def test_a_message_that_was_cut_off_and_has_another_name_since_is_there_once(tmp_path: Path) -> None:
    writer(tmp_path).write(message("a"), read)
    (tmp_path / INBOX_DIRECTORY / "cur" / "a:2,S").write_bytes(b"half")

    assert writer(tmp_path).write(message("a", int(SystemFlag.FLAGGED)), read) is True

    assert names(tmp_path) == ["cur/a:2,F"]
    assert (tmp_path / INBOX_DIRECTORY / "cur" / "a:2,F").read_bytes() == TEXT


@pytest.mark.parametrize("times", range(4))
def test_a_maildir_has_nothing_of_a_message_expunged_while_it_is_read(times: int, tmp_path: Path) -> None:
    made = writer(tmp_path)
    with pytest.raises(NotFoundError):
        made.write(message("a"), gone_after(times))
    assert names(tmp_path) == []


@pytest.mark.parametrize("times", range(7))  # it is read twice
def test_an_mbox_has_nothing_of_a_message_expunged_while_it_is_read(times: int, tmp_path: Path) -> None:
    with MboxWriter(tmp_path, "box", set()) as made:
        made.write(message("a"), read)
        with pytest.raises(NotFoundError):
            made.write(message("gone"), gone_after(times))
        made.write(message("b"), read)
        made.finish()
    read_back = mailbox.mbox(tmp_path / "box.mbox", create=False)
    assert [one.get_payload() for one in read_back] == ["Hello\n", "Hello\n"]


def test_a_folder_that_was_taken_away_is_no_message_that_is_gone(tmp_path: Path) -> None:
    made = writer(tmp_path)
    shutil.rmtree(tmp_path / INBOX_DIRECTORY)
    with pytest.raises(FileNotFoundError):
        made.write(message("a"), read)
