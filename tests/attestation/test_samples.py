"""The evidence that ships with the project is what its page says: one genuine, one that proves nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.attestation.tee.simulated.snp_vendor import GuestFields, SimulatedAmd
from tests.cli.conftest import Run, run
from tests.conftest import REPOSITORY

__all__ = ["run"]

EVIDENCE = REPOSITORY / "examples" / "evidence"
SIMULATED, GENUINE = EVIDENCE / "simulated", EVIDENCE / "intel-sgx"
GUEST = EVIDENCE / "simulated-snp"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_simulated_sample_is_nobody_s_secret(run: Run) -> None:
    fields = EnclaveFields(
        mrenclave=b"\1" * 32, report_data=b"nobody vouches for this".ljust(64, b"\0")
    )
    assert (SIMULATED / "quote.bin").read_bytes() == sgx_quote(SimulatedPki(), fields)
    collateral = SIMULATED / "collateral.json"
    assert collateral.read_text() == SimulatedPki().collateral(AT).to_json()
    judged = ("attest", "verify", SIMULATED / "quote.bin", "--collateral", collateral)
    at = ("--at", AT.isoformat(), "--json")
    refused = run(*judged, *at)
    assert (refused.code, refused.value["failed_check"]) == (3, "tee_kind")
    accepted = run(*judged, *at, "--tee", "simulated")
    assert (accepted.code, accepted.value["stamp"]) == (0, "SIMULATED")


def test_the_simulated_guest_is_nobody_s_secret(run: Run) -> None:
    said = b"nobody vouches for this guest".ljust(64, b"\0")
    fields = GuestFields(measurement=b"\1" * 48, report_data=said)
    assert (GUEST / "quote.bin").read_bytes() == SimulatedAmd().evidence(fields)
    collateral = GUEST / "collateral.json"
    assert collateral.read_text() == SimulatedAmd().collateral(AT).to_json()
    shown = run("attest", "show", GUEST / "quote.bin", "--json").value
    assert (shown["tee_claimed"], shown["report_version"]) == ("simulated-snp", 3)
    judged = ("attest", "verify", GUEST / "quote.bin", "--collateral", collateral)
    at = ("--at", AT.isoformat(), "--json")
    refused = run(*judged, *at)
    assert (refused.code, refused.value["failed_check"]) == (3, "tee_kind")
    accepted = run(*judged, *at, "--tee", "simulated-snp")
    assert (accepted.code, accepted.value["stamp"]) == (0, "SIMULATED")


def test_the_genuine_sample_is_intel_s_and_no_debug_enclave(run: Run) -> None:
    shown = run("attest", "show", GENUINE / "quote.bin", "--json").value
    assert isinstance(shown["attributes"], dict)
    assert (shown["tee_claimed"], shown["attributes"]["debug"]) == ("sgx", False)
    assert bytes.fromhex(str(shown["report_data"])).rstrip(b"\0") == b"Hello, world!"
    judged = (
        *("attest", "verify", GENUINE / "quote.bin", "--collateral", GENUINE / "collateral.json"),
        *("--at", "2025-07-04T10:28:44Z", "--json"),
    )
    refused = run(*judged)
    assert (refused.code, refused.value["failed_check"]) == (3, "tcb_status")
    state = str(refused.value["seen"]).partition(" ")[0]
    assert run(*judged, "--accept-status", state).code == 0


@pytest.mark.parametrize(
    ("options", "check", "option"),
    [
        ((), "root_crl_validity", "--at TIME"),
        (("--at", "2025-07-04"), "tcb_status", "--accept-status"),
        (("--at", "2025-07-04", "--tee", "simulated"), "tee_kind", "--tee"),
        (("--at", "2099-01-01"), "pck_chain_validity", ""),
    ],
)
def test_a_refusal_names_the_option_that_helps(
    options: tuple[str, ...], check: str, option: str, run: Run
) -> None:
    files = (GENUINE / "quote.bin", "--collateral", GENUINE / "collateral.json", "--json")
    refused = run("attest", "verify", *files, *options)
    assert (refused.code, refused.value["failed_check"]) == (3, check)
    remedy = str(refused.value["remedy"])
    assert option in remedy if option else "--" not in remedy


def test_a_byte_order_mark_does_not_make_collateral_malformed(run: Run, tmp_path: Path) -> None:
    stored = tmp_path / "collateral.json"
    stored.write_bytes(b"\xef\xbb\xbf" + (GENUINE / "collateral.json").read_bytes())
    files = (GENUINE / "quote.bin", "--collateral", stored, "--at", "2025-07-04", "--json")
    assert run("attest", "verify", *files).value["failed_check"] == "tcb_status"


def test_what_is_somebody_else_s_says_whose_it_is() -> None:
    assert "Phala Network" in (GENUINE / "LICENSE").read_text()
    assert "MIT" in (EVIDENCE / "README.md").read_text()
