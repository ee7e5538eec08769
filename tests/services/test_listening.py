"""Where doors can be reached."""

import socket

import pytest

from esp.services.listening import listener


def reached(port: int, *addresses: str) -> list[str]:
    found: list[str] = []
    for address in addresses:
        try:
            socket.create_connection((address, port), timeout=5).close()
        except ConnectionRefusedError:
            continue
        found.append(address)
    return found


@pytest.mark.parametrize(
    ("address", "addresses"),
    [
        ("::", ["127.0.0.1", "::1"]),
        ("::1", ["::1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
    ],
)
def test_a_door_is_reached_by_the_families_of_its_address(address: str, addresses: list[str]) -> None:
    with listener(address, 0) as door:
        assert reached(door.getsockname()[1], "127.0.0.1", "::1") == addresses


def test_several_processes_share_a_port_and_none_takes_that_of_another_program() -> None:
    with listener("127.0.0.1", 0) as one, listener("127.0.0.1", one.getsockname()[1]) as other:
        assert other.getsockname() == one.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as alone, pytest.raises(OSError, match="in use"):
        listener("127.0.0.1", alone.getsockname()[1])
