"""Addresses: the grammar of RFC 5321 and 6531, and one form for what is the same."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp.core.address import Address, fold, parse, parse_domain
from esp.core.errors import AddressSyntaxError

ATEXT = string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~"
atoms = st.text(ATEXT, min_size=1, max_size=15)
dot_strings = st.lists(atoms, min_size=1, max_size=4).map(".".join)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=5).map(".".join)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64)


@given(local_part=dot_strings, domain=domains)
def test_an_ordinary_address_reads_as_written(local_part: str, domain: str) -> None:
    address = parse(f"{local_part}@{domain.upper()}")
    assert address == Address(local_part, domain)
    assert str(address) == f"{local_part}@{domain}"


@given(local_part=printable, domain=domains)
def test_any_printable_local_part_survives_writing_and_reading(local_part: str, domain: str) -> None:
    address = Address(local_part, domain)
    assert parse(str(address)) == address


@given(text=st.text(max_size=100))
def test_any_text_is_an_address_or_a_syntax_error(text: str) -> None:
    try:
        address = parse(text)
    except AddressSyntaxError as error:
        assert "\n" not in error.detail
        assert error.detail.isascii()
    else:
        assert parse(str(address)) == address


@given(text=st.text(min_size=1, max_size=60))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(local_part=dot_strings)
def test_the_case_of_a_local_part_is_kept_until_folded(local_part: str) -> None:
    address = parse(f"{local_part}@example.test")
    assert address.local_part == local_part
    assert address.folded() == parse(f"{local_part.upper()}@Example.TEST").folded()


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ('"alice"@example.test', "alice", "example.test"),
        (r'"a\lice"@example.test', "alice", "example.test"),
        (r'"a b\"c\\"@example.test', 'a b"c\\', "example.test"),
        ('"a@b"@example.test', "a@b", "example.test"),
        ('"a..b"@example.test', "a..b", "example.test"),
        ("a@xn--bcher-kva.example", "a", "xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a", "xn--bcher-kva.example"),
        ("a@bu\u0308cher.example", "a", "xn--bcher-kva.example"),
        ("a@例え.テスト", "a", "xn--r8jz45g.xn--zckzah"),
        ("jo\u0308rg@example.test", "jörg", "example.test"),
        ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[IPv6:2001:DB8:0:0::1]", "a", "[IPv6:2001:db8::1]"),
        ("a@localhost", "a", "localhost"),
    ],
)
def test_what_is_the_same_has_one_form(text: str, local_part: str, domain: str) -> None:
    assert parse(text) == Address(local_part, domain)


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "a", "a@", "@example.test", ".a@example.test", "a.@example.test", "a..b@example.test",
        "a b@example.test", "a@b@example.test", '""@example.test', '"a@example.test', 'a"b@example.test',
        "a@-example.test", "a@example-.test", "a@example..test", "a@example.test.", "a@.test",
        "a@exa_mple.test",
        "a@[192.0.2.256]", "a@[192.0.2.1", "a@[::1]", "a@[IPv6:::g]", "a@[IPv6:fe80::1%eth0]",
        "a@[tag:content]",
        "a\r\nRCPT TO:<b>@example.test", "a@example.test\r\n", "a@example.test\x00", '"\x07"@example.test',
        "a" * 65 + "@example.test", "ü" * 33 + "@example.test", "a@" + "b" * 64 + ".test",
        "a@" + ".".join(["b" * 60] * 5), "\ud800@example.test", "a@\ud800.test",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressSyntaxError):
        parse(text)


@pytest.mark.parametrize(
    ("local_part", "base", "tag"),
    [("a", "a", None), ("a+b", "a", "b"), ("a+b+c", "a", "b+c"), ("a+", "a", ""), ("+a", "+a", None)],
)
def test_a_tag_begins_at_the_first_delimiter(local_part: str, base: str, tag: str | None) -> None:
    assert Address(local_part, "example.test").split("+") == (Address(base, "example.test"), tag)


def test_without_a_delimiter_there_are_no_tags() -> None:
    assert Address("a+b", "example.test").split("") == (Address("a+b", "example.test"), None)


def test_folding_knows_more_than_ascii() -> None:
    assert fold("JÖRG") == fold("jo\u0308rg") == "jörg"
    assert fold("STRASSE") == fold("Straße")


def test_a_literal_is_told_apart() -> None:
    assert parse("a@[192.0.2.1]").literal
    assert not parse("a@example.test").literal


@given(domain=domains)
def test_a_domain_has_one_form(domain: str) -> None:
    assert parse_domain(parse_domain(domain.upper())) == domain
