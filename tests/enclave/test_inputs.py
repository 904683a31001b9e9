"""node.toml, the one file with which a host speaks to its node: strict, bounded, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.address import Address
from coterie.enclave.inputs import MAX_INPUT_BYTES, NodeInputs, read_inputs
from coterie.errors import EnvironmentUnfit

WHOLE = """
name = "acme-worker"
listen = "0.0.0.0:7440"
pccs_url = "https://pccs.example:8081"
kds_url = "https://kds.example"
td_quote_url = "http://169.254.1.1/quote"

[addresses]
ps0 = "ps0.example:7440"

[key_servers]
acme = "[2001:db8::1]:7500"
"""


def test_name_and_addresses_are_all_there_is(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(WHOLE)
    assert read_inputs(path) == NodeInputs(
        name="acme-worker",
        listen=Address("0.0.0.0", 7440),
        addresses={"ps0": Address("ps0.example", 7440)},
        key_servers={"acme": Address("2001:db8::1", 7500)},
        pccs_url="https://pccs.example:8081",
        kds_url="https://kds.example",
        td_quote_url="http://169.254.1.1/quote",
    )


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "name: Field required"),
        ('name = "a"\nargv = ["-c"]', "argv: Extra inputs are not permitted"),
        ('name = "a"\ndata = "/etc"', "data: Extra inputs are not permitted"),
        ('name = "a"\ntee = "simulated"', "tee: Extra inputs are not permitted"),
        ('name = "../a"', "name: String should match pattern"),
        ('name = "a"\nlisten = "here"', "listen: Value error, 'here' is not an address"),
        (
            'name = "a"\naddresses = {b = "b:1 --x"}',
            "addresses.b: Value error, 'b:1 --x' is not an address",
        ),
        ('name = "a"\npccs_url = "http://pccs"', "pccs_url: String should match pattern"),
        ('name = "a"\nkds_url = "http://kds"', "kds_url: String should match pattern"),
        (
            'name = "a"\ntd_quote_url = "file:///dev/sda"',
            "td_quote_url: String should match pattern",
        ),
        ("name = 1", "name: Input should be a valid string"),
        ("name = ", "Invalid value"),
        ('name = "a"\n#' + "x" * MAX_INPUT_BYTES, f"more than {MAX_INPUT_BYTES} bytes"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str, seen: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(EnvironmentUnfit, match=r"node\.toml, cannot be used") as caught:
        read_inputs(path)
    assert seen in caught.value.seen


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit) as caught:
        read_inputs(tmp_path / "node.toml")
    assert caught.value.seen == "No such file or directory"


@given(st.binary(max_size=300))
def test_whatever_the_host_writes_gives_inputs_or_the_error(
    tmp_path_factory: pytest.TempPathFactory, octets: bytes
) -> None:
    path = tmp_path_factory.mktemp("inputs") / "node.toml"
    path.write_bytes(octets)
    with pytest.raises(EnvironmentUnfit):
        read_inputs(path)
