"""network.toml: strict, bounded, and applied to the only device."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.guest.network import NetworkInputs, read_network, set_up

WHOLE = """
address = "10.0.0.5/24"
gateway = "10.0.0.1"
nameservers = ["10.0.0.2", "10.0.0.3"]
"""


def test_address_gateway_and_name_servers_are_all_there_is(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(WHOLE)
    inputs = read_network(path)
    assert inputs == NetworkInputs(
        address=IPv4Interface("10.0.0.5/24"),
        gateway=IPv4Address("10.0.0.1"),
        nameservers=(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")),
    )
    assert inputs.resolver() == "nameserver 10.0.0.2\nnameserver 10.0.0.3\n"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "address: Field required"),
        (WHOLE + 'command = "x"', "command: Extra inputs are not permitted"),
        ('address = "fe80::1/64"', "address: Input is not a valid IPv4 interface"),
        (
            'address = "10.0.0.5/24"\nnameservers = ["10.0.0.2\\noptions x"]',
            "nameservers.0: Input is not a valid IPv4 address",
        ),
        ("#" * (1 << 16) + "#", "more than 65536 bytes"),
        ("address", "Expected '=' after a key in a key/value pair (at end of document)"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, text: str, seen: str) -> None:
    path = tmp_path / "network.toml"
    path.write_text(text)
    with pytest.raises(EnvironmentUnfit, match=r"network\.toml, cannot be used") as refused:
        read_network(path)
    assert refused.value.seen == seen


@pytest.mark.parametrize(("names", "seen"), [((), "none"), (("eth0", "eth1"), "eth0 eth1")])
def test_a_guest_has_one_network_device(tmp_path: Path, names: tuple[str, ...], seen: str) -> None:
    (tmp_path / "lo").mkdir()
    for name in names:
        (tmp_path / name / "device").mkdir(parents=True)
    with pytest.raises(EnvironmentUnfit, match="which network device to use") as refused:
        set_up(NetworkInputs(address=IPv4Interface("10.0.0.5/24")), tmp_path)
    assert refused.value.seen == seen
