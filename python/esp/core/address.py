"""Addresses: `local-part@domain` (RFC 5321 §4.1.2, internationalised by RFC 6531 §3.3).

In: text, or the parts that the SMTP door's parser found. Out: an `Address`, whose local part has no quotes
(they are not part of it, RFC 5321 §4.1.2) and whose domain is in one form only: lower-case A-labels, or an
address literal. What the local part means is the business of its domain alone, so its case is kept; only for
a domain of ours is it compared by `fold`.
"""

import re
import unicodedata
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna
import msgspec

from esp.core.errors import AddressSyntaxError

MAX_LOCAL_PART = 64
"""Octets (RFC 5321 §4.5.3.1.1)."""
MAX_DOMAIN = 255
"""Octets (RFC 5321 §4.5.3.1.2)."""

# RFC 6531 §3.3: atext, qtextSMTP and sub-domain are extended with UTF8-non-ascii.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
# Quoted-string = DQUOTE *QcontentSMTP DQUOTE
_QUOTED_STRING = re.compile(r'"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_MUST_QUOTE = re.compile(r'(["\\])')
# sub-domain = Let-dig [Ldh-str]
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Address(msgspec.Struct, frozen=True):
    """An address; the constructor trusts its parts, `parse` checks text."""

    local_part: str
    """Without quotes, in the case it was written."""
    domain: str
    """Lower-case A-labels, or an address literal with its brackets."""

    @property
    def literal(self) -> bool:
        """Whether the domain is an address literal (RFC 5321 §4.1.3)."""
        return self.domain.startswith("[")

    def __str__(self) -> str:
        return f"{_written(self.local_part)}@{self.domain}"

    def folded(self) -> "Address":
        """Return the form in which addresses of our own domains are kept and compared."""
        return Address(fold(self.local_part), self.domain)

    def split(self, delimiter: str) -> "tuple[Address, str | None]":
        """Part the tag from the local part at the first delimiter (RFC 5233 §4).

        A local part that begins with the delimiter, and an empty delimiter, part nothing.
        """
        at = self.local_part.find(delimiter) if delimiter else -1
        if at <= 0:
            return self, None
        return Address(self.local_part[:at], self.domain), self.local_part[at + len(delimiter) :]


_ESCAPED = r"\\\1"


@lru_cache(maxsize=4096)
def _written(local_part: str) -> str:
    """Return a local part with the quotes it needs; the same few come again and again, thrice for each message."""
    if _DOT_STRING.fullmatch(local_part) is not None:
        return local_part
    return f'"{_MUST_QUOTE.sub(_ESCAPED, local_part)}"'


def parse(text: str) -> Address:
    """Return the address that is the whole of `text`.

    Raises:
        AddressSyntaxError: it is not `Mailbox` of RFC 5321 §4.1.2, or longer than allowed.
    """
    # The domain holds no "@", so the last one parts them, whatever the quotes hold.
    local_part, at, domain_text = text.rpartition("@")
    if not at:
        raise AddressSyntaxError(f"{_shown(text)} is not an address: it has no @")
    return Address(parse_local_part(local_part), parse_domain(domain_text))


def parse_local_part(text: str) -> str:
    """Return a local part without its quotes.

    Raises:
        AddressSyntaxError: it is neither `Dot-string` nor `Quoted-string`, is empty, or longer than allowed.
    """
    if _DOT_STRING.fullmatch(text):
        content = text
    elif _QUOTED_STRING.fullmatch(text):
        content = _QUOTED_PAIR.sub(r"\1", text[1:-1])
    else:
        raise AddressSyntaxError(f"{_shown(text)} is not the local part of an address")
    # Half a surrogate pair cannot go over a wire.
    octets = len(content.encode("utf-8", "surrogatepass"))
    if not 0 < octets <= MAX_LOCAL_PART or not _encodable(content):
        raise AddressSyntaxError(f"{_shown(text)}: a local part has 1 to {MAX_LOCAL_PART} octets")
    # RFC 6532 §3.1: the same text must not be two addresses.
    return content if content.isascii() else unicodedata.normalize("NFC", content)


def parse_domain(text: str) -> str:
    """Return a domain as lower-case A-labels, or an address literal in its shortest form.

    Raises:
        AddressSyntaxError: it is neither.
    """
    if text.startswith("["):
        return _literal(text)
    if len(text) > MAX_DOMAIN:
        raise AddressSyntaxError(f"A domain has at most {MAX_DOMAIN} octets")
    if text.isascii():
        domain = text.lower()
    else:
        try:
            # RFC 5891 §5.2 with the mapping of UTS 46: what a user types is what was registered.
            domain = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressSyntaxError(f"{_shown(text)} is not a domain") from error
    if len(domain) > MAX_DOMAIN or _DOMAIN.fullmatch(domain) is None:
        raise AddressSyntaxError(f"{_shown(text)} is not a domain")
    return domain


def fold(local_part: str) -> str:
    """Return a local part as our own domains compare it: without case, in one composition (NFC)."""
    if local_part.isascii():
        return local_part.lower()
    folded = unicodedata.normalize("NFD", local_part).casefold()
    return unicodedata.normalize("NFC", folded)


def _literal(text: str) -> str:
    # IPv6-address-literal = "IPv6:" IPv6-addr; other tags of General-address-literal are not registered.
    if not text.endswith("]"):
        raise AddressSyntaxError(f"{_shown(text)} is not an address literal")
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            # A zone (fe80::1%eth0) means something on one machine only.
            if "%" in inner:
                raise AddressSyntaxError(f"{_shown(text)} is not an address literal")
            return f"[IPv6:{IPv6Address(inner[5:])}]"
        return f"[{IPv4Address(inner)}]"
    except AddressValueError as error:
        raise AddressSyntaxError(f"{_shown(text)} is not an address literal") from error


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    """Return untrusted text fit for one line of a reply or a log."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
