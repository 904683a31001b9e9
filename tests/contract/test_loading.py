"""Files and peers' bytes that are no contract: refused with the file's name, never a traceback."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import (
    canonical_json,
    contract_digest,
    contract_from_json,
    load_contract,
    parse_contract,
)
from coterie.contract.loading import MAX_CONTRACT_BYTES
from coterie.errors import ContractInvalid
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "hfl.toml"


def test_a_toml_file_loads() -> None:
    assert load_contract(EXAMPLE).name == "hfl-example"


def test_a_json_file_holds_the_canonical_form(tmp_path: Path) -> None:
    contract = load_contract(EXAMPLE)
    path = tmp_path / "contract.json"
    path.write_bytes(canonical_json(contract))
    assert canonical_json(load_contract(path)) == canonical_json(contract)


def test_an_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "absent.toml"
    with pytest.raises(ContractInvalid) as refused:
        load_contract(path)
    assert str(path) in refused.value.what
    assert refused.value.seen == "No such file or directory"
    assert refused.value.remedy


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractInvalid) as refused:
        load_contract(tmp_path)
    assert refused.value.seen == "Is a directory"


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_file_that_is_too_large_is_not_even_parsed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"large{suffix}"
    path.write_bytes(b"#" * (MAX_CONTRACT_BYTES + 2))
    with pytest.raises(ContractInvalid) as refused:
        load_contract(path)
    assert str(MAX_CONTRACT_BYTES) in refused.value.what + refused.value.expected


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"format = \n", "Invalid value (at line 1, column 10)"),
        (b"format = 1\nformat = 1\n", "Cannot overwrite a value (at line 2, column 11)"),
    ],
)
def test_bad_toml_is_refused_with_its_line(text: bytes, seen: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        parse_contract(text, "c.toml")
    assert refused.value.what == "the contract c.toml is not valid TOML"
    assert seen in refused.value.seen


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_a_contract(mark: bytes, tmp_path: Path) -> None:
    plain = EXAMPLE.read_bytes()
    path = tmp_path / "c.toml"
    path.write_bytes(mark + plain)
    assert load_contract(path) == parse_contract(plain, "hfl.toml")
    kept = tmp_path / "contract.json"
    kept.write_bytes(mark + canonical_json(load_contract(path)))
    assert contract_digest(load_contract(kept)) == contract_digest(load_contract(path))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"\xff", "byte 0xff on line 1"),
        (b'format = 1\nname = "Gr\xf6\xdfe"\n', "byte 0xf6 on line 2"),
        ("format = 1\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_contract_in_another_encoding_is_called_so(text: bytes, seen: str) -> None:
    with pytest.raises(ContractInvalid, match=r"contract c\.toml is no text in UTF-8") as refused:
        parse_contract(text, "c.toml")
    assert refused.value.seen == seen
    assert refused.value.remedy == "save the file in UTF-8"


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"format": 1} x'])
def test_bad_json_is_refused(text: bytes) -> None:
    with pytest.raises(ContractInvalid, match="the contract from peer is not JSON"):
        contract_from_json(text, "peer")


@pytest.mark.parametrize("text", [b"null", b"[]", b"1", b'"x"', b"NaN"])
def test_json_of_another_shape_is_refused(text: bytes) -> None:
    with pytest.raises(ContractInvalid, match="the contract peer is not valid"):
        contract_from_json(text, "peer")


def test_a_quoted_value_is_bounded() -> None:
    text = b'{"name": "' + b"x" * 100_000 + b'"}'
    with pytest.raises(ContractInvalid) as refused:
        contract_from_json(text, "peer")
    assert len(str(refused.value)) < 2_000


@given(st.binary(max_size=200))
def test_any_bytes_are_a_contract_or_refused(text: bytes) -> None:
    for read in (parse_contract, contract_from_json):
        with pytest.raises(ContractInvalid):
            read(text, "anything")


@given(st.data())
def test_a_contract_with_any_byte_replaced_is_a_contract_or_refused(data: st.DataObject) -> None:
    for octets, read in (
        (EXAMPLE.read_bytes(), parse_contract),
        (canonical_json(load_contract(EXAMPLE)), contract_from_json),
    ):
        place = data.draw(st.integers(0, len(octets) - 1))
        changed = octets[:place] + data.draw(st.binary(max_size=4)) + octets[place + 1 :]
        with contextlib.suppress(ContractInvalid):
            assert canonical_json(read(changed, "changed"))


# RecursionError and int()'s ValueError come through.
@pytest.mark.parametrize(
    "text",
    [b"a = " + b"[" * 5_000 + b"]" * 5_000, b"format = " + b"1" * 5_000],
    ids=["deep nesting", "an integer of 5000 digits"],
)
def test_toml_that_overwhelms_its_parser_is_refused(text: bytes) -> None:
    with pytest.raises(ContractInvalid):
        parse_contract(text, "c.toml")


# RecursionError comes through; these bytes come from a peer.
def test_json_that_overwhelms_its_parser_is_refused() -> None:
    with pytest.raises(ContractInvalid):
        contract_from_json(b"[" * 100_000, "peer")
