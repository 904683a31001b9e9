"""Every check has a row that it refuses, and honest evidence passes them all."""

from __future__ import annotations

import pytest

from coterie.attestation.appraiser import assess
from coterie.attestation.evidence import check_names
from coterie.attestation.policy import MeasurementIn, TcbStatusIn
from tests.attestation.forgeries import AT, EXTENDED, HONEST, TDX, Row, flags
from tests.attestation.test_refused_attributes import KIND_AND_ATTRIBUTES
from tests.attestation.test_refused_chains import CHAINS
from tests.attestation.test_refused_formats import FORMAT
from tests.attestation.test_refused_policies import POLICY
from tests.attestation.test_refused_revocation import REVOCATION
from tests.attestation.test_refused_signatures import SIGNATURES
from tests.attestation.test_refused_statements import STATEMENTS

ROWS = [
    *FORMAT,
    *KIND_AND_ATTRIBUTES,
    *CHAINS,
    *REVOCATION,
    *STATEMENTS,
    *SIGNATURES,
    *POLICY,
]


def test_every_check_has_a_row() -> None:
    names = {row.check for row in ROWS}
    assert set(check_names("simulated")) | set(check_names("tdx")) <= names


@pytest.mark.parametrize("size", [584, 648, EXTENDED])
def test_an_honest_guest_is_accepted(size: int) -> None:
    quote, collateral = Row("", "", kind="tdx", pki=TDX, td_size=size).evidence()
    policies = (TcbStatusIn(("UpToDate",)), MeasurementIn("mrtd", ("33" * 48,)))
    outcome = assess(
        quote, collateral, kind="tdx", root=HONEST.trust_root, policies=policies, at=AT
    )
    assert outcome.refusal is None
    assert outcome.verdict is not None
    assert tuple(check.name for check in outcome.checks) == (
        *check_names("tdx"),
        "tcb_status",
        "mrtd",
    )


@pytest.mark.parametrize("attribute", [6, 7, 10])
def test_harmless_attributes_are_accepted(attribute: int) -> None:
    quote, collateral = Row("", "", report=flags(0b101 | 1 << attribute)).evidence()
    outcome = assess(
        quote, collateral, kind="simulated", root=HONEST.trust_root, policies=(), at=AT
    )
    assert outcome.refusal is None


def test_padding_with_nul_is_accepted() -> None:
    quote, collateral = Row("", "", quote=lambda quote: quote + bytes(70)).evidence()
    outcome = assess(
        quote, collateral, kind="simulated", root=HONEST.trust_root, policies=(), at=AT
    )
    assert outcome.refusal is None
