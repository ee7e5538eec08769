"""Messages of many parts, and in messages, made by hand: what boundaries can be like (RFC 2046 §5.1)."""

from collections.abc import Iterator

from tests.support.corpus.message import lines


def _part(*header: str, body: bytes = b"text\r\n") -> bytes:
    return lines(*header, "") + body


def multipart(
    boundary: str, *parts: bytes, subtype: str = "mixed", end: bytes | None = None, header: str = ""
) -> bytes:
    """Return a message of these parts; `end` is what stands in place of the last boundary."""
    head = lines(
        *([header] if header else []), f'Content-Type: multipart/{subtype}; boundary="{boundary}"', ""
    )
    closing = f"--{boundary}--\r\n".encode() if end is None else end
    return head + b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + closing


def nested(levels: int, kind: str = "multipart") -> bytes:
    """Return a message of so many levels, multiparts or messages in messages."""
    inner = lines("Content-Type: text/plain", "", "inmost")
    if kind == "message":
        return lines("Content-Type: message/rfc822", "") * levels + inner
    head = b"".join(
        lines(f'Content-Type: multipart/mixed; boundary="b{level}"', "", f"--b{level}")
        for level in range(levels)
    )
    return head + inner + b"".join(lines(f"--b{level}--") for level in reversed(range(levels)))


def wide(parts: int) -> bytes:
    """Return a multipart message of so many parts."""
    return multipart("b", *[_part("Content-Type: text/plain", body=b"x")] * parts, header="Subject: wide")


def multiparts() -> Iterator[tuple[str, bytes]]:
    """Return messages of several parts, by name."""
    text = _part("Content-Type: text/plain")
    html = _part("Content-Type: text/html; charset=utf-8", body=b"<p>text</p>\r\n")
    message = _part(
        "Content-Type: message/rfc822", body=lines("Subject: inner", "From: i@example.org", "", "inner body")
    )
    yield "multipart", multipart("b", text, html)
    yield (
        "multipart-preamble",
        multipart("b", text, html).replace(b"\r\n\r\n--b", b"\r\n\r\npreamble\r\n--b", 1) + b"epilogue\r\n",
    )
    yield "multipart-no-end", multipart("b", text, html, end=b"")
    yield "multipart-no-parts", multipart("b")
    yield "multipart-never-begins", lines('Content-Type: multipart/mixed; boundary="b"', "", "nothing")
    yield "multipart-no-boundary", lines("Content-Type: multipart/mixed", "", "--b", "", "text", "--b--")
    yield "multipart-ends-at-boundary", lines('Content-Type: multipart/mixed; boundary="b"', "") + b"--b"
    yield "multipart-ends-behind-boundary", lines('Content-Type: multipart/mixed; boundary="b"', "", "--b")
    yield (
        "multipart-ends-in-part-header",
        lines('Content-Type: multipart/mixed; boundary="b"', "", "--b", "Content-Type: text/html"),
    )
    yield (
        "multipart-empty-parts",
        lines('Content-Type: multipart/mixed; boundary="b"', "", "--b", "--b", "", "--b", "", "", "--b--"),
    )
    yield (
        "multipart-header-cut",
        lines(
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
        lines(
            'Content-Type: multipart/mixed; boundary="b"', "", "--b", "Content-Type: message/rfc822", "--b--"
        ),
    )
    yield (
        "multipart-inner-header-cut",
        lines(
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
        lines(
            'Content-Type: multipart/mixed; boundary="b"',
            "",
            "--b",
            "Content-Type: message/rfc822",
            "",
            "--b--",
        ),
    )
    yield "multipart-boundary-blanks", multipart("b", text, html).replace(b"--b\r\n", b"--b  \t\r\n")
    yield "multipart-prefix", multipart("b", multipart("bb", text, html), text)
    yield "multipart-prefix-reversed", multipart("bb", multipart("b", text, html), text)
    yield "multipart-same-boundary", multipart("b", multipart("b", text, html), text)
    yield "multipart-dashes", multipart("--b--", text, html)
    yield "multipart-inner-no-end", multipart("a", multipart("b", text, html, end=b""), text)
    yield "multipart-inner-tight", multipart("a", multipart("b", text, html)[:-2], text)
    yield (
        "multipart-message-tight",
        multipart("a", _part("Content-Type: message/rfc822", body=multipart("b", text)[:-2]), text),
    )
    yield "multipart-after-end", multipart("b", text) + b"--b\r\n\r\nmore\r\n--b--\r\n"
    yield "multipart-long-boundary", multipart("x" * 200, text, html)
    yield "multipart-odd-boundary", multipart("a'()+_,-./:=? b", text, html)
    yield "multipart-lf", multipart("b", text, message, html).replace(b"\r\n", b"\n")
    yield (
        "digest",
        multipart(
            "b",
            _part(body=message[message.index(b"Subject") :]),
            _part("Content-Type: text/plain"),
            subtype="digest",
        ),
    )
    yield "digest-empty", multipart("b", b"", _part(), subtype="digest")
    yield "message", multipart("b", message, text)
    yield "message-root", message
    yield (
        "message-base64",
        multipart(
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
        multipart(
            "b", _part("Content-Type: message/rfc822", body=multipart("c", text, html, header="Subject: in"))
        ),
    )
    yield "message-in-message", multipart("b", _part("Content-Type: message/rfc822", body=message))
    yield (
        "message-no-mime",
        multipart(
            "b", _part("Content-Type: message/rfc822", body=lines("Content-Disposition: inline", "", "x"))
        ),
    )
    yield (
        "multipart-broken-type-part",
        multipart("b", _part("Content-Type: text"), _part("Content-Type: multipart/x y; boundary=c")),
    )
    yield (
        "multipart-ext",
        multipart(
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
