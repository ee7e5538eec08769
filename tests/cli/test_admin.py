"""`esp-cli` from the command line to the rows and back: exit codes, tables, JSON."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from esp.cli import admin, console
from tests.cli.conftest import Cli


def test_a_domain_is_added_listed_switched_and_removed(cli: Cli, domain: str) -> None:
    assert domain in cli("domain", "list").out
    assert domain in {d["name"] for d in cli("domain", "list", "--json").json}
    assert cli("domain", "disable", domain, "--json").json["enabled"] is False
    assert cli("domain", "enable", domain).out == f"enabled {domain}\n"
    assert "accounts       0" in cli("domain", "show", domain).out
    assert cli("domain", "remove", domain, "--json").json == {"removed": domain}
    gone = cli("domain", "show", domain)
    assert (gone.code, gone.out, gone.err) == (1, "", f"esp-cli: Domain {domain} does not exist\n")


def test_an_account_lives_its_life(cli: Cli, domain: str, tmp_path: Path) -> None:
    address = f"alice@{domain}"
    made = cli(
        "user", "add", address, "--password-stdin", "--quota", "1GiB", "--admin", "--json", text="secret\n"
    )
    assert made.code == 0, made.err
    assert (made.json["address"], made.json["quota"]["limit"], made.json["admin"]) == (address, 1 << 30, True)
    assert (tmp_path / "mail" / domain / "alice" / "new").is_dir()
    assert "1 GiB" in cli("user", "list").out
    assert [u["address"] for u in cli("user", "list", "--domain", domain, "--json").json] == [address]
    assert cli("user", "quota", address, "none").out == f"{address}: 0 B used of none\n"
    assert (
        cli("user", "quota", address, "5MiB", "--messages", "7", "--json").json["quota"]["message_limit"] == 7
    )
    assert cli("user", "password", address, "--password-stdin", text="another\n").code == 0
    assert cli("user", "disable", address).out == f"disabled {address}\n"
    assert "can log in     no" in cli("user", "show", address).out
    assert cli("user", "enable", address, "--json").json["enabled"] is True
    assert cli("user", "remove", address.upper()).out == f"removed {address}\n"
    assert not (tmp_path / "mail" / domain / "alice").exists()


def test_no_secret_is_ever_printed(cli: Cli, domain: str) -> None:
    address = f"alice@{domain}"
    for arguments in (("add", address), ("password", address)):
        done = cli("user", *arguments, "--password-stdin", "--json", text="open sesame\n")
        assert done.code == 0
        assert "sesame" not in done.out + done.err
        assert "argon2" not in cli("user", "show", address, "--json").out


def test_aliases_of_every_kind_are_handled_alike(cli: Cli, domain: str) -> None:
    cli("user", "add", f"alice@{domain}", "--password-stdin", text="secret\n")
    other = f"other-{domain}"
    assert cli("alias", "add", f"info@{domain}", f"alice@{domain}", "bob@elsewhere.test").code == 0
    lost = cli("alias", "add", f"sales@{domain}", f"alcie@{domain}")
    assert (lost.code, lost.err) == (
        1,
        f"esp-cli: There is no account or alias alcie@{domain}: make it first\n",
    )
    assert cli("alias", "add", f"@{domain}", f"alice@{domain}").out == f"added @{domain}\n"
    assert cli("alias", "add", f"@{other}", f"@{domain}").code == 0
    listed = {a["alias"]: a["targets"] for a in cli("alias", "list", "--domain", domain, "--json").json}
    assert listed == {
        f"info@{domain}": [f"alice@{domain}", "bob@elsewhere.test"],
        f"@{domain}": [f"alice@{domain}"],
        f"@{other}": [f"@{domain}"],
    }
    assert f"alice@{domain}, bob@elsewhere.test" in cli("alias", "list").out
    for alias in listed:
        assert cli("alias", "remove", alias).out == f"removed {alias}\n"
    assert cli("alias", "list", "--domain", domain, "--json").json == []
    assert cli("alias", "remove", f"@{domain}").code == 1


def test_who_is_removed_leaves_aliases_that_are_told_of(cli: Cli, domain: str) -> None:
    cli("user", "add", f"alice@{domain}", "--password-stdin", text="secret\n")
    cli("alias", "add", f"@{domain}", f"alice@{domain}")
    cli("alias", "add", f"info@{domain}", f"whoever@{domain}")
    told = f"removed alice@{domain}\naliases still lead to it, in vain: @{domain}\n"
    assert cli("user", "remove", f"alice@{domain}").out == told
    (line,) = [line for line in cli("alias", "list").out.splitlines() if line.startswith(f"@{domain} ")]
    assert line.split() == [f"@{domain}", f"alice@{domain}", "yes", f"alice@{domain}"]
    told = f"removed @{domain}\naliases still lead to it, in vain: info@{domain}\n"
    assert cli("alias", "remove", f"@{domain}").out == told
    assert cli("alias", "remove", f"info@{domain}", "--json").json["aliases"] == []


def test_many_accounts_are_imported_and_the_others_named(cli: Cli, domain: str, tmp_path: Path) -> None:
    cli("user", "add", f"u1@{domain}", "--password-stdin", text="secret\n")
    file = tmp_path / "users.csv"
    lines = [f'u{n}@{domain},"pass, word {n}",{"5MiB" if n % 2 else ""}' for n in range(40)]
    file.write_text(
        "email,password,quota\n" + "\n".join([*lines, "not an address,x", f"empty@{domain},", ""])
    )
    done = cli("user", "import", str(file), "--json")
    assert done.code == 1
    assert done.json["created"] == 39
    assert [f["line"] for f in done.json["failed"]] == [3, 42, 43]
    users = {u["address"]: u for u in cli("user", "list", "--domain", domain, "--json").json}
    assert len(users) == 40
    assert users[f"u3@{domain}"]["quota"]["limit"] == 5 << 20
    text = cli("user", "import", str(file))
    assert "added 0 of 42" in text.out
    assert f"users.csv:3: u1@{domain}: An account with this address already exists" in text.err


def test_no_line_of_an_import_is_passed_over_in_silence(cli: Cli, domain: str, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text(f"alice,secret\n,,,\n\n  \nbob@{domain},secret\nemail,password\n")
    done = cli("user", "import", str(file), "--json")
    assert (done.code, done.json["created"]) == (1, 1)
    assert [(f["line"], f["email"]) for f in done.json["failed"]] == [(1, "alice"), (2, ""), (6, "email")]
    text = cli("user", "import", str(file)).err
    assert "users.csv:1: alice: " in text
    assert "users.csv:2: no address\n" in text


@pytest.mark.parametrize("heading", ["email,password", "E-Mail", " Address ,x", "\ufeffemail,password"])
def test_a_line_of_headings_may_come_first(cli: Cli, domain: str, tmp_path: Path, heading: str) -> None:
    file = tmp_path / "users.csv"
    file.write_text(f"{heading}\ncarol@{domain},secret\n", "utf-8")
    assert cli("user", "import", str(file), "--json").json == {"created": 1, "failed": []}


def test_an_import_may_make_its_domains(cli: Cli, domain: str, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("".join(f"u{n}@new{n % 3}.{domain},secret{n}\n" for n in range(9)))
    assert cli("user", "import", str(file)).code == 1
    assert cli("user", "import", str(file), "--add-domains", "--json").json == {"created": 9, "failed": []}


@pytest.fixture
def alice(cli: Cli, domain: str, tmp_path: Path) -> str:
    """An account with three messages: two in INBOX, one of them seen, and one in Sent."""
    address = f"alice@{domain}"
    assert cli("user", "add", address, "--password-stdin", text="secret\n").code == 0
    home = tmp_path / "mail" / domain / "alice"
    for number, file in enumerate(
        ("new/1.M1P1Q1.host", "cur/2.M1P1Q1.host:2,S", ".Sent/new/3.M1P1Q1.host"), 1
    ):
        (home / file).write_bytes(
            b"From: =?utf-8?q?J=C3=B6rg?= <joerg@elsewhere.test>\r\n"
            b"Subject: Number %d\x1b[2J\r\n\tgoes on\r\nMessage-ID: <%d@x>\r\n\r\nThe text of %d.\r\n"
            % (number, number, number)
        )
    rebuilt = cli("mailbox", "rebuild", address, "--json")
    assert rebuilt.code == 0, rebuilt.err
    assert sum(r["messages"] for r in rebuilt.json) == 3
    return address


def test_mailboxes_are_made_renamed_listed_and_deleted(cli: Cli, alice: str) -> None:
    assert cli("mailbox", "create", alice, "Work/Plans").out == "created Work/Plans\n"
    assert cli("mailbox", "create", alice, "Work/Plans").code == 1
    assert (
        cli("mailbox", "rename", alice, "Work/Plans", "Ideen/Pläne", "--json").json["name"] == "Ideen/Pläne"
    )
    boxes = {m["name"]: m for m in cli("mailbox", "list", alice, "--json").json}
    assert (boxes["INBOX"]["messages"], boxes["INBOX"]["unseen"], boxes["Sent"]["messages"]) == (2, 1, 1)
    assert boxes["Sent"]["special_use"] == "\\Sent"
    assert "Ideen/Pläne" in cli("mailbox", "list", alice).out
    assert cli("mailbox", "delete", alice, "Ideen/Pläne").code == 0
    assert cli("mailbox", "delete", alice, "INBOX").code == 1
    assert "Ideen/Pläne" not in cli("mailbox", "list", alice).out


def test_messages_are_listed_shown_and_deleted(cli: Cli, alice: str) -> None:
    listed = cli("message", "list", alice, "--json").json
    assert len(listed) == 2
    subjects = {m["header"]["subject"]: m for m in listed}
    seen = next(m for m in listed if m["flags"] == ["\\Seen"])
    assert seen["header"]["from"] == "Jörg <joerg@elsewhere.test>"
    assert all(s.startswith("Number") and s.endswith("goes on") for s in subjects)
    table = cli("message", "list", alice).out
    assert "Jörg" in table
    assert "\x1b" not in table
    uid = str(seen["uid"])
    shown = cli("message", "show", alice, uid)
    assert "The text of 2." in shown.out
    assert "\x1b" not in shown.out
    assert cli("message", "show", alice, uid, "--json").json["preview"] == "The text of 2."
    assert len(cli("message", "list", alice, "--mailbox", "Sent", "--json").json) == 1
    assert cli("message", "list", alice, "--before", "1", "--json").json == []
    assert cli("message", "delete", alice, uid).out == "deleted 1\n"
    gone = cli("message", "show", alice, uid)
    assert (gone.code, gone.err) == (1, f"esp-cli: There is no message {uid} in INBOX\n")
    assert [m["uid"] for m in cli("message", "list", alice, "--json").json] != [seen["uid"]]


def test_a_raw_message_is_its_octets(cli: Cli, alice: str, tmp_path: Path) -> None:
    found = cli("message", "raw", alice, "1", "--json").json
    octets = (tmp_path / "mail" / found["file"]).read_bytes()
    assert cli("message", "raw", alice, "1").out.encode() == octets


def test_a_check_finds_what_differs_and_mends_it(cli: Cli, alice: str, tmp_path: Path) -> None:
    fine = cli("mailbox", "check", alice, "--json")
    assert (fine.code, fine.json["findings"], fine.json["messages"]) == (0, [], 3)
    (tmp_path / "mail" / cli("message", "raw", alice, "1", "--json").json["file"]).unlink()
    broken = cli("mailbox", "check", alice)
    assert broken.code == 1
    assert "missing-file" in broken.out
    mended = cli("mailbox", "check", alice, "--fix", "--json")
    assert (mended.code, [f["mended"] for f in mended.json["findings"]]) == (0, [True])
    assert (
        cli("mailbox", "check", alice).out == "nothing differs\n1 accounts, 6 mailboxes, 2 messages checked\n"
    )
    assert alice not in cli("mailbox", "check", "--all").out


def test_nothing_is_mended_while_a_journal_has_what_is_missing(cli: Cli, alice: str, tmp_path: Path) -> None:
    (tmp_path / "mail" / cli("message", "raw", alice, "1", "--json").json["file"]).unlink()
    (tmp_path / "mail/.journal/unreadable").mkdir(parents=True)

    refused = cli("mailbox", "check", alice, "--fix")

    assert refused.code == 1
    assert "journal_not_replayed" in refused.err
    assert refused.err.endswith("esp-cli: A journal was not replayed; until it is, nothing can be mended\n")
    (tmp_path / "mail/.journal/unreadable").rmdir()
    assert "missing-file" in cli("mailbox", "check", alice).out


def test_an_account_that_only_files_know_comes_back(cli: Cli, alice: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    home = tmp_path / "mail" / alice.partition("@")[2] / "alice"
    before = {m["name"]: m for m in cli("mailbox", "list", alice, "--json").json}
    shutil.copytree(home, kept)
    cli("user", "remove", alice)
    shutil.copytree(kept, home)
    assert cli("mailbox", "rebuild", alice.upper()).code == 0
    after = {m["name"]: m for m in cli("mailbox", "list", alice, "--json").json}
    assert {n: m["messages"] for n, m in after.items()} == {n: m["messages"] for n, m in before.items()}
    assert all(after[name]["uidvalidity"] > before[name]["uidvalidity"] for name in before)


def test_what_there_is_is_counted(cli: Cli, domain: str) -> None:
    before = cli("stats", "--json").json
    cli("user", "add", f"alice@{domain}", "--password-stdin", text="secret\n")
    after = cli("stats", "--json").json
    assert (after["accounts"], after["mailboxes"]) == (before["accounts"] + 1, before["mailboxes"] + 6)
    assert "accounts" in cli("stats").out


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "show", "nobody@nowhere.test"),
        ("user", "list", "--domain", "nowhere.test"),
        ("domain", "remove", "nowhere.test"),
        ("alias", "add", "a@nowhere.test", "b@nowhere.test"),
        ("user", "import", "/nonexistent.csv"),
    ],
)
def test_what_fails_exits_1_with_one_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith("esp-cli: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "add", "no address", "--password-stdin"),
        ("user", "add", "a@b.test"),
        ("user", "add", "a@b.test", "--password-stdin", "--quota", "much"),
        ("user", "quota", "a@b.test"),
        ("user", "paint", "a@b.test"),
        ("users",),
        ("domain", "add", "-.test"),
        ("domain", "list", "--colour"),
        ("alias", "add", "a@b.test"),
        ("mailbox", "check"),
        ("mailbox", "check", "a@b.test", "--all"),
        ("mailbox", "create", "a@b.test", "X", "--use", "Spam"),
        ("message", "show", "a@b.test", "first"),
    ],
)
def test_wrong_usage_exits_2_and_says_what(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("esp-cli: ")


def test_a_configuration_that_is_none_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["domain", "list", "--config", "/none.yaml"],
        ["--config=/none.yaml", "domain", "list"],
    ):
        monkeypatch.setattr(sys, "argv", ["esp-cli", *arguments])
        with pytest.raises(SystemExit, match="2"):
            admin.main()
        assert "/none.yaml" in capsys.readouterr().err


def test_a_database_that_is_away_is_said_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "esp.yaml"
    config.write_text(
        f"database: {{dsn: 'postgresql://esp@/esp?host={tmp_path}'}}\nredis: {{url: 'unix://{tmp_path}/r'}}\n"
        f"storage: {{path: {tmp_path / 'mail'}}}\n"
        "smtp: {submissions_port: 0}\n"
        "imap: {imaps_port: 0}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "esp.cli.admin", "domain", "list", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("esp-cli: No connection to the database")
    assert done.stderr.count("\n") == 1


def _commands(app: Any, path: tuple[str, ...] = ()) -> Any:
    yield path
    for name in app:
        if not name.startswith("-"):
            yield from _commands(app[name], (*path, name))


@pytest.mark.parametrize("path", list(_commands(admin.app)), ids=lambda path: " ".join(path) or "esp-cli")
def test_there_is_help_on_every_level(cli: Cli, path: tuple[str, ...]) -> None:
    done = cli(*path, "--help")
    assert done.code == 0
    assert "Usage: esp-cli" in done.out


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (None, "none"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1 << 30, "1 GiB"),
        (3 << 41, "6.0 TiB"),
    ],
)
def test_sizes_are_written_for_people(octets: int | None, text: str) -> None:
    assert console.size(octets) == text


def test_strangers_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.fields([("subject", "a\x1b[2Jb\nc")])
    assert capsys.readouterr().out == "subject  a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c\n"


def test_a_row_is_a_line_for_a_program_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("name", "text", "n", rows=[("日本", "x" * 12_000, 1), ("a", "", 2)], empty="nothing")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"name  {'text':12000}  n",
        f"日本  {'x' * 12_000}  1",
        f"a     {'':12000}  2",
    ]


def test_a_table_too_long_to_be_folded_has_a_line_for_each_row_on_a_screen_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    rows = [(f"{'word ' * 40}", n) for n in range(console.FOLDED + 1)]
    console.table("text", "n", rows=rows, empty="nothing")
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 1


def test_access_to_a_mailbox_is_given_and_taken(cli: Cli, domain: str) -> None:
    cli("user", "add", f"anna@{domain}", "--password-stdin", text="secret enough\n")
    assert cli("user", "add", f"team@{domain}", "--shared").code == 0
    assert cli("user", "show", f"team@{domain}", "--json").json["shared"] is True
    box = (f"team@{domain}", "INBOX")
    cli("mailbox", "acl", "set", *box, f"anna@{domain}", "lrs")
    cli("mailbox", "acl", "set", *box, f"anna@{domain}", "+w")
    cli("mailbox", "acl", "set", *box, f"anna@{domain}", "-s")
    listed = cli("mailbox", "acl", "set", *box, "-anyone", "p", "--json").json
    assert listed == [
        {"identifier": f"team@{domain}", "rights": "lrswipkxtea"},
        {"identifier": f"anna@{domain}", "rights": "lrw"},
        {"identifier": "-anyone", "rights": "p"},
    ]
    cli("mailbox", "acl", "set", *box, f"anna@{domain}", "none")
    assert f"anna@{domain}" not in cli("mailbox", "acl", "list", *box).out
    assert cli("mailbox", "acl", "set", *box, f"nobody@{domain}", "lr").code == 1
    assert cli("mailbox", "acl", "set", *box, f"anna@{domain}", "q").code == 2


def test_help_imports_nothing_that_works() -> None:
    """A command that only talks must not wait for what talks to databases."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "esp.cli.admin", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"asyncpg", "redis", "structlog", "prometheus_client", "esp.native"}


def test_the_quarantine_is_listed_and_emptied(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mail" / "quarantine" / "example.test").mkdir(parents=True)
    (tmp_path / "mail" / "quarantine" / "example.test" / "orphan").write_bytes(b"mail")

    assert "example.test/orphan" in cli("mailbox", "quarantine", "list").out
    assert cli("mailbox", "quarantine", "delete", "--older", "1d").out == "deleted 0 files\n"
    assert cli("mailbox", "quarantine", "delete", "--older", "soon").code == 2
    assert cli("mailbox", "quarantine", "delete", "--older", "0", "--json").json == {"deleted": 1}
    assert cli("mailbox", "quarantine", "list", "--json").json == []


def test_numbers_that_no_row_can_have_are_refused(cli: Cli, domain: str) -> None:
    address = f"alice@{domain}"
    cli("user", "add", address, "--shared")
    for arguments in (
        ("user", "quota", address, "99999999999999999999GiB"),
        ("message", "raw", address, "99999999999999999999"),
        ("message", "show", address, "0"),
        ("message", "delete", address, "1", "4294967296"),
        ("message", "list", address, "--limit", "-1"),
        ("message", "list", address, "--before", "99999999999999999999"),
    ):
        done = cli(*arguments)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), arguments
        assert done.err.startswith("esp-cli: ")


def test_a_name_that_is_not_utf_8_is_refused(cli: Cli, domain: str) -> None:
    done = cli("mailbox", "list", f"\udcff@{domain}")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"esp-cli: b'\\xff@{domain}' is not UTF-8\n"


def test_each_problem_of_a_configuration_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("smtp: {prot: 25, submissions_port: 0}\nimap: {imaps_port: 0}\nfoo: {}\n")
    monkeypatch.setattr(sys, "argv", ["esp-cli", "user", "list", "--config", str(path)])
    with pytest.raises(SystemExit, match="2"):
        admin.main()
    assert [line.split(":")[:3] for line in capsys.readouterr().err.splitlines()] == [
        ["esp-cli", f" {path}", " smtp.prot"],
        ["esp-cli", f" {path}", " foo"],
    ]
