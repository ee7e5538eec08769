"""IMAP URLs: any text names a message or is refused."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp.core.errors import InvalidError
from esp.imap.urls import message_url

PIECES = [
    "/",
    ";",
    "UID=",
    "UIDVALIDITY=",
    "SECTION=",
    "PARTIAL=",
    "1",
    "0",
    ".",
    "%",
    "00",
    "ff",
    "INBOX",
    "\n",
    "é",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=20).map("".join)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
numbers = st.integers(1, 2**32 - 1)


@given(text=texts)
def test_a_text_is_a_url_or_refused(text: str) -> None:
    try:
        named = message_url(text)
    except InvalidError:
        return
    assert named.uid > 0
    assert "\0" not in f"{named.mailbox}{named.section}"


@given(mailbox=names, section=names, uid=numbers, uidvalidity=numbers, partial=st.tuples(numbers, numbers))
def test_what_a_url_names_is_read_back(
    mailbox: str, section: str, uid: int, uidvalidity: int, partial: tuple[int, int]
) -> None:
    named = message_url(
        f"/{quote(mailbox, safe='')};UIDVALIDITY={uidvalidity}/;UID={uid}"
        f"/;SECTION={quote(section, safe='')}/;PARTIAL={partial[0]}.{partial[1]}"
    )
    assert (named.mailbox, named.section) == (mailbox, section)
    assert (named.uid, named.uidvalidity, named.partial) == (uid, uidvalidity, partial)


@pytest.mark.parametrize("url", ["/%00/;UID=1", "/a/;UID=1/;SECTION=%00", "/%ff/;UID=1", "/a/;UID=0"])
def test_what_no_name_holds_is_refused(url: str) -> None:
    with pytest.raises(InvalidError):
        message_url(url)
