"""Messages of one part, made by hand: what header fields, addresses and encodings can be like."""

from collections.abc import Iterator

from tests.support.corpus.message import lines

ADDRESSES = (
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

TYPES = (
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

DISPOSITIONS = (
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


def entities() -> Iterator[tuple[str, bytes]]:
    """Return messages of one part, by name."""
    yield "empty", b""
    yield "only-line-end", b"\r\n"
    yield "no-header", b"\r\nbody\r\n"
    yield "no-body", lines("Subject: a")
    yield "no-line-end", b"Subject: a"
    yield "header-only-blank", lines("Subject: a", "")
    yield "text-without-header", lines("hello there", "this is no header", "", "body")
    yield "from-line", lines("From a@example.org Mon Jan  1 12:00:00 2024", "Subject: mbox", "", "body")
    yield "bare-lf", b"Subject: a\nFrom: a@example.org\n\nbody\nmore\n"
    yield "mixed-line-ends", b"Subject: a\nFrom: a@example.org\r\n\r\nbody\nmore\r\nlone\rcr\r\n"
    yield "nul-in-subject", lines(b"Subject: a\0b", "From: a@example.org", "", "body")
    yield "nul-in-quoted-name", lines(b'From: "a\0b" <a@example.org>', "", "body")
    yield "nul-in-body", lines("Subject: a", "", b"a\0b\0\0c")
    yield (
        "eight-bit-header",
        lines(b"Subject: \xe4\xf6\xfc", b"From: \xc3\xa4 <a@example.org>", "", b"\xff\xfe"),
    )
    yield (
        "folded",
        lines("Subject: one", "  two", "\tthree", "From: a@example.org,", " b@example.org", "", "body"),
    )
    yield (
        "folded-empty-first",
        lines("Subject:", " one", "Message-ID:", " <a@example.org>", "Date:", "\tnever", ""),
    )
    yield "folded-blank-line", lines("Subject: one", " ", " two", "To: a@example.org", "", "body")
    yield "blank-values", lines("Subject: ", "Date:   ", "From:", "To: ", "Message-ID:\t", "", "body")
    yield "blank-before-colon", lines("Subject : a", "From\t: a@example.org", "", "body")
    yield "quotes-in-subject", lines('Subject: say "hi" \\ there', 'Message-ID: "<a>"', "", "body")
    yield "many-quotes", lines('Message-ID: """"""""', 'In-Reply-To: """"', "", "body")
    yield "many-spaces-subject", lines("Subject:   a    b  \t c   ", "", "body")
    yield (
        "doubled",
        lines(
            "Subject: 1", "Subject: 2", "From: a@example.org", "From: b@example.org", "Date: x", "Date: y", ""
        ),
    )
    yield (
        "doubled-content",
        lines(
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
        lines(
            "MIME-Version: 1.0",
            "Content-Disposition: inline",
            "Content-Disposition: attachment; filename=a",
            "",
            "x",
        ),
    )
    yield (
        "content-without-mime",
        lines("Content-Transfer-Encoding: base64", "Content-Disposition: attachment", "", "YQ=="),
    )
    yield (
        "mime-version-only",
        lines("MIME-Version: 1.0", "Content-Transfer-Encoding: base64", "Content-Language: en", "", "YQ=="),
    )
    yield "long-header-line", lines("Subject: " + "x" * 20_000, "X: " + "y" * 100_000, "", "body")
    yield (
        "long-folded-header",
        lines("To: " + ",\r\n ".join(f"a{n}@example.org" for n in range(2000)), "", "body"),
    )
    yield (
        "many-received",
        lines(*(f"Received: from a by b; {n}" for n in range(500)), "Subject: a", "", "body"),
    )
    yield (
        "language",
        lines(
            "MIME-Version: 1.0",
            "Content-Language: en, de-DE , fr (french)",
            "Content-Location: http://a/ b",
            "",
            "x",
        ),
    )
    yield (
        "language-broken",
        lines("MIME-Version: 1.0", "Content-Language: , en", "Content-MD5: abc==", "", "x"),
    )
    yield (
        "id-folded",
        lines("MIME-Version: 1.0", "Content-ID:", " <a@b>", "Content-Description: a", "  b", "", "x"),
    )
    yield "encoding-broken", lines("MIME-Version: 1.0", "Content-Transfer-Encoding: 7bit; x", "", "x")
    yield (
        "encoding-comment",
        lines("MIME-Version: 1.0", "Content-Transfer-Encoding: (c) Base64 (d)", "", "YQ=="),
    )
    yield (
        "base64",
        lines(
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: base64",
            "",
            "w4Rww6RsCg==",
        ),
    )
    yield (
        "quoted-printable",
        lines(
            "MIME-Version: 1.0",
            "Content-Transfer-Encoding: quoted-printable",
            "",
            "=C3=84 =",
            "joined  ",
            "end=",
        ),
    )
    for number, value in enumerate(ADDRESSES):
        yield (
            f"address-{number}",
            lines(f"From: {value}", f"To: x@example.org, {value}, y@example.org", "", "body"),
        )
    for number, value in enumerate(TYPES):
        yield f"type-{number}", lines("MIME-Version: 1.0", f"Content-Type: {value}", "", "body", "line")
    for number, value in enumerate(DISPOSITIONS):
        yield (
            f"disposition-{number}",
            lines("MIME-Version: 1.0", f"Content-Disposition: {value}", "", "body"),
        )
