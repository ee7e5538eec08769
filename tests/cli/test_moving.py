"""`esp-cli message import` and `export`: whole runs from the command line, read and written by Python's `mailbox`."""

import mailbox
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

MARCH = 1_709_287_200


def message(subject: str, body: str = "Hello\n") -> bytes:
    return f"From: a@example.test\nSubject: {subject}\nMessage-ID: <{subject}@x>\n\n{body}".encode()


@pytest.fixture
def user(cli: Cli, domain: str) -> str:
    address = f"alice@{domain}"
    assert cli("user", "add", address, "--password-stdin", text="secret\n").code == 0
    return address


def listed(cli: Cli, user: str, box: str = "INBOX") -> list[tuple[str, list[str], str]]:
    """Return subject, flags and date of each message, oldest first."""
    rows = cli("message", "list", user, "--mailbox", box, "--json").json
    return [(row["header"]["subject"], row["flags"], row["internal_date"]) for row in reversed(rows)]


def maildir(root: Path) -> Path:
    """A Maildir as Dovecot leaves it."""
    for folder in ("", ".Sent", ".Work.2026 &AOQ-"):
        for part in ("cur", "new", "tmp"):
            (root / folder / part).mkdir(parents=True)
    (root / "dovecot-keywords").write_text("0 $Forwarded\n1 Later\n")
    for name, subject in (
        ("cur/1709287201.M1P1.host,S=3:2,FSab", "second"),
        ("cur/1709287200.M1P1.host:2,RS", "first"),
        ("new/1709287202.M1P1.host", "third"),
        (".Work.2026 &AOQ-/cur/1.x:2,DT", "draft"),
    ):
        (root / name).write_bytes(message(subject))
        os.utime(root / name, (MARCH, MARCH))
    return root


def test_a_maildir_comes_with_folders_flags_keywords_dates_and_order(
    cli: Cli, user: str, tmp_path: Path
) -> None:
    root = maildir(tmp_path / "other")

    done = cli("message", "import", user, "--from", str(root))

    assert done.code == 0, done.err
    assert "imported 4 messages" in done.out
    date = datetime.fromtimestamp(MARCH, UTC).isoformat(sep=" ")
    assert listed(cli, user) == [
        ("first", ["\\Answered", "\\Seen"], date),
        ("second", ["\\Flagged", "\\Seen", "$Forwarded", "Later"], date),
        ("third", [], date),
    ]
    assert listed(cli, user, "Work/2026 ä") == [("draft", ["\\Deleted", "\\Draft"], date)]
    names = {one["name"]: one["subscribed"] for one in cli("mailbox", "list", user, "--json").json}
    assert names["Work/2026 ä"] is True
    raw = cli("message", "raw", user, "1", "--json").json["file"]
    kept = (tmp_path / "mail" / raw).read_bytes()
    assert kept == message("first").replace(b"\n", b"\r\n")


def test_a_second_run_brings_only_what_is_new(cli: Cli, user: str, tmp_path: Path) -> None:
    root = maildir(tmp_path / "other")
    assert cli("message", "import", user, "--from", str(root)).code == 0
    (root / "cur/1709287200.M1P1.host:2,RS").rename(root / "cur/1709287200.M1P1.host:2,FRS")
    (root / "new/1709287209.x").write_bytes(message("late"))

    again = cli("message", "import", user, "--from", str(root), "--json").json

    assert sum(one["imported"] for one in again["folders"]) == 1
    assert sum(one["present"] for one in again["folders"]) == 4
    assert [subject for subject, _, _ in listed(cli, user)] == ["first", "second", "third", "late"]
    afresh = cli("message", "import", user, "--from", str(root), "--afresh", "--json").json
    assert sum(one["imported"] for one in afresh["folders"]) == 5


def mbox(path: Path) -> mailbox.mbox:
    """An mbox by Python, whose quoting is mboxo."""
    made = mailbox.mbox(path)
    for number, flags in enumerate(("", "RO", "ROAF", "DT")):
        body = f"From here on\n> quoted\n>From there\n\nFrom a@b Thu Feb 30 00:00:00 2024\n{number}\n"
        one = mailbox.mboxMessage(message(f"m{number}", body))
        one.set_flags(flags)
        one.set_from("somebody@example.test", (2024, 3, 1, 10, 0, number, 4, 61, 0))
        made.add(one)
    large = mailbox.mboxMessage(message("large", "0123456789 0123456789\n" * 60_000))
    large.set_from("somebody@example.test", (2024, 3, 1, 10, 0, 9, 4, 61, 0))
    made.add(large)
    made.flush()
    return made


def test_an_mbox_comes_with_flags_dates_and_its_octets(cli: Cli, user: str, tmp_path: Path) -> None:
    mbox(tmp_path / "box")

    done = cli("message", "import", user, "--from", str(tmp_path / "box"), "--format", "mboxo")

    assert done.code == 0, done.err
    assert listed(cli, user) == [
        ("m0", [], "2024-03-01 10:00:00+00:00"),
        ("m1", ["\\Seen"], "2024-03-01 10:00:01+00:00"),
        ("m2", ["\\Answered", "\\Flagged", "\\Seen"], "2024-03-01 10:00:02+00:00"),
        ("m3", ["\\Deleted", "\\Draft"], "2024-03-01 10:00:03+00:00"),
        ("large", [], "2024-03-01 10:00:09+00:00"),
    ]
    files = [cli("message", "raw", user, str(uid), "--json").json["file"] for uid in (3, 5)]
    small, large = ((tmp_path / "mail" / file).read_bytes() for file in files)
    # What Python does not quote again (mboxo is not reversible) is one ">" short.
    body = "From here on\n> quoted\nFrom there\n\nFrom a@b Thu Feb 30 00:00:00 2024\n2\n"
    assert small == message("m2", body).replace(b"\n", b"\r\n")
    assert large == message("large", "0123456789 0123456789\n" * 60_000).replace(b"\n", b"\r\n")


def test_an_mbox_that_another_program_marked_as_read_is_not_brought_twice(
    cli: Cli, user: str, tmp_path: Path
) -> None:
    box = mbox(tmp_path / "box")
    assert cli("message", "import", user, "--from", str(tmp_path / "box")).code == 0
    for key in list(box.iterkeys()):
        one = box[key]
        one.set_flags("RO")
        box[key] = one
    box.add(mailbox.mboxMessage(message("late")))
    box.flush()

    again = cli("message", "import", user, "--from", str(tmp_path / "box"), "--json").json

    assert [(one["imported"], one["present"]) for one in again["folders"]] == [(1, 5)]


def test_folders_are_chosen_renamed_and_put_below_another(cli: Cli, user: str, tmp_path: Path) -> None:
    root = maildir(tmp_path / "other")
    command = ("message", "import", user, "--from", str(root))

    planned = cli(*command, "--dry-run", "--into", "Old", "--json").json
    assert {(one["folder"], one["mailbox"]) for one in planned} == {
        (".", "Old"),
        (".Sent", "Old/Sent"),
        (".Work.2026 &AOQ-", "Old/Work/2026 ä"),
    }
    done = cli(
        *command, "--exclude", "Sent", "--rename", "Work/2026 ä=Drafts", "--exclude", "INBOX", "--json"
    )
    assert [(one["mailbox"], one["imported"]) for one in done.json["folders"]] == [("Drafts", 1)]
    only = cli(*command, "--mailbox", "INBOX", "--json").json
    assert [(one["mailbox"], one["imported"]) for one in only["folders"]] == [("INBOX", 3)]


def test_a_folder_of_mboxes_comes_as_mailboxes(cli: Cli, user: str, tmp_path: Path) -> None:
    for name in ("Inbox", "Archives.sbd/2024", "Archives", "Inbox.msf"):
        path = tmp_path / "Local Folders" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            b"// not one\n"
            if name.endswith("msf")
            # Thunderbird: no empty line between messages, one deleted but not compacted.
            else b"From - Fri Mar 01 10:00:00 2024\nX-Mozilla-Status: 0005\n" + message(name)
            + b"From - Fri Mar 01 10:00:00 2024\nX-Mozilla-Status: 0009\n" + message("deleted")
        )  # fmt: skip

    assert cli("message", "import", user, "--from", str(tmp_path / "Local Folders")).code == 0

    when = "2024-03-01 10:00:00+00:00"
    assert listed(cli, user) == [("Inbox", ["\\Flagged", "\\Seen"], when)]
    assert listed(cli, user, "Archives/2024") == [("Archives.sbd/2024", ["\\Flagged", "\\Seen"], when)]


def test_a_full_account_stops_the_import_and_more_room_lets_it_go_on(
    cli: Cli, user: str, tmp_path: Path
) -> None:
    root = maildir(tmp_path / "other")
    assert cli("user", "quota", user, "none", "--messages", "2").code == 0

    stopped = cli("message", "import", user, "--from", str(root))

    assert (stopped.code, "no room" in stopped.err) == (1, True)
    assert cli("user", "quota", user, "none").code == 0
    assert cli("message", "import", user, "--from", str(root)).code == 0
    assert len(listed(cli, user)) + len(listed(cli, user, "Work/2026 ä")) == 4


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--from", "/nowhere"), "No such file"),
        (("--from", "imaps://host"), "imaps://USER@HOST"),
        (("--from", "imaps://user@host"), "--password-stdin"),
        (("--from", "/etc/hostname"), "no mbox"),
        (("--from", "/etc/hostname", "--format", "maildir"), "no Maildir"),
        (("--from", "/etc/hostname", "--rename", "x"), "OLD=NEW"),
    ],
)
def test_what_cannot_be_a_source_is_said(cli: Cli, user: str, arguments: tuple[str, ...], what: str) -> None:
    done = cli("message", "import", user, *arguments)

    assert done.code in {1, 2}
    assert what in done.err
    assert "Traceback" not in done.err


ODD = {
    "regular": message("regular").replace(b"\n", b"\r\n"),
    "quoted": message("quoted", "From me\n>From you\n>>From them\n").replace(b"\n", b"\r\n"),
    "status": b"Status: RO\r\n" + message("status").replace(b"\n", b"\r\n"),
    "mixed": message("mixed").replace(b"\n", b"\r\n") + b"bare\nline\r\n",
    "unended": message("unended").replace(b"\n", b"\r\n") + b"no end",
    "blank": message("blank").replace(b"\n", b"\r\n") + b"\r\n\r\n",
    "eight": message("eight", "\xe4\xff\0\n").replace(b"\n", b"\r\n"),
    "count": b"Content-Length: 3\r\n" + message("count").replace(b"\n", b"\r\n"),
    "large": message("large", "x" * 70 + "\n").replace(b"\n", b"\r\n") + b"0123456789\r\n" * 200_000,
}


def filled(cli: Cli, user: str, folder: Path) -> None:
    """Import messages of every kind, octet by octet as in `ODD`."""
    for part in ("cur", "new", "tmp"):
        (folder / ".A" / part).mkdir(parents=True)
    (folder / "cur").mkdir()
    (folder / ".A" / "dovecot-keywords").write_text("0 $Forwarded\n1 Later\n")
    for number, octets in enumerate(ODD.values()):
        path = folder / ".A" / "cur" / f"{number}.x:2,{('S', 'FSb', '', 'RTab')[number % 4]}"
        path.write_bytes(octets)
        os.utime(path, (MARCH + number, MARCH + number))
    done = cli("message", "import", user, "--from", str(folder), "--json")
    assert done.code == 0, done.err


def contents(cli: Cli, user: str, mail: Path) -> list[tuple[bytes, list[str], str]]:
    """Return octets, flags and date of each message in `A`."""
    rows = cli("message", "list", user, "--mailbox", "A", "--json").json
    return [(mail.joinpath(r["file"]).read_bytes(), r["flags"], r["internal_date"]) for r in reversed(rows)]


def second_user(cli: Cli, user: str) -> str:
    address = f"bob@{user.partition('@')[2]}"
    assert cli("user", "add", address, "--password-stdin", text="secret\n").code == 0
    return address


def test_an_exported_maildir_is_read_by_python_and_comes_back_the_same(
    cli: Cli, user: str, tmp_path: Path
) -> None:
    filled(cli, user, tmp_path / "source")
    out = tmp_path / "out"

    done = cli("message", "export", user, "--to", str(out))

    assert (done.code, "exported 9 messages" in done.out) == (0, True), done.err
    read = mailbox.Maildir(out, create=False).get_folder("A")
    assert sorted(map(read.get_bytes, read.keys())) == sorted(ODD.values())
    assert sorted("".join(c for c in one.get_flags() if c.isupper()) for one in read) == sorted(
        ["S", "FS", "", "RT"] * 2 + ["S"]
    )
    assert {one.get_date() for one in read} == {MARCH + number for number in range(9)}
    assert (out / ".A" / "dovecot-keywords").read_text() == "0 Later\n1 $Forwarded\n"
    bob = second_user(cli, user)
    assert cli("message", "import", bob, "--from", str(out)).code == 0
    assert contents(cli, bob, tmp_path / "mail") == contents(cli, user, tmp_path / "mail")
    assert {(b["name"], b["special_use"]) for b in cli("mailbox", "list", bob, "--json").json} == {
        (b["name"], b["special_use"]) for b in cli("mailbox", "list", user, "--json").json
    }


def test_an_exported_mbox_is_read_by_python_and_comes_back_the_same(
    cli: Cli, user: str, tmp_path: Path
) -> None:
    filled(cli, user, tmp_path / "source")
    out = tmp_path / "out"

    done = cli("message", "export", user, "--to", str(out), "--format", "mboxrd")

    assert done.code == 0, done.err
    # "count" loses a field, "unended" gets an end of line.
    assert done.err.endswith("2 messages are not as they were to the octet: an mbox cannot hold them\n")
    read = mailbox.mbox(out / "A.mbox", create=False)
    assert [one["Subject"] for one in read] == list(ODD)
    assert [one.get_flags() for one in read] == ["RO", "ROF", "O", "OAD"] * 2 + ["RO"]
    bob = second_user(cli, user)
    assert cli("message", "import", bob, "--from", str(out)).code == 0
    before, after = (contents(cli, who, tmp_path / "mail") for who in (user, bob))
    assert [(set(flags), date) for _, flags, date in after] == [
        (set(flags), date) for _, flags, date in before
    ]
    changed = [name for name, one, other in zip(ODD, before, after, strict=True) if one[0] != other[0]]
    assert changed == ["unended", "count"]
    assert after[3][0] == ODD["mixed"]


def test_an_export_goes_on_where_it_was_and_overwrites_nothing_else(
    cli: Cli, user: str, tmp_path: Path
) -> None:
    filled(cli, user, tmp_path / "source")
    out = tmp_path / "out"
    assert cli("message", "export", user, "--to", str(out)).code == 0
    cut_off, *_, gone = sorted((out / ".A" / "cur").iterdir())
    cut_off.write_bytes(b"half")
    gone.unlink()

    again = cli("message", "export", user, "--to", str(out), "--json").json

    assert [(o["messages"], o["present"]) for o in again["mailboxes"] if o["mailbox"] == "A"] == [(2, 7)]
    read = mailbox.Maildir(out, create=False).get_folder("A")
    assert sorted(map(read.get_bytes, read.keys())) == sorted(ODD.values())
    other = cli("message", "export", second_user(cli, user), "--to", str(out))
    assert (other.code, "has an export of" in other.err) == (2, True), other.err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary").touch()
    mine = cli("message", "export", user, "--to", str(tmp_path / "mine"))
    assert (mine.code, "is not empty" in mine.err) == (2, True), mine.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["diary"]


def test_a_message_whose_file_is_gone_is_counted_and_the_others_are_written(
    cli: Cli, user: str, tmp_path: Path
) -> None:
    filled(cli, user, tmp_path / "source")
    file = cli("message", "list", user, "--mailbox", "A", "--json").json[0]["file"]
    (tmp_path / "mail" / file).unlink()

    for kind in ("maildir", "mboxrd"):
        done = cli("message", "export", user, "--to", str(tmp_path / kind), "--format", kind, "--json")
        assert done.code == 0, done.err
        (box,) = (one for one in done.json["mailboxes"] if one["mailbox"] == "A")
        assert (box["messages"], box["gone"]) == (8, 1)
