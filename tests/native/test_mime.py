"""What ESP says about a message: against Dovecot, over the corpus, and where ESP goes its own way."""

import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp import native
from tests.support import corpus, dovecot

SECTIONS = (
    *(
        "",
        "HEADER",
        "TEXT",
        "1",
        "2",
        "3",
        "1.1",
        "1.2",
        "2.1",
        "2.2",
        "2.1.1",
        "1.MIME",
        "2.MIME",
        "2.1.MIME",
    ),
    *("1.HEADER", "2.HEADER", "1.TEXT", "2.TEXT", "2.HEADER.FIELDS (SUBJECT)"),
    *("HEADER.FIELDS (SUBJECT FROM)", "HEADER.FIELDS.NOT (RECEIVED TO)"),
)

DIFFERENCES = {
    "form": "One of quoted string and literal where the other would do; Dovecot's depends on its cache.",
    "cached 7bit": "Dovecot's cache keeps that a message is plain 7bit, and forgets how the word was spelled.",
    "no type": 'An unreadable Content-Type is text/plain (RFC 2045 §5.2); Dovecot says "" "".',
    "line end of the boundary": "The CRLF before a boundary belongs to it (RFC 2046 §5.1.1), also behind a"
    " multipart's last boundary or inside a header; Dovecot counts it to the part.",
    "no empty line": "A header without empty line has none in HEADER.FIELDS (RFC 3501 §6.4.5); Dovecot adds.",
    "nul": "NUL cannot be in a literal (RFC 3501 §9); Dovecot puts 0x80, here the octets are as they are.",
}
"""All differences from Dovecot 2.3.19, also in docs/imap/differences.md."""

FLEETING = {"form", "cached 7bit"}
"""Those that come and go with Dovecot's cache."""

Tree = bytes | list["Tree"]


def tree(wire: bytes) -> Tree:
    """Return a wire value as nested lists of octets."""
    if not wire.startswith(b"("):
        return b"\0NIL" if wire == b"NIL" else dovecot.string(wire) if wire[:1] in (b'"', b"{") else wire
    items: list[Tree] = []
    at = 1
    while wire[at : at + 1] != b")":
        at += wire[at : at + 1] == b" "
        end = dovecot.value_end(wire, at)
        items.append(tree(wire[at:end]))
        at = end
    assert at == len(wire) - 1
    return items


def number(value: Tree) -> int:
    assert isinstance(value, bytes)
    return int(value)


def explain(theirs: Tree, ours: Tree, used: Counter[str]) -> bool:
    """Tell whether two values are the same but for `DIFFERENCES`, and count those."""
    if theirs == ours:
        return True
    if isinstance(theirs, bytes) or isinstance(ours, bytes):
        used["cached 7bit"] += 1
        return theirs == b"7bit" and isinstance(ours, bytes) and ours.lower() == b"7bit"
    if theirs[:2] in ([b"", b""], [b"text", b""]) and ours[:2] == [b"text", b"plain"]:
        used["no type"] += 1
        lines = theirs[0] == b"text"
        return theirs[3:7] == ours[3:7] and theirs[7 + lines :] == ours[8:]
    if len(theirs) != len(ours):
        return False
    if theirs[:2] == ours[:2] == [b"message", b"rfc822"]:
        octets, lines = 6, 9
        if (number(theirs[octets]), number(theirs[lines])) == (
            number(ours[octets]) + 2,
            number(ours[lines]) + 1,
        ):
            used["line end of the boundary"] += 1
            theirs = list(theirs)
            theirs[octets], theirs[lines] = ours[octets], ours[lines]
    return all(explain(a, b, used) for a, b in zip(theirs, ours, strict=True))


def explain_octets(section: str, theirs: bytes, ours: bytes, used: Counter[str]) -> bool:
    """Tell whether two sections are the same but for `DIFFERENCES`, and count those."""
    if b"\0" in ours:
        used["nul"] += 1
        ours = ours.replace(b"\0", b"\x80")
    if theirs == ours:
        return True
    used["no empty line" if "FIELDS" in section else "line end of the boundary"] += 1
    return theirs == ours + b"\r\n"


def test_the_corpus_is_large_enough() -> None:
    assert len(corpus.messages()) >= 200
    assert len({message.name for message in corpus.messages()}) == len(corpus.messages())


@pytest.mark.parametrize("family", corpus.FAMILIES)
def test_messages_of_other_programs_are_in_the_corpus(family: str) -> None:
    """One that shrinks unnoticed shows less than it says."""
    found = [message for message in corpus.foreign() if message.name.startswith(f"{family}/")]
    if not found and shutil.which("apt-get") is None:
        pytest.skip(f"NOT TESTED: messages of {family} are brought by apt")
    assert len(found) >= 30


def test_envelope_structure_and_sections_are_those_of_dovecot() -> None:
    messages = corpus.messages()
    items = ["ENVELOPE", "BODYSTRUCTURE", "BODY", "RFC822.SIZE", *(f"BODY.PEEK[{name}]" for name in SECTIONS)]
    reference = dovecot.fetch([message.canonical for message in messages], items)
    used: Counter[str] = Counter()
    unexplained = []
    for message, theirs in zip(messages, reference, strict=True):
        octets = message.canonical
        ours = native.describe(octets)
        assert int(theirs["RFC822.SIZE"]) == ours.size == len(octets)
        answers = {"ENVELOPE": ours.envelope, "BODYSTRUCTURE": ours.bodystructure, "BODY": ours.body}
        for name, value in answers.items():
            if theirs[name] != value:
                used["form"] += tree(theirs[name]) == tree(value)
                if not explain(tree(theirs[name]), tree(value), used):
                    unexplained.append((message.name, name, theirs[name], value))
        for name in SECTIONS:
            section = native.body_section(octets, name) or b""
            if not explain_octets(name, theirs[f"BODY[{name}]"], section, used):
                unexplained.append((message.name, name, theirs[f"BODY[{name}]"], section))
    assert unexplained == []
    # A difference that is no more is to be struck off.
    assert set(used) - FLEETING == set(DIFFERENCES) - FLEETING


def test_every_difference_is_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "imap" / "differences.md").read_text()
    for name in DIFFERENCES:
        assert f"**{name}**" in page


@pytest.mark.parametrize("message", corpus.messages(), ids=lambda message: message.name)
def test_strings_are_safe_and_sizes_are_those_of_the_octets(message: corpus.Message) -> None:
    for octets in (message.octets, message.canonical, message.canonical.replace(b"\r\n", b"\n")):
        description = native.describe(octets)
        for wire in (description.envelope, description.bodystructure, description.body):
            assert b"\0" not in wire
            assert dovecot.value_end(wire, 0) == len(wire)
        assert description.size == len(octets)
        envelope = tree(description.envelope)
        assert isinstance(envelope, list)
        assert len(envelope) == 10
        check_sizes(octets, tree(description.bodystructure), "", in_message=True)


def check_sizes(octets: bytes, structure: Tree, path: str, *, in_message: bool) -> None:
    """Each part has the size that fetching it has."""
    assert isinstance(structure, list)
    if isinstance(structure[0], list):
        children = [child for child in structure[: structure_length(structure)] if isinstance(child, list)]
        for position, child in enumerate(children, 1):
            name = f"{path}.{position}" if path else f"{position}"
            if native.body_section(octets, name) is None:
                assert len(children) == 1  # a multipart without parts is shown with an empty one
                continue
            check_sizes(octets, child, name, in_message=False)
        return
    own = f"{path}.1" if path and in_message else path or "1"
    body = native.body_section(octets, own)
    assert body is not None
    assert len(body) == number(structure[6])
    if structure[0] == b"text":
        assert number(structure[7]) == body.count(b"\n")
    if structure[:2] == [b"message", b"rfc822"] and path.count(".") < 8:
        check_sizes(octets, structure[8], own, in_message=True)


def structure_length(structure: list[Tree]) -> int:
    """How many parts a multipart has."""
    return next(index for index, child in enumerate(structure) if not isinstance(child, list))


def test_header_and_text_together_are_the_message() -> None:
    for message in corpus.messages():
        octets = message.octets
        header, text = native.body_section(octets, "HEADER"), native.body_section(octets, "TEXT")
        assert header is not None
        assert text is not None
        assert header + text == octets == native.body_section(octets, "")


@pytest.mark.parametrize(
    "spec", ["MIME", "0", "1.", ".1", "1..2", "HEADER.FIELDS", "HEADER.FIELDS ()", "X", "1.X"]
)
def test_what_is_no_section_is_an_error(spec: str) -> None:
    with pytest.raises(ValueError, match="section"):
        native.body_section(b"Subject: a\r\n\r\n", spec)


HTML = b"Content-Type: text/html\r\n\r\n"
ATTACKS = {
    "10,000 parts": corpus.wide(10_000),
    "200,000 parts": corpus.wide(200_000),
    "1,000 levels": corpus.nested(1_000),
    "1,000 messages": corpus.nested(1_000, "message"),
    "60,000 levels": corpus.nested(60_000),
    "boundary-like lines below 98 levels": corpus.nested(98).replace(b"inmost", b"--c\r\n" * 2**18),
    "1 MB header line": b"Subject: " + b"x" * 2**20 + b"\r\n\r\nbody",
    "1 MB without a colon": b"X" * 2**20,
    "addresses": b"To: " + b"a@b," * 2**18 + b"\r\n\r\n",
    "open comments": b"To: " + b"(" * 2**20 + b"\r\n\r\n",
    "quotes": b"To: " + b'"' * 2**20 + b"\r\n\r\n",
    "groups": b"To: " + b"a:b," * 2**18 + b"\r\n\r\n",
    "addresses in comments": b"To: " + b"a(b," * 2**18 + b"\r\n\r\n",
    "fields": b"To:\r\n" * 2**18 + b"\r\n",
    "parameters": b"Content-Type: a/b" + b";a*1*=b" * 2**17 + b"\r\n\r\n",
    "quotes in parameters": b"Content-Type: a/b" + b';a="' * 2**18 + b"\r\n\r\n",
    "begun words": b"Subject: " + b"=?a?q?" * 2**17 + b"\r\n\r\n",
    "words": b"Subject: " + b"=?utf-8?q?a?= " * 2**16 + b"\r\n\r\n",
    "blobs": b"Subject: " + b"[a]" * 2**18 + b"\r\n\r\n",
    "begun references": b"References: " + b"<" * 2**20 + b"\r\n\r\n",
    "references": b"References: " + b"<a@b>" * 2**18 + b"\r\n\r\n",
    "begun tags": HTML + b"<a" * 2**19,
    "scripts": HTML + b"<script>" * 2**17,
    "styles": HTML + b"<style></" * 2**17,
    "comments": HTML + b"<!--" * 2**18,
    "entities": HTML + b"&" * 2**20,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_takes_no_time(attack: str) -> None:
    octets = ATTACKS[attack]
    started = time.process_time()
    description = native.describe(octets)
    indexed = native.index_message(octets)
    # Generous for a busy machine: each takes some hundredths; anything quadratic takes minutes.
    assert time.process_time() - started < 3
    assert len(description.bodystructure) < 20_000_000
    assert len(indexed.text) < 4 * len(octets) + 1000


# What a search finds

LETTER = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <juergen@example.org>\r\n"
    b"Subject: =?utf-8?b?R3LDvMOf?=\r\n =?utf-8?b?ZQ==?= an alle\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Die Stra=DFe nach =C4gypten ist la=\r\nng.\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"PHA+RWluPGI+VG9wZjwvYj4gJmFtcDsgRGVja2VsPC9wPjxzdHlsZT5wIHt9PC9zdHlsZT4=\r\n"
    b'--b\r\nContent-Type: image/png; name="bild.png"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nVG9wZg==\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: innen\r\n\r\ntief im Text\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+AMQ-pfel\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("needle", "where", "found"),
    [
        ("STRASSE", "text", False),
        ("straße", "text", True),
        ("STRAßE NACH ägypten IST LANG", "body", True),
        ("einTOPF & deckel", "body", True),
        ("{}", "text", False),
        ("grüße an", "field:subject", True),
        ("JÜRGEN", "field:From", True),
        ("jürgen", "field:to", False),
        ("jürgen", "body", False),
        ("", "field:from", True),
        ("", "field:cc", False),
        ("bild.png", "text", True),
        ("bild.png", "body", False),
        ("innen", "body", True),
        ("innen", "field:subject", False),
        ("tief im text", "body", True),
        ("äpfel", "text", True),
        ("VG9w", "text", False),
        ("subject: gr", "headers", True),
    ],
)
def test_a_search_finds_what_a_reader_would(needle: str, where: str, found: bool) -> None:
    indexed = native.index_message(LETTER)
    assert native.search_batch([indexed.text], needle, where) == [found]
    if found:
        assert native.may_contain_batch([indexed.signature], needle) == [True]


def test_a_letter_is_indexed(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_bytes(LETTER)
    indexed, missing = native.index_batch([str(path), str(tmp_path / "missing")])
    assert missing is None
    assert indexed is not None
    assert indexed.preview == "Die Straße nach Ägypten ist lang."
    assert indexed.base_subject == "Grüße an alle"
    assert native.search_files([str(path), str(tmp_path / "missing")], "lang") == [True, None]


@given(octets=st.binary(max_size=400), data=st.data())
def test_no_part_of_a_text_is_denied(octets: bytes, data: st.DataObject) -> None:
    indexed = native.index_message(octets)
    headers, text = native.search_text(octets)
    for section, where in ((headers, "headers"), (text, "body")):
        start = data.draw(st.integers(0, len(section)))
        needle = section[start : data.draw(st.integers(start, len(section)))]
        assert native.search_batch([indexed.text], needle, where) == [True]
        assert native.may_contain_batch([indexed.signature], needle) == [True]


def test_a_field_name_is_folded_like_its_value() -> None:
    indexed = native.index_message("ΆΒΓ: x\r\n\r\n".encode())
    assert native.search_batch([indexed.text], "άβγ: x", "headers") == [True]
    assert native.may_contain_batch([indexed.signature], "ΆΒΓ") == [True]


def test_a_signature_denies_what_is_not_there() -> None:
    signatures = [native.index_message(message.octets).signature for message in corpus.messages()]
    denied = native.may_contain_batch(signatures, "zyxwvut-nowhere").count(False)
    assert denied > 0.98 * len(signatures)


def test_a_blob_that_is_none_has_nothing() -> None:
    assert native.search_batch([b"", b"\1", b"\1" + b"\xff" * 8, b"x"], "a") == [False] * 4
    assert native.may_contain_batch([b"", b"abc"], "needle") == [True, True]


@pytest.mark.parametrize(
    ("subject", "base", "reply"),
    [
        ("hello", "hello", False),
        ("Re: hello", "hello", True),
        ("RE: re[2]: Fwd:  hello  (fwd)", "hello", True),
        ("[list] Re: [list] hello", "hello", True),
        ("[list]", "[list]", False),
        ("[fwd: hello]", "hello", True),
        ("Re:", "", True),
        ("Really", "Really", False),
        ("", "", False),
    ],
)
def test_base_subjects_are_those_of_rfc_5256(subject: str, base: str, reply: bool) -> None:
    assert native.base_subject(subject) == (base, reply)


@pytest.mark.parametrize(
    ("header", "references"),
    [
        (b"References: <a@x>\r\n <b@x>\r\nIn-Reply-To: <c@x>\r\n", ["a@x", "b@x"]),
        (b"In-Reply-To: Your message <c@x> of today <d@x>\r\n", ["c@x"]),
        (b"References: none\r\n", []),
        (b"", []),
    ],
)
def test_references_are_those_of_rfc_5256(header: bytes, references: list[str]) -> None:
    assert native.describe(header + b"\r\n").references == references
