"""The state of a paravisor's trust domain: what dcap-qvl would say if the attributes were not in its way.

On trust domains that dcap-qvl accepts both must agree, in what they find and in what they refuse.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from coterie.attestation import dcap
from coterie.attestation.authentic import TcbState
from coterie.attestation.collateral import Collateral
from coterie.attestation.paravisor import state_of, verify_paravisor
from coterie.attestation.quote import parse_quote
from coterie.attestation.roots import INTEL_ROOT
from coterie.attestation.tee.simulated.keys import sign_raw
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import (
    QuotingEnclave,
    honest_quoting_enclave,
    tdx_quote,
)
from coterie.attestation.tee.simulated.statements import SimulatedLevel
from coterie.errors import EvidenceRefused
from tests.attestation.forgeries import (
    AT,
    ISSUED,
    STRANGER_KEY,
    TD,
    TDX,
    flip,
    with_quoting_report,
)
from tests.attestation.test_vectors import read

STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
Change = Callable[[Collateral], Collateral]
Asked = tuple[bytes, Collateral, SimulatedPki]


def asked(
    *,
    pki: SimulatedPki = TDX,
    attributes: int = 1 << 28,
    quoting: Callable[[QuotingEnclave], QuotingEnclave] = lambda quoting: quoting,
    quote: Callable[[bytes], bytes] = lambda quote: quote,
    collateral: Change = lambda collateral: collateral,
    tee_tcb_svn: bytes = TD.tee_tcb_svn,
    signer: bytes = TD.mrsignerseam,
) -> Asked:
    """A quote with one property that is not honest, and collateral."""
    td = replace(TD, td_attributes=attributes, tee_tcb_svn=tee_tcb_svn, mrsignerseam=signer)
    made = tdx_quote(pki, td.encode(), quoting=quoting(honest_quoting_enclave(pki)))
    return quote(made), collateral(pki.issue(ISSUED)), pki


def theirs(case: Asked) -> TcbState | str:
    """What dcap-qvl finds, or the check that it fails."""
    quote, collateral, _ = case
    try:
        return dcap.verify_quote(quote, collateral, TDX.trust_root, AT)
    except EvidenceRefused as error:
        return error.failed_check


def ours(case: Asked) -> TcbState | str:
    quote, collateral, _ = case
    try:
        return state_of(parse_quote(quote), collateral)
    except EvidenceRefused as error:
        return error.failed_check


def signed(field: str, change: Callable[[dict[str, object]], object]) -> Change:
    """Changes a statement, which the TCB signer signs anew."""

    def apply(collateral: Collateral) -> Collateral:
        value = json.loads(getattr(collateral, field))
        change(value)
        text = json.dumps(value)
        signature = sign_raw(TDX.key("tcb_signer"), text.encode())
        return Collateral(**{**vars(collateral), field: text, f"{field}_signature": signature})

    return apply


def level(status: str = "UpToDate", svn: int = 2, *advisories: str) -> SimulatedLevel:
    return SimulatedLevel(status=status, svn=svn, advisories=advisories)


STATES = [
    *(
        asked(pki=replace(TDX, levels=(level(platform),), qe_levels=(level(enclave),)))
        for platform in STATUSES
        for enclave in ("UpToDate", "OutOfDate")
    ),
    asked(pki=replace(TDX, levels=(level("UpToDate", 4), level("OutOfDate", 3, "INTEL-SA-00002")))),
    asked(pki=replace(TDX, levels=(level("OutOfDate", 1), level("UpToDate", 3)))),
    asked(
        pki=replace(
            TDX,
            levels=(level("OutOfDate", 2, "INTEL-SA-00003", "INTEL-SA-00001"),),
            qe_levels=(level("UpToDate", 4), level("OutOfDate", 3, "INTEL-SA-00001")),
        )
    ),
]


@pytest.mark.parametrize("case", STATES)
def test_the_same_state_is_found(case: Asked) -> None:
    assert isinstance(ours(case), TcbState)
    assert ours(case) == theirs(case)


def test_advisories_of_all_parts_are_told_once() -> None:
    state = ours(STATES[-1])
    assert isinstance(state, TcbState)
    assert state.advisories == ("INTEL-SA-00001", "INTEL-SA-00003")


def sgx(info: dict[str, object]) -> list[object]:
    levels = info["tcbLevels"]
    assert isinstance(levels, list)
    found = levels[0]["tcb"]["sgxtcbcomponents"]
    assert isinstance(found, list)
    return found


NO_ENCLAVE: dict[str, dict[str, object]] = {
    "an enclave that is no QE": {"mrsigner": b"\1" * 32},
    "another product of its signer": {"isv_prod_id": 2},
    "a QE below all levels": {"isv_svn": 1},
    "a debug QE": {"attributes": b"\x13" + bytes(15)},
    "a QE with another MISCSELECT": {"misc_select": 1},
}
REFUSED = {
    "an altered quote": ("quote_signature", asked(quote=flip(48 + 200))),
    "a quoting enclave that the platform never signed": (
        "quoting_enclave_signature",
        asked(quoting=lambda quoting: replace(quoting, report_signer=STRANGER_KEY)),
    ),
    "an attestation key that it never certified": (
        "quoting_enclave_binding",
        asked(quoting=with_quoting_report(report_data=b"\1" * 64)),
    ),
    **{
        why: ("quoting_enclave_identity", asked(quoting=with_quoting_report(**changes)))
        for why, changes in NO_ENCLAVE.items()
    },
    "altered TCB info": (
        "tcb_info_signature",
        asked(collateral=lambda one: replace(one, tcb_info=one.tcb_info + " ")),
    ),
    "an altered QE identity": (
        "qe_identity_signature",
        asked(collateral=lambda one: replace(one, qe_identity=one.qe_identity + " ")),
    ),
    "a CPU below all levels": ("tcb_level", asked(pki=replace(TDX, cpu_svn=b"\1" * 16))),
    "one component below": ("tcb_level", asked(pki=replace(TDX, cpu_svn=b"\3" * 15 + b"\1"))),
    "a PCE below all levels": ("tcb_level", asked(pki=replace(TDX, pce_svn=1))),
    "a module below all levels": ("tcb_level", asked(tee_tcb_svn=b"\1\0" + b"\3" * 14)),
    "a component of TDX below": ("tcb_level", asked(tee_tcb_svn=b"\3\0" + b"\3" * 13 + b"\1")),
    "a revoked quoting enclave": (
        "tcb_level",
        asked(pki=replace(TDX, qe_levels=(level("Revoked"),))),
    ),
    "a status that quoting enclaves do not have": (
        "quoting_enclave_identity",
        asked(pki=replace(TDX, qe_levels=(level("SWHardeningNeeded"),))),
    ),
    "a revoked level": ("tcb_level", asked(pki=replace(TDX, levels=(level("Revoked"),)))),
    "a module by another signer": ("tdx_module", asked(signer=b"\1" * 48)),
    "a level without a component": (
        "dcap",
        asked(collateral=signed("tcb_info", lambda info: sgx(info).pop())),
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_the_same_is_refused(why: str) -> None:
    check, case = REFUSED[why]
    assert (ours(case), theirs(case)) == (check, check)


def identities(**changes: object) -> Change:
    """TCB info with an identity of the TDX module of version 1."""
    described = {
        "id": "TDX_01",
        "mrsigner": "00" * 48,
        "attributes": "00" * 8,
        "attributesMask": "FF" * 8,
        "tcbLevels": [
            {"tcb": {"isvsvn": 5}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"},
            {
                "tcb": {"isvsvn": 3},
                "tcbDate": "2025-01-01T00:00:00Z",
                "tcbStatus": "OutOfDate",
                "advisoryIDs": ["INTEL-SA-00009"],
            },
            {"tcb": {"isvsvn": 2}, "tcbDate": "2024-01-01T00:00:00Z", "tcbStatus": "Revoked"},
        ],
    }
    return signed("tcb_info", lambda info: info.update(tdxModuleIdentities=[described | changes]))


@pytest.mark.parametrize(
    ("svn", "changes", "found"),
    [
        (5, {}, "UpToDate"),
        (4, {}, "OutOfDate"),
        (2, {}, "tcb_level"),
        (1, {}, "tdx_module"),
        (5, {"id": "TDX_02"}, "tdx_module"),
        (5, {"id": "tdx_01"}, "UpToDate"),
        (5, {"mrsigner": "01" * 48}, "tdx_module"),
        (5, {"attributes": "01" + "00" * 7}, "tdx_module"),
        (5, {"attributes": "01" + "00" * 7, "attributesMask": "FE" + "FF" * 7}, "UpToDate"),
    ],
)
def test_a_module_with_an_identity_of_its_own(
    svn: int, changes: dict[str, object], found: str
) -> None:
    """Its level counts in place of the first two components of the platform's."""
    case = asked(tee_tcb_svn=bytes((svn, 1)) + b"\3" * 14, collateral=identities(**changes))
    state = ours(case)
    assert (state.status if isinstance(state, TcbState) else state) == found
    assert theirs(case) == state


def updated(launched: int, current: int, version: int = 1, *, status: str = "UpToDate") -> Asked:
    """A guest that was launched by one module, under which another one runs now (TDX 1.5)."""
    older, newer = (bytes(one) + b"\3" * 14 for one in ((launched, 1), (current, version)))
    body = replace(TD, tee_tcb_svn=older, current_svn=newer).encode(648)
    pki = replace(TDX, levels=(level(status),))
    return tdx_quote(pki, body, version=5), identities()(pki.issue(ISSUED)), pki


@pytest.mark.parametrize(
    ("launched", "current", "status", "found"),
    [
        (4, 5, "UpToDate", "TDRelaunchAdvised"),
        (4, 5, "SWHardeningNeeded", "TDRelaunchAdvised"),
        (4, 5, "ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        (4, 5, "ConfigurationAndSWHardeningNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        (4, 5, "OutOfDate", "OutOfDate"),
        (4, 4, "UpToDate", "OutOfDate"),
        (4, 4, "ConfigurationNeeded", "OutOfDateConfigurationNeeded"),
        (5, 4, "UpToDate", "UpToDate"),
        (5, 5, "ConfigurationNeeded", "ConfigurationNeeded"),
    ],
)
def test_a_guest_is_older_than_the_module_that_runs_now(
    launched: int, current: int, status: str, found: str
) -> None:
    """What was out of date at launch and is not any more helps once the guest is launched again."""
    case = updated(launched, current, status=status)
    state = ours(case)
    assert isinstance(state, TcbState)
    assert state.status == found
    assert theirs(case) == state


@pytest.mark.parametrize(
    ("case", "check"),
    [
        (updated(5, 2), "tcb_level"),
        (updated(5, 1), "tdx_module"),
        (updated(5, 5, 2), "tdx_module"),
    ],
)
def test_a_module_that_runs_now_and_is_revoked_or_unknown_is_refused(
    case: Asked, check: str
) -> None:
    assert (ours(case), theirs(case)) == (check, check)


def test_only_the_one_objection_is_passed_over() -> None:
    pki = replace(TDX, levels=(level("OutOfDate", 2, "INTEL-SA-00001"),))
    quote, collateral, _ = asked(pki=pki, attributes=0)
    state = verify_paravisor(parse_quote(quote), collateral, TDX.trust_root, AT)
    assert (state.status, state.advisories) == ("OutOfDate", ("INTEL-SA-00001",))
    debug, collateral, _ = asked(attributes=1)
    with pytest.raises(EvidenceRefused) as refused:
        verify_paravisor(parse_quote(debug), collateral, TDX.trust_root, AT)
    assert refused.value.failed_check == "dcap"
    assert refused.value.seen == "Debug mode is enabled"


@pytest.mark.parametrize("name", ["tdx_v4_google_cos113", "tdx_v4_phala", "tdx_v4_teepot"])
def test_real_quotes_have_the_state_that_dcap_qvl_finds(name: str) -> None:
    vector = read(name)
    quote = parse_quote(vector.quote)
    state = state_of(quote, vector.collateral)
    wanted = dcap.verify_quote(quote.canonical, vector.collateral, INTEL_ROOT, vector.at)
    assert state == wanted


def test_the_real_quote_of_azure_has_a_state() -> None:
    vector = read("tdx_v4_trustee_azvtpm_septve")
    state = verify_paravisor(parse_quote(vector.quote), vector.collateral, INTEL_ROOT, vector.at)
    assert state.status == "OutOfDate"
    assert state.advisories == ("INTEL-SA-00960", "INTEL-SA-00982", "INTEL-SA-00986")
    assert [one.date.date().isoformat() for one in state.levels] == ["2023-08-09", "2024-03-13"]
