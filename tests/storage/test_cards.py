"""The cards of many mailboxes, written together."""

import os
from pathlib import Path

import pytest

from esp.core.mailbox import SpecialUse
from esp.native import Store
from esp.storage import maildir
from esp.storage.maildir import CARD, Card, discard_cards, place_cards, prepare_cards


def cards(count: int) -> list[tuple[str, Card]]:
    return [(f"a/.b{n}", Card(f"b{n}", n, SpecialUse.SENT, n % 2 == 0, ("Later",))) for n in range(count)]


def test_cards_take_the_place_of_older_ones_when_they_get_their_names(tmp_path: Path) -> None:
    store = Store(str(tmp_path), 2, True, "host")
    store.make_folder("a/.b0")
    maildir.write_card(tmp_path, "a/.b0", Card("old", 9))

    *prepared, unwanted = prepare_cards(store, tmp_path, cards(101))
    assert maildir.read_card(tmp_path, "a/.b0") == Card("old", 9)
    place_cards(tmp_path, prepared)
    discard_cards([unwanted])

    assert [(folder, maildir.read_card(tmp_path, folder)) for folder, _ in cards(100)] == cards(100)
    assert {path.name for path in tmp_path.glob("a/.b*/*") if path.is_file()} == {CARD}
    assert not list(tmp_path.glob("a/.b*/tmp/*"))


def test_a_hundred_cards_are_not_synced_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path), 2, True, "host")
    for folder, _ in cards(100):
        store.make_folder(folder)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    place_cards(tmp_path, prepare_cards(store, tmp_path, cards(100)))

    assert synced == []


def test_what_cannot_be_written_leaves_the_old_cards_and_nothing_else(tmp_path: Path) -> None:
    store = Store(str(tmp_path), 2, True, "host")
    place_cards(tmp_path, prepare_cards(store, tmp_path, cards(20)))
    (tmp_path / "a" / ".broken").write_text("a file")

    with pytest.raises(OSError, match="broken"):
        prepare_cards(
            store, tmp_path, [*((f, Card("new", 1)) for f, _ in cards(20)), ("a/.broken", Card("x", 1))]
        )

    assert [(folder, maildir.read_card(tmp_path, folder)) for folder, _ in cards(20)] == cards(20)
    assert not list(tmp_path.glob("a/.b*/tmp/*"))
