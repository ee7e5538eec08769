import ipaddress

import pytest

from esp.core.network import Networks

SOME = Networks.parse(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])


@pytest.mark.parametrize(
    "address", ["192.0.2.200", "2001:db8::1", "2001:db8::1%eth0", "198.51.100.7", "::ffff:192.0.2.1"]
)
def test_who_is_among_networks(address: str) -> None:
    assert address in SOME


@pytest.mark.parametrize("address", ["192.0.3.1", "2001:db9::1", "198.51.100.8", "", "/run/socket", "::1"])
def test_who_is_not(address: str) -> None:
    assert address not in SOME


def test_addresses_may_be_typed() -> None:
    assert ipaddress.ip_address("192.0.2.1") in SOME
    assert ipaddress.ip_address("::ffff:192.0.2.1") in SOME


def test_nobody_is_in_no_network() -> None:
    assert "192.0.2.1" not in Networks()


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="lan"):
        Networks.parse(["lan"])
