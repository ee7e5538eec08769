"""The mail that is sent: the same for every server and every run, made from a seed."""

import base64
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

DOMAIN = "bench.test"
BASE = 10
"""Users of which `smtp-source -r` makes more by writing numbers before them."""

SUBJECT_NEEDLE = "quarterly"
BODY_NEEDLE = "zeppelin"

_EPOCH = datetime(2026, 1, 5, 9, tzinfo=UTC)
_SYLLABLES = [consonant + vowel for consonant in "bdfghklmnprstvwz" for vowel in "aeio"]


def users() -> list[str]:
    """Return the hundred addresses; `smtp-source -r 10 -t u3@…` reaches `u3`, `2u3` … `10u3`."""
    return [
        f"{number if number > 1 else ''}u{base}@{DOMAIN}" for number in range(1, 11) for base in range(BASE)
    ]


class Writer:
    """Writes messages of plausible text: 20,000 words, the frequent ones frequent."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        words = [
            "".join(self._random.choices(_SYLLABLES, k=self._random.randint(1, 4))) for _ in range(20_000)
        ]
        weights = [1 / rank for rank in range(1, len(words) + 1)]
        self._sentences = []
        drawn = iter(self._random.choices(words, weights, k=60_000))
        for _ in range(5_000):
            sentence = " ".join(next(drawn) for _ in range(12))
            self._sentences.append(sentence.capitalize() + ".")

    def _text(self, octets: int) -> str:
        lines: list[str] = []
        written = 0
        while written < octets:
            line = self._random.choice(self._sentences)
            lines.append(line)
            written += len(line) + 2
        return "\r\n".join(lines)[:octets].rstrip() + "\r\n"

    def _header(self, number: int, subject: str, content: str) -> str:
        date = format_datetime(_EPOCH + timedelta(minutes=7 * number))
        return (
            f"From: Sender {number % 211} <sender{number % 211}@elsewhere.test>\r\n"
            f"To: Reader <reader@{DOMAIN}>\r\n"
            f"Cc: Other {number % 17} <other{number % 17}@elsewhere.test>\r\n"
            f"Subject: {subject}\r\nDate: {date}\r\n"
            f"Message-ID: <{number}.{self._random.getrandbits(48):x}@elsewhere.test>\r\n"
            f"References: <{max(number - 1, 0)}.thread@elsewhere.test>\r\n"
            f"MIME-Version: 1.0\r\nX-Mailer: Benchmark 1.0\r\n{content}\r\n"
        )

    def message(self, number: int, octets: int) -> bytes:
        """Return message `number` of about `octets`: text, or with an attachment when longer than 16 KiB."""
        subject = " ".join(self._random.choice(self._sentences).split()[:5])
        if octets <= 16 * 1024:
            head = self._header(number, subject, "Content-Type: text/plain; charset=utf-8\r\n")
            return (head + self._text(max(octets - len(head), 64))).encode()
        head = self._header(number, subject, 'Content-Type: multipart/mixed; boundary="=-bench"\r\n')
        body = "--=-bench\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + self._text(8 * 1024)
        body += (
            '--=-bench\r\nContent-Type: application/pdf; name="report.pdf"\r\n'
            "Content-Transfer-Encoding: base64\r\n"
            'Content-Disposition: attachment; filename="report.pdf"\r\n\r\n'
        )
        attached = self._random.randbytes((octets - len(head) - len(body) - 20) * 57 // 78)
        encoded = base64.encodebytes(attached).decode().replace("\n", "\r\n")
        return (head + body + encoded + "--=-bench--\r\n").encode()

    def mailbox(self, count: int) -> Iterator[bytes]:
        """Make a mailbox as people have them, about 10 KiB a message: text, text with HTML, attachments.

        One subject in a hundred holds `SUBJECT_NEEDLE`, one text in a hundred `BODY_NEEDLE`.
        """
        for number in range(count):
            kind = number % 10
            subject = " ".join(self._random.choice(self._sentences).split()[:6])
            if number % 100 == 50:
                subject += f" {SUBJECT_NEEDLE} figures"
            text = self._text(self._random.randint(1_000, 5_000))
            if number % 100 == 42:
                text += f"We came by {BODY_NEEDLE}.\r\n"
            if kind < 6:
                head = self._header(number, subject, "Content-Type: text/plain; charset=utf-8\r\n")
                yield (head + text).encode()
                continue
            head = self._header(number, subject, 'Content-Type: multipart/mixed; boundary="=-b"\r\n')
            html = "<html><body><p>" + text.replace("\r\n", "</p>\r\n<p>") + "</p></body></html>\r\n"
            body = (
                '--=-b\r\nContent-Type: multipart/alternative; boundary="=-a"\r\n\r\n'
                f"--=-a\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}"
                f"--=-a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}--=-a--\r\n"
            )
            if kind == 9:
                attached = base64.encodebytes(self._random.randbytes(30_000)).decode().replace("\n", "\r\n")
                body += (
                    '--=-b\r\nContent-Type: image/png; name="picture.png"\r\n'
                    f"Content-Transfer-Encoding: base64\r\n\r\n{attached}"
                )
            yield (head + body + "--=-b--\r\n").encode()
