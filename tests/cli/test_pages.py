"""What is generated from the code is equal to it."""

import re
from pathlib import Path

import pytest

from esp.cli import pages
from tests.support.instance import PROJECT

PAGES = pages.pages(PROJECT)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_page_is_what_make_docs_writes(path: Path) -> None:
    assert path.read_text() == PAGES[path], "run `make docs`"


def test_every_log_event_has_one_word_for_a_name() -> None:
    page = PAGES[PROJECT / "docs/reference/events.md"]
    events = re.findall(r"^\| (.+?) \| [a-z]+ \| `esp", page, re.MULTILINE)
    assert "database_lost" in events
    assert [event for event in events if not re.fullmatch("[a-z]+(_[a-z]+)*", event)] == []


def test_every_relative_link_of_the_documents_leads_somewhere() -> None:
    broken = [
        f"{document.relative_to(PROJECT)}: {target}"
        for document in [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text())
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert broken == []


def test_every_decision_has_its_parts() -> None:
    for decision in (PROJECT / "docs/adr").glob("*.md"):
        text = decision.read_text()
        for part in ("## Context", "## Decision", "## Consequences", "## What would change our mind"):
            assert part in text, (decision.name, part)


@pytest.mark.parametrize("page", ["TODO.md", "docs/rfc.md"])
def test_every_test_that_a_list_names_is_there(page: str) -> None:
    """Full paths, patterns among them; in the list of RFCs also dialogues and the tests beside them by their names."""
    text = (PROJECT / page).read_text()
    named = set(
        re.findall(r"`((?:tests|benchmarks|docs)/[^`\s]+|[a-z0-9_]+\.txt|test_[a-z0-9_]+\.py)`", text)
    )
    assert named
    folders = ("", "tests/golden/imap/", "tests/golden/smtp/", "tests/imap/", "tests/smtp/")
    assert [
        name for name in sorted(named) if not any(any(PROJECT.glob(folder + name)) for folder in folders)
    ] == []
