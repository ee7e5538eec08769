"""The header fields that a message gets on its way in (RFC 5321 §4.4, RFC 8601)."""

import re
from datetime import datetime
from functools import lru_cache

from esp.core.address import Address
from esp.core.envelope import Client

# What can stand in `Extended-Domain` without harm; anything else a client called itself stays out of the header.
_HELO = re.compile(r"[A-Za-z0-9_.\-]{1,255}|\[[A-Za-z0-9_.:\-]{1,64}\]")
# RFC 6531 §3.3, §3.7.3: U-labels only where the message is internationalised; C1 controls never.
_HELO_UTF8 = re.compile(r"[A-Za-z0-9_.\-\u00a0-\U0010ffff]{1,255}")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def date_time(moment: datetime) -> str:
    """Return `date-time` of RFC 5322 §3.3; the moment must know its zone."""
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment.day} {month} {moment.year} {moment:%H:%M:%S %z}"


def return_path(reverse_path: Address | None) -> bytes:
    """Return the Return-Path line; `None` is the null path."""
    return f"Return-Path: <{reverse_path or ''}>\r\n".encode()


def received(
    client: Client, hostname: str, transaction: str, only_recipient: Address | None, date: str
) -> bytes:
    """Return the Received lines.

    ```abnf
    Time-stamp-line = "Received:" FWS From-domain By-domain Opt-info [CFWS] ";" FWS date-time
    ```

    Args:
        client: who brought the message.
        hostname: ours.
        transaction: the id by which the log knows the message.
        only_recipient: named only if it is the only one: one copy goes to all, and nobody reads there who else got
            it (RFC 5321 §7.2).
        date: when, as `date_time` writes it.
    """
    head = _from_and_by(client.address, client.helo, client.protocol, hostname)
    tls = f"\r\n\t(using {client.tls})" if client.tls else ""
    recipient = f"\r\n\tfor <{only_recipient}>" if only_recipient is not None else ""
    return f"{head} id {transaction}{tls}{recipient};\r\n\t{date}\r\n".encode()


def authentication_results(client: Client, hostname: str) -> bytes:
    """Return the Authentication-Results line (RFC 8601 §2.2); empty for what comes by LMTP, which is taken elsewhere.

    Not which account has logged in: it may send from an alias that is not to tell whose it is.
    """
    if "LMTP" in client.protocol:
        return b""
    result = "none" if client.principal is None else "auth=pass"
    return f"Authentication-Results: {hostname}; {result}\r\n".encode()


@lru_cache(maxsize=1024)
def _from_and_by(address: str, helo: str, protocol: str, hostname: str) -> str:
    fits = _HELO.fullmatch(helo) or (protocol.startswith("UTF8") and _HELO_UTF8.fullmatch(helo))
    name = helo if fits else "unknown"
    # TCP-info = address-literal
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    return f"Received: from {name} ({literal})\r\n\tby {hostname} (ESP) with {protocol}"
