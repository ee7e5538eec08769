"""The table from errors to replies is complete, and so are those for what the native reader tells."""

import re
from pathlib import Path

from esp.core import errors
from esp.smtp import replies


def every_error() -> set[type[errors.EspError]]:
    found: set[type[errors.EspError]] = set()
    waiting: list[type[errors.EspError]] = [errors.EspError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind.__module__ == errors.__name__:
                found.add(kind)
                waiting.append(kind)
    return found


def test_every_error_or_an_ancestor_of_it_has_a_reply() -> None:
    assert {kind for kind in every_error() if not set(kind.__mro__) & set(replies._STATUS)} == set()


def test_transient_errors_have_temporary_replies_and_the_others_lasting_ones() -> None:
    for kind in every_error():
        code = replies.reply_for(kind("detail"))
        assert re.fullmatch(rb"([45])\d\d \1\.\d\.\d{1,2} detail", code), code
        if kind.transient:
            assert code.startswith(b"4"), kind


def test_an_unknown_error_is_temporary() -> None:
    class NewError(errors.EspError):
        pass

    assert replies.reply_for(NewError("x")) == b"451 4.3.0 x"


def test_all_that_the_native_reader_tells_has_a_reply() -> None:
    source = Path(__file__).parents[2] / "rust" / "esp-py" / "src" / "smtp.rs"
    told = set(re.findall(r'(?:Problem|Fault)::\w+ => "([a-z-]+)"', source.read_text()))
    assert told == set(replies.PROBLEMS) | set(replies.FAULTS)
    assert set(replies.PROBLEMS) >= replies.OUT_OF_STEP
