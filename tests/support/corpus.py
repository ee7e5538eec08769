"""Messages of every kind: those that other programs are tested with, and nasty ones made here.

Messages of others are not kept here. They are read from where they are installed: Python's own tests, the
Rust crate `mail-parser` (a development dependency of `esp-mime`), the source package `libmime-tools-perl`
where apt can bring it.

    for message in corpus.messages(): …deliver message.octets; what comes back must be the same octets…
"""

import json
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "target" / "corpus"

_BARE_LF = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True)
class Message:
    """A message and where it comes from."""

    name: str
    octets: bytes

    @property
    def canonical(self) -> bytes:
        """The message with CRLF for each bare LF, as SMTP and APPEND carry it."""
        return _BARE_LF.sub(b"\r\n", self.octets)


@cache
def messages() -> tuple[Message, ...]:
    """Return all messages this machine has, generated ones last; names are unique."""
    return (*foreign(), *generated())


@cache
def foreign() -> tuple[Message, ...]:
    """Return the messages of other programs' tests that are installed here."""
    return (*_python(), *_mail_parser(), *_mime_tools())


def _read(label: str, paths: Iterator[Path]) -> Iterator[Message]:
    for path in sorted(paths):
        if path.is_file():
            yield Message(f"{label}/{path.name}", path.read_bytes())


def _python() -> Iterator[Message]:
    try:
        spec = find_spec("test.test_email")
    except ModuleNotFoundError:  # Debian has the standard library's tests in a package of their own
        return
    for place in (spec.submodule_search_locations if spec else None) or ():
        yield from _read("python", Path(place, "data").glob("*.txt"))


def _mail_parser() -> Iterator[Message]:
    cargo = shutil.which("cargo")
    if cargo is None:
        return
    answer = subprocess.run(
        [cargo, "metadata", "--format-version=1", "--locked"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=300,
    )
    if answer.returncode != 0:
        return
    for package in json.loads(answer.stdout)["packages"]:
        if package["name"] == "mail-parser":
            folder = Path(package["manifest_path"]).parent / "resources" / "eml"
            for kind in sorted(folder.iterdir()) if folder.is_dir() else ():
                yield from _read(f"mail-parser/{kind.name}", kind.glob("*.eml"))


def _mime_tools() -> Iterator[Message]:
    """Debian's binary package has no messages, its source has; a mirror need not carry sources."""
    folder = CACHE / "mime-tools"
    if not any(folder.glob("*.orig.tar.*")):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _download_mime_tools(folder)
    for archive in folder.glob("*.orig.tar.*"):
        with tarfile.open(archive) as tar:
            for member in tar:
                stem = Path(member.name)
                if member.isfile() and stem.parent.name == "testmsgs" and stem.suffix == ".msg":
                    file = tar.extractfile(member)
                    if file is not None:
                        yield Message(f"mime-tools/{stem.name}", file.read())


def _download_mime_tools(folder: Path) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        return
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(
        "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
        " http://deb.debian.org/debian stable main\n"
    )
    options = [
        f"-oDir::Etc::SourceList={sources}",
        "-oDir::Etc::SourceParts=/dev/null",
        f"-oDir::State::Lists={lists}",
        "-oAPT::Sandbox::User=",
    ]
    for action in (["update"], ["source", "--download-only", "--tar-only", "libmime-tools-perl"]):
        subprocess.run(
            [apt, "-q", *options, *action], cwd=folder, capture_output=True, check=False, timeout=120
        )
    shutil.rmtree(lists, ignore_errors=True)


@cache
def generated() -> tuple[Message, ...]:
    """Return messages made here, the same at every run."""
    made = [Message(f"made/{name}", octets) for name, octets in _by_hand()]
    chance = random.Random(5321)
    made += [Message(f"chance/{number}", _random_message(chance)) for number in range(120)]
    return tuple(made)


def _lines(*lines: str | bytes) -> bytes:
    return b"".join((line.encode() if isinstance(line, str) else line) + b"\r\n" for line in lines)


_ADDRESSES = (
    "a@example.org",
    "A B <a@example.org>",
    '"A, B" <a@example.org>',
    '"A \\"quoted\\" B" <a@example.org>',
    "=?utf-8?q?=C3=84?= <a@example.org>",
    "a@example.org (A Comment)",
    "a@example.org (A (nested) \\) Comment)",
    "undisclosed-recipients:;",
    "Group: a@example.org, B <b@example.org>;",
    "Group: a@example.org, B <b@example.org>",
    "Group:;, c@example.org",
    "<@route.example,@other.example:a@example.org>",
    "<@broken route a@example.org>",
    "<>",
    "A <>",
    "a",
    "a b c",
    "a b c <",
    "<a@example.org",
    "a@",
    "@example.org",
    "a@b@example.org",
    "a..b@example.org",
    ".a@example.org",
    "a.@example.org",
    '"a b"@example.org',
    '"unclosed <a@example.org>',
    "a@[192.0.2.1]",
    "a@[IPv6:2001:db8::1]",
    "a@[unclosed",
    "a @ example . org",
    "A B <a@example.org> trailing",
    "a@example.org b@example.org",
    "a@example.org; b@example.org",
    "a@example.org,, b@example.org,",
    ",a@example.org",
    "(only a comment)",
    "(unclosed comment a@example.org",
    "J. R. D. <d@example.org>",
    "'a@example.org' <a@example.org>",
    "Ä <ä@example.org>",
    "A\tB  C <a@example.org>",
    "A =?utf-8?b?w4Q=?= B <a@example.org>",
    '"" <a@example.org>',
    '"" <>',
    "a%b@example.org",
    "a!b!c@example.org",
    "mailto:a@example.org",
    "<mailto:a@example.org>",
    "[a@example.org]",
    "a@example.org>",
    "A \\B <a@example.org>",
)

_TYPES = (
    "text/plain",
    "text/plain; charset=utf-8",
    "TEXT/HTML; CHARSET=iso-8859-1",
    "text/plain; charset=us-ascii; format=flowed; delsp=yes",
    "text / plain ; charset = utf-8",
    "text/plain (comment); charset=(c)utf-8(d)",
    "text",
    "text/",
    "/plain",
    "",
    "text/plain charset=utf-8",
    "text/plain;charset",
    "text/plain; =utf-8",
    "text/plain; charset=",
    'text/plain; charset=""',
    'text/plain; charset="unclosed',
    'text/plain; name="a\\"b.txt"',
    "text/plain; name=Ä.txt",
    "text/plain; name==?utf-8?b?w4QudHh0?=",
    "text/plain; charset=utf-8; charset=latin1",
    "text/plain; name*=utf-8''%C3%84.txt",
    "text/plain; name*0=a; name*1=b",
    "text/plain; name*0*=utf-8'en'%C3%84; name*1=100%; name*2*=%20",
    "text/plain; name*1=b; name*0=a",
    "text/plain; name*1=b; name*2=c",
    "text/plain; name*0=a; name=c",
    "text/plain;; charset=utf-8;",
    'application/octet-stream; name="a b.bin"',
    "application/pdf",
    "message/delivery-status",
    "message/partial; id=a; number=1",
    "message/external-body; access-type=local-file",
    "image/png; x-unix-mode=0644",
    "x-unknown/x-type",
    "multipart/mixed",
    'multipart/mixed; boundary=""',
    "text/plain; a=1; b=2; c=3; d=4; e=5; f=6; g=7; h=8; i=9",
)

_DISPOSITIONS = (
    "inline",
    "attachment",
    "attachment; filename=a.txt",
    'attachment; filename="a b.txt"; size=10',
    "attachment; filename*=utf-8''%C3%84.txt",
    'attachment; filename*0="a"; filename*1="b"',
    "attachment filename=a.txt",
    '"attachment"',
    "",
    "attachment; filename=a b.txt",
    "attachment;\r\n filename=folded.txt",
)


def _by_hand() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "only-line-end", b"\r\n"
    yield "no-header", b"\r\nbody\r\n"
    yield "no-body", _lines("Subject: a")
    yield "no-line-end", b"Subject: a"
    yield "header-only-blank", _lines("Subject: a", "")
    yield "text-without-header", _lines("hello there", "this is no header", "", "body")
    yield "from-line", _lines("From a@example.org Mon Jan  1 12:00:00 2024", "Subject: mbox", "", "body")
    yield "bare-lf", b"Subject: a\nFrom: a@example.org\n\nbody\nmore\n"
    yield "mixed-line-ends", b"Subject: a\nFrom: a@example.org\r\n\r\nbody\nmore\r\nlone\rcr\r\n"
    yield "nul-in-subject", _lines(b"Subject: a\0b", "From: a@example.org", "", "body")
    yield "nul-in-quoted-name", _lines(b'From: "a\0b" <a@example.org>', "", "body")
    yield "nul-in-body", _lines("Subject: a", "", b"a\0b\0\0c")
    yield (
        "eight-bit-header",
        _lines(b"Subject: \xe4\xf6\xfc", b"From: \xc3\xa4 <a@example.org>", "", b"\xff\xfe"),
    )
    yield (
        "folded",
        _lines("Subject: one", "  two", "\tthree", "From: a@example.org,", " b@example.org", "", "body"),
    )
    yield (
        "folded-empty-first",
        _lines("Subject:", " one", "Message-ID:", " <a@example.org>", "Date:", "\tnever", ""),
    )
    yield "folded-blank-line", _lines("Subject: one", " ", " two", "To: a@example.org", "", "body")
    yield "blank-values", _lines("Subject: ", "Date:   ", "From:", "To: ", "Message-ID:\t", "", "body")
    yield "blank-before-colon", _lines("Subject : a", "From\t: a@example.org", "", "body")
    yield "quotes-in-subject", _lines('Subject: say "hi" \\ there', 'Message-ID: "<a>"', "", "body")
    yield "many-quotes", _lines('Message-ID: """"""""', 'In-Reply-To: """"', "", "body")
    yield "many-spaces-subject", _lines("Subject:   a    b  \t c   ", "", "body")
    yield (
        "doubled",
        _lines(
            "Subject: 1", "Subject: 2", "From: a@example.org", "From: b@example.org", "Date: x", "Date: y", ""
        ),
    )
    yield (
        "doubled-content",
        _lines(
            "Content-Type: text/html",
            "Content-Type: text/plain",
            "Content-ID: <1>",
            "Content-ID: <2>",
            "",
            "x",
        ),
    )
    yield (
        "doubled-disposition",
        _lines(
            "MIME-Version: 1.0",
            "Content-Disposition: inline",
            "Content-Disposition: attachment; filename=a",
            "",
            "x",
        ),
    )
    yield (
        "content-without-mime",
        _lines("Content-Transfer-Encoding: base64", "Content-Disposition: attachment", "", "YQ=="),
    )
    yield (
        "mime-version-only",
        _lines("MIME-Version: 1.0", "Content-Transfer-Encoding: base64", "Content-Language: en", "", "YQ=="),
    )
    yield "long-header-line", _lines("Subject: " + "x" * 20_000, "X: " + "y" * 100_000, "", "body")
    yield (
        "long-folded-header",
        _lines("To: " + ",\r\n ".join(f"a{n}@example.org" for n in range(2000)), "", "body"),
    )
    yield (
        "many-received",
        _lines(*(f"Received: from a by b; {n}" for n in range(500)), "Subject: a", "", "body"),
    )
    yield (
        "language",
        _lines(
            "MIME-Version: 1.0",
            "Content-Language: en, de-DE , fr (french)",
            "Content-Location: http://a/ b",
            "",
            "x",
        ),
    )
    yield (
        "language-broken",
        _lines("MIME-Version: 1.0", "Content-Language: , en", "Content-MD5: abc==", "", "x"),
    )
    yield (
        "id-folded",
        _lines("MIME-Version: 1.0", "Content-ID:", " <a@b>", "Content-Description: a", "  b", "", "x"),
    )
    yield "encoding-broken", _lines("MIME-Version: 1.0", "Content-Transfer-Encoding: 7bit; x", "", "x")
    yield (
        "encoding-comment",
        _lines("MIME-Version: 1.0", "Content-Transfer-Encoding: (c) Base64 (d)", "", "YQ=="),
    )
    yield (
        "base64",
        _lines(
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: base64",
            "",
            "w4Rww6RsCg==",
        ),
    )
    yield (
        "quoted-printable",
        _lines(
            "MIME-Version: 1.0",
            "Content-Transfer-Encoding: quoted-printable",
            "",
            "=C3=84 =",
            "joined  ",
            "end=",
        ),
    )
    for number, value in enumerate(_ADDRESSES):
        yield (
            f"address-{number}",
            _lines(f"From: {value}", f"To: x@example.org, {value}, y@example.org", "", "body"),
        )
    for number, value in enumerate(_TYPES):
        yield f"type-{number}", _lines("MIME-Version: 1.0", f"Content-Type: {value}", "", "body", "line")
    for number, value in enumerate(_DISPOSITIONS):
        yield (
            f"disposition-{number}",
            _lines("MIME-Version: 1.0", f"Content-Disposition: {value}", "", "body"),
        )
    yield from _multiparts()


def _part(*header: str, body: bytes = b"text\r\n") -> bytes:
    return _lines(*header, "") + body


def _multipart(
    boundary: str, *parts: bytes, subtype: str = "mixed", end: bytes | None = None, header: str = ""
) -> bytes:
    head = _lines(
        *([header] if header else []), f'Content-Type: multipart/{subtype}; boundary="{boundary}"', ""
    )
    closing = f"--{boundary}--\r\n".encode() if end is None else end
    return head + b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + closing


def nested(levels: int, kind: str = "multipart") -> bytes:
    """Return a message of so many levels, multiparts or messages in messages."""
    inner = _lines("Content-Type: text/plain", "", "inmost")
    if kind == "message":
        return _lines("Content-Type: message/rfc822", "") * levels + inner
    head = b"".join(
        _lines(f'Content-Type: multipart/mixed; boundary="b{level}"', "", f"--b{level}")
        for level in range(levels)
    )
    return head + inner + b"".join(_lines(f"--b{level}--") for level in reversed(range(levels)))


def wide(parts: int) -> bytes:
    """Return a multipart message of so many parts."""
    return _multipart("b", *[_part("Content-Type: text/plain", body=b"x")] * parts, header="Subject: wide")


def _multiparts() -> Iterator[tuple[str, bytes]]:
    text = _part("Content-Type: text/plain")
    html = _part("Content-Type: text/html; charset=utf-8", body=b"<p>text</p>\r\n")
    message = _part(
        "Content-Type: message/rfc822", body=_lines("Subject: inner", "From: i@example.org", "", "inner body")
    )
    yield "multipart", _multipart("b", text, html)
    yield (
        "multipart-preamble",
        _multipart("b", text, html).replace(b"\r\n\r\n--b", b"\r\n\r\npreamble\r\n--b", 1) + b"epilogue\r\n",
    )
    yield "multipart-no-end", _multipart("b", text, html, end=b"")
    yield "multipart-no-parts", _multipart("b")
    yield "multipart-never-begins", _lines('Content-Type: multipart/mixed; boundary="b"', "", "nothing")
    yield "multipart-no-boundary", _lines("Content-Type: multipart/mixed", "", "--b", "", "text", "--b--")
    yield "multipart-ends-at-boundary", _lines('Content-Type: multipart/mixed; boundary="b"', "") + b"--b"
    yield "multipart-ends-behind-boundary", _lines('Content-Type: multipart/mixed; boundary="b"', "", "--b")
    yield (
        "multipart-ends-in-part-header",
        _lines('Content-Type: multipart/mixed; boundary="b"', "", "--b", "Content-Type: text/html"),
    )
    yield (
        "multipart-empty-parts",
        _lines('Content-Type: multipart/mixed; boundary="b"', "", "--b", "--b", "", "--b", "", "", "--b--"),
    )
    yield (
        "multipart-header-cut",
        _lines(
            'Content-Type: multipart/mixed; boundary="b"',
            "",
            "--b",
            "Content-Type: text/html",
            "--b",
            "",
            "x",
            "--b--",
        ),
    )
    yield (
        "multipart-message-header-cut",
        _lines(
            'Content-Type: multipart/mixed; boundary="b"', "", "--b", "Content-Type: message/rfc822", "--b--"
        ),
    )
    yield (
        "multipart-inner-header-cut",
        _lines(
            'Content-Type: multipart/mixed; boundary="b"',
            "",
            "--b",
            "Content-Type: message/rfc822",
            "",
            "Subject: a",
            "--b--",
        ),
    )
    yield (
        "multipart-inner-empty",
        _lines(
            'Content-Type: multipart/mixed; boundary="b"',
            "",
            "--b",
            "Content-Type: message/rfc822",
            "",
            "--b--",
        ),
    )
    yield "multipart-boundary-blanks", _multipart("b", text, html).replace(b"--b\r\n", b"--b  \t\r\n")
    yield "multipart-prefix", _multipart("b", _multipart("bb", text, html), text)
    yield "multipart-prefix-reversed", _multipart("bb", _multipart("b", text, html), text)
    yield "multipart-same-boundary", _multipart("b", _multipart("b", text, html), text)
    yield "multipart-dashes", _multipart("--b--", text, html)
    yield "multipart-inner-no-end", _multipart("a", _multipart("b", text, html, end=b""), text)
    yield "multipart-inner-tight", _multipart("a", _multipart("b", text, html)[:-2], text)
    yield (
        "multipart-message-tight",
        _multipart("a", _part("Content-Type: message/rfc822", body=_multipart("b", text)[:-2]), text),
    )
    yield "multipart-after-end", _multipart("b", text) + b"--b\r\n\r\nmore\r\n--b--\r\n"
    yield "multipart-long-boundary", _multipart("x" * 200, text, html)
    yield "multipart-odd-boundary", _multipart("a'()+_,-./:=? b", text, html)
    yield "multipart-lf", _multipart("b", text, message, html).replace(b"\r\n", b"\n")
    yield (
        "digest",
        _multipart(
            "b",
            _part(body=message[message.index(b"Subject") :]),
            _part("Content-Type: text/plain"),
            subtype="digest",
        ),
    )
    yield "digest-empty", _multipart("b", b"", _part(), subtype="digest")
    yield "message", _multipart("b", message, text)
    yield "message-root", message
    yield (
        "message-base64",
        _multipart(
            "b",
            _part(
                "Content-Type: message/rfc822",
                "Content-Transfer-Encoding: base64",
                body=b"U3ViamVjdDogYQoK\r\n",
            ),
        ),
    )
    yield (
        "message-multipart",
        _multipart(
            "b", _part("Content-Type: message/rfc822", body=_multipart("c", text, html, header="Subject: in"))
        ),
    )
    yield "message-in-message", _multipart("b", _part("Content-Type: message/rfc822", body=message))
    yield (
        "message-no-mime",
        _multipart(
            "b", _part("Content-Type: message/rfc822", body=_lines("Content-Disposition: inline", "", "x"))
        ),
    )
    yield (
        "multipart-broken-type-part",
        _multipart("b", _part("Content-Type: text"), _part("Content-Type: multipart/x y; boundary=c")),
    )
    yield (
        "multipart-ext",
        _multipart(
            "b",
            text,
            header="Content-Disposition: inline; a=b\r\nContent-Language: en\r\nContent-Location: here",
        ),
    )
    yield "levels-50", nested(50)
    yield "levels-98", nested(98)
    yield "levels-120", nested(120)
    yield "messages-50", nested(50, "message")
    yield "messages-120", nested(120, "message")
    yield "wide-300", wide(300)


_WORDS = (
    "a",
    "--b",
    "--b--",
    "--bb",
    "",
    " ",
    "\t",
    "x: y",
    "From a",
    ".",
    "..",
    "=C3=84",
    "YQ==",
    "<p>",
    "é",
    "\0",
    "--",
)


def _random_message(chance: random.Random) -> bytes:
    fields = ("From", "To", "Cc", "Bcc", "Sender", "Reply-To")
    header = [f"{chance.choice(fields)}: {_random_list(chance)}" for _ in range(chance.randrange(6))]
    header += chance.sample(
        [
            "Subject: " + " ".join(chance.choice(_WORDS) for _ in range(chance.randrange(5))),
            f"Date: Mon, {chance.randrange(40)} Jan 2024 12:00:00 +0{chance.randrange(2000):04}",
            f"Message-ID: <{chance.randrange(10**9)}@example.org>",
            "In-Reply-To: <a@example.org> <b@example.org>",
            "MIME-Version: 1.0",
            "no colon in this line",
            " begins with a blank",
            "X-Empty:",
        ],
        chance.randrange(8),
    )
    chance.shuffle(header)
    return "".join(f"{line}\r\n" for line in header).encode() + _random_entity(chance, 3)


def _random_list(chance: random.Random) -> str:
    separator = chance.choice((", ", ",\r\n\t", "; ", " , "))
    return separator.join(chance.choice(_ADDRESSES) for _ in range(chance.randrange(1, 5)))


def _random_entity(chance: random.Random, depth: int) -> bytes:
    body = "\r\n".join(chance.choice(_WORDS) for _ in range(chance.randrange(8)))
    kind = chance.randrange(5 if depth else 2)
    if kind < 2:
        content = [
            f"Content-Type: {chance.choice(_TYPES)}",
            f"Content-Disposition: {chance.choice(_DISPOSITIONS)}",
        ]
        return _lines(*content[: chance.randrange(3)], "") + body.encode()
    if kind == 2:
        return _lines("Content-Type: message/rfc822", "") + _random_message_in(chance, depth)
    boundary = chance.choice(("b", "bb", "b=b", "--", "b b"))
    parts = [_random_entity(chance, depth - 1) for _ in range(chance.randrange(4))]
    subtype = chance.choice(("mixed", "alternative", "digest", "Related", "report; report-type=x"))
    end = chance.choice((None, b"", f"--{boundary}--".encode()))
    return _multipart(boundary, *parts, subtype=subtype, end=end)


def _random_message_in(chance: random.Random, depth: int) -> bytes:
    return _lines(f"Subject: {chance.choice(_WORDS)}", f"From: {_random_list(chance)}") + _random_entity(
        chance, depth - 1
    )
