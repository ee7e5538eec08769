"""The PROXY protocol's header: any octets are one or are refused."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from esp.core.errors import InvalidError
from esp.core.proxy import FIXED_LENGTH, LONGEST, SIGNATURE, Proxied, remaining, source


@given(
    fixed=st.binary(max_size=20) | st.binary(min_size=4, max_size=4).map(SIGNATURE.__add__), rest=st.binary()
)
def test_a_header_is_read_or_refused(fixed: bytes, rest: bytes) -> None:
    with contextlib.suppress(InvalidError):
        length = remaining(fixed)
        assert length <= LONGEST
        assert fixed.startswith(SIGNATURE)
        found = source(fixed, rest[:length])
        assert found is None or found.address.packed == rest[: len(found.address.packed)]


@given(address=st.ip_addresses(), port=st.integers(0, 65535), more=st.binary(max_size=50))
def test_who_connected_is_read_back(address: Proxied, port: int, more: bytes) -> None:
    packed = address.packed  # type: ignore[attr-defined]
    rest = packed + packed + port.to_bytes(2, "big") + b"\0\x19" + more
    family = b"\x11" if len(packed) == 4 else b"\x21"
    fixed = SIGNATURE + b"\x21" + family + len(rest).to_bytes(2, "big")
    assert len(fixed) == FIXED_LENGTH
    assert remaining(fixed) == len(rest)
    assert source(fixed, rest) == Proxied(address, port)  # type: ignore[arg-type]
