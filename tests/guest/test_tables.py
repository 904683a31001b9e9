"""Tables for a contract: they can be pasted, and say only what the image determines."""

from __future__ import annotations

import tomllib

from coterie.guest.tables import ROLES, Measurements, trust_tables

MEASURED = Measurements(
    program=b"\1" * 32,
    pcrs={pcr: bytes([pcr]) * 32 for pcr in (4, 5, 8, 9, 11, 12, 13, 14, 15)},
    rtmrs={number: bytes([number]) * 48 for number in (1, 2, 3)},
)


def test_tdx_gets_the_registers_of_the_image_and_a_note_of_the_rest() -> None:
    text = trust_tables(MEASURED, ROLES["worker"], "tdx")
    roles = tomllib.loads(text)["trust"]["roles"]
    expected = {f"rtmr{number}": [f"0{number}" * 48] for number in (1, 2, 3)}
    assert roles == {"worker": expected, "chief": expected}
    assert "# mrtd: of the host's firmware and machine" in text


def test_a_simulated_guest_gets_its_program_and_the_warning() -> None:
    text = trust_tables(MEASURED, ROLES["ps"], "simulated")
    assert tomllib.loads(text) == {"trust": {"roles": {"ps": {"mrenclave": ["01" * 32]}}}}
    assert "SIMULATED: proves nothing" in text


def test_pcrs_are_told_except_those_that_clouds_write_anew() -> None:
    lines = [line for line in trust_tables(MEASURED, ("ps",), "tdx").splitlines() if "PCR" in line]
    assert lines == [f'# SHA-256 PCR {pcr}: "{f"{pcr:02x}" * 32}"' for pcr in (4, 9, 11, 12, 13)]
