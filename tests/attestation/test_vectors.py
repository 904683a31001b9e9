"""Real published quotes: each gives its expected outcome, and the accepted statuses decide."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

import pytest

from coterie.attestation.appraiser import Appraisal, Appraiser, assess
from coterie.attestation.authentic import Vetted
from coterie.attestation.collateral import Collateral
from coterie.attestation.dcap_contracted import TDX_REGISTERS
from coterie.attestation.platform_policy import FEATURES, FeatureOff, OutOfDateWithin
from coterie.attestation.policy import (
    AdvisoriesWithin,
    Policy,
    TcbStatusIn,
)
from coterie.attestation.quote import parse_quote
from coterie.attestation.roots import INTEL_ROOT
from coterie.contract.trust import RolesTrust, RoleTrust, TrustSection
from coterie.errors import EvidenceRefused
from tests.attestation.conftest import Sampled
from tests.conftest import REPOSITORY

VECTORS = REPOSITORY.parent / "shared" / "attestation-vectors"
NAMES = (
    "sgx_v3_azure_debug",
    "sgx_v3_azure_prod",
    "sgx_v3_ccc_gramine_dice_debug",
    "sgx_v3_ccc_gramine_legacy_debug",
    "sgx_v3_integritee",
    "sgx_v3_konvera_gramine_ratls_outofdate",
    "sgx_v3_konvera_gramine_ratls_swhardening",
    "sgx_v3_lcp",
    "sgx_v3_oasis",
    "sgx_v3_phala",
    "sgx_v3_teepot_a",
    "sgx_v3_teepot_debug",
    "tdx_v4_google_cos113",
    "tdx_v4_phala",
    "tdx_v4_teepot",
    "tdx_v4_trustee_azvtpm_septve",
    "tdx_v5_google_sample",
    "tdx_v5_openenclave_relaunch",
    "tdx_v5_phala_outdated",
)
STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
)
# What dcap-qvl says of vectors that must be refused, and the check that we name.
REFUSALS = {
    "Debug mode is enabled": "attributes_debug",
    "SEPT_VE_DISABLE is not enabled": "td_sept_ve_disable",
    "No matching TCB level found": "tcb_level",
}


@dataclass(frozen=True)
class Vector:
    """A real quote with Intel-signed collateral and what must come out."""

    quote: bytes
    collateral: Collateral
    at: datetime
    status: str | None
    advisories: tuple[str, ...]
    error: str | None

    def assess(self, *policies: Policy, at: datetime | None = None) -> Appraisal:
        """Assesses the vector under Intel's root, at the time of its collateral unless given."""
        return assess(
            self.quote,
            self.collateral,
            kind=parse_quote(self.quote).kind,
            root=INTEL_ROOT,
            policies=policies,
            at=at or self.at,
        )


def read(name: str) -> Vector:
    """Reads a vector; skips where the shared folder is absent."""
    if not VECTORS.is_dir():
        pytest.skip(f"real vectors are not here: {VECTORS}")
    entries = json.loads((VECTORS / "manifest.json").read_text())["vectors"]
    (entry,) = (entry for entry in entries if entry["name"] == name)
    return Vector(
        quote=(VECTORS / name / "quote.bin").read_bytes(),
        collateral=Collateral.from_json((VECTORS / name / "collateral.json").read_text()),
        at=datetime.fromtimestamp(entry["valid_at"], UTC),
        status=entry["expected_status"],
        advisories=tuple(sorted(entry["expected_advisories"] or ())),
        error=entry["expected_error"],
    )


def test_all_vectors_are_listed() -> None:
    read(NAMES[0])
    assert sorted(folder.name for folder in VECTORS.glob("*_v?_*")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_vector_gives_its_expected_outcome(name: str) -> None:
    vector = read(name)
    outcome = vector.assess(TcbStatusIn(STATUSES))
    if vector.error is None:
        assert outcome.refusal is None
        assert outcome.verdict is not None
        assert outcome.verdict.tcb_status == vector.status
        assert outcome.verdict.advisories == vector.advisories
        assert outcome.verdict.expiry > vector.at
    else:
        assert outcome.refusal is not None
        expected = next(check for text, check in REFUSALS.items() if text in str(vector.error))
        assert outcome.refusal.failed_check == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_accepted_statuses_decide(name: str) -> None:
    vector = read(name)
    for status in STATUSES:
        outcome = vector.assess(TcbStatusIn((status,)))
        assert (outcome.verdict is not None) == (status == vector.status)


@pytest.mark.parametrize("name", NAMES)
def test_advisories_must_be_listed(name: str) -> None:
    vector = read(name)
    if vector.advisories:
        outcome = vector.assess(AdvisoriesWithin(vector.advisories[1:]))
        assert outcome.refusal is not None
        assert outcome.refusal.failed_check == "advisories"
        assert vector.assess(AdvisoriesWithin(vector.advisories)).refusal is None


@pytest.mark.parametrize("name", NAMES)
def test_collateral_of_long_ago_proves_nothing_now(name: str) -> None:
    outcome = read(name).assess(TcbStatusIn(STATUSES), at=datetime.now(UTC))
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check in {
        "attributes_debug",
        "td_sept_ve_disable",
        "tcb_info_chain_validity",
        "root_crl_validity",
        "pck_crl_validity",
    }


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_and_trailing_bytes_are_refused(name: str) -> None:
    vector = read(name)
    padded = replace(vector, quote=vector.quote + bytes(64))
    assert padded.assess().verdict == vector.assess().verdict
    with pytest.raises(EvidenceRefused) as refusal:
        parse_quote(vector.quote + b"\0\1")
    assert refusal.value.failed_check == "quote_format"


def respelled(quote: bytes, spelling: Callable[[str], str]) -> bytes:
    """A quote whose chain is written in another way; no signature covers that."""
    whole = parse_quote(quote).canonical
    start = whole.index(b"-----BEGIN")
    tail = whole[whole.rindex(b"-----END") :].partition(b"\n")[2]
    end = len(whole) - len(tail)
    chain = spelling(whole[start:end].decode()).encode() + tail
    body = {3: 384, 4: 584}.get(whole[0]) or 6 + struct.unpack_from("<I", whole, 50)[0]
    outer, inner = 48 + body, start - 4
    framed = bytearray(whole[:start] + chain)
    for place in (outer, inner) if whole[0] == 3 else (outer, outer + 4 + 128 + 2, inner):
        (size,) = struct.unpack_from("<I", framed, place)
        struct.pack_into("<I", framed, place, size + len(framed) - len(whole))
    return bytes(framed)


def wide(chain: str) -> str:
    """76 characters to a line, as MIME has them."""
    blocks = chain.split("-----END CERTIFICATE-----\n")[:-1]
    wider = []
    for block in blocks:
        begin, *lines = block.splitlines()
        text = "".join(lines)
        wider += [begin, *(text[i : i + 76] for i in range(0, len(text), 76))]
        wider.append("-----END CERTIFICATE-----")
    return "\n".join((*wider, ""))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "spelling", [wide, lambda chain: chain.replace("\n", "\r\n")], ids=["76 wide", "CRLF"]
)
def test_the_lines_of_a_chain_change_nothing(name: str, spelling: Callable[[str], str]) -> None:
    vector = read(name)
    changed = respelled(vector.quote, spelling)
    assert changed != parse_quote(vector.quote).canonical
    assert parse_quote(changed) == parse_quote(parse_quote(vector.quote).canonical)
    before, after = vector.assess(), replace(vector, quote=changed).assess()
    assert after.verdict == before.verdict
    assert (after.refusal is None) == (before.refusal is None)


@pytest.mark.parametrize(
    ("name", "on", "date"),
    [
        ("sgx_v3_integritee", {"smt", "dynamic_platform", "cached_keys"}, "2023-08-09"),
        ("sgx_v3_oasis", {"dynamic_platform"}, "2022-08-10"),
    ],
)
def test_real_platforms_say_how_they_are_configured_and_since_when(
    name: str, on: set[str], date: str
) -> None:
    vector = read(name)
    for feature in FEATURES:
        refusal = vector.assess(FeatureOff(feature)).refusal
        assert (refusal is not None) == (feature in on)
        if refusal is not None:
            assert (refusal.failed_check, refusal.seen) == (f"platform_{feature}", "on")
    days = (vector.at - datetime.fromisoformat(date).replace(tzinfo=UTC)).days
    assert vector.assess(OutOfDateWithin(days + 1)).refusal is None
    refusal = vector.assess(OutOfDateWithin(days)).refusal
    assert refusal is not None
    assert (refusal.failed_check, refusal.seen) == ("tcb_date", f"the platform's level of {date}")


def reference_values(vector: Vector) -> TrustSection:
    """A production contract that lists exactly what a vector shows."""
    verdict = vector.assess().verdict
    assert verdict is not None
    shown = dict(verdict.measurements)
    registers = TDX_REGISTERS if verdict.tee == "tdx" else ("mrenclave",)
    table = RoleTrust.model_validate(
        {
            "accepted_tcb_statuses": [verdict.tcb_status],
            "accepted_advisories": verdict.advisories,
            "minimum_tcb_evaluation_number": verdict.evaluation_number,
            "fmspc": [verdict.fmspc],
            "ppid": [verdict.ppid],
            **{name: [shown[name]] for name in registers},
        }
    )
    return TrustSection(tee=verdict.tee, roles=RolesTrust(worker=table))


@pytest.mark.parametrize("name", ["sgx_v3_integritee", "tdx_v4_phala", "tdx_v5_google_sample"])
def test_a_production_contract_judges_real_evidence(name: str) -> None:
    vector = read(name)
    appraiser = Appraiser(reference_values(vector), own_measurement=None)
    quote, collateral = parse_quote(vector.quote), Vetted(vector.collateral)
    verdict = appraiser.appraise(
        quote,
        report_data=quote.report_data,
        role="worker",
        kind=quote.kind,
        collateral=collateral,
        at=vector.at,
    )
    assert not verdict.simulated
    with pytest.raises(EvidenceRefused) as refusal:
        appraiser.appraise(
            quote,
            report_data=b"\xff" * 64,
            role="worker",
            kind=quote.kind,
            collateral=collateral,
            at=vector.at,
        )
    assert refusal.value.failed_check == "report_data"


def test_a_contract_for_one_guest_refuses_another() -> None:
    one, other = read("tdx_v4_teepot"), read("tdx_v4_google_cos113")
    outcome = Appraiser(reference_values(one), own_measurement=None).assess(
        other.quote,
        report_data=None,
        role="worker",
        kind="tdx",
        collateral=other.collateral,
        at=other.at,
    )
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == "mrtd"


def test_real_evidence_is_refused_under_a_simulated_contract() -> None:
    vector = read("sgx_v3_lcp")
    table = RoleTrust(
        mrenclave=(dict(_measured(vector))["mrenclave"],),
        accepted_tcb_statuses=("SWHardeningNeeded",),
    )
    trust = TrustSection(tee="simulated", roles=RolesTrust(worker=table))
    outcome = Appraiser(trust, own_measurement=None).assess(
        vector.quote,
        report_data=None,
        role="worker",
        kind="simulated",
        collateral=vector.collateral,
        at=vector.at,
    )
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == "tee_kind"


def test_time_without_a_zone_is_a_defect() -> None:
    vector = read("sgx_v3_lcp")
    with pytest.raises(ValueError, match="time zone"):
        vector.assess(at=vector.at.replace(tzinfo=None))


def _measured(vector: Vector) -> tuple[tuple[str, str], ...]:
    return parse_quote(vector.quote).measurements


def bits(length: int) -> Iterable[tuple[int, int]]:
    return ((byte, bit) for byte in range(length) for bit in range(8))


def refused(attempt: Callable[[], Appraisal]) -> bool:
    """Whether an attempt is refused, by an error of ours and no other."""
    try:
        return attempt().verdict is None
    except EvidenceRefused:
        return True


@pytest.mark.parametrize(
    "name", ["sgx_v3_konvera_gramine_ratls_swhardening", "tdx_v4_phala", "tdx_v5_google_sample"]
)
@pytest.mark.sampled
def test_every_bit_of_a_quote_counts(name: str, sampled: Sampled) -> None:
    vector = read(name)
    kind = parse_quote(vector.quote).kind
    assert vector.assess().verdict is not None

    def with_bit(byte: int, bit: int) -> Appraisal:
        data = bytearray(vector.quote)
        data[byte] ^= 1 << bit
        return assess(
            bytes(data),
            vector.collateral,
            kind=kind,
            root=INTEL_ROOT,
            policies=(),
            at=vector.at,
        )

    accepted = [
        (byte, bit)
        for byte, bit in sampled(bits(len(vector.quote)), 97)
        if not refused(lambda byte=byte, bit=bit: with_bit(byte, bit))  # type: ignore[misc]
    ]
    assert accepted == []


@pytest.mark.parametrize("name", ["sgx_v3_konvera_gramine_ratls_swhardening", "tdx_v4_phala"])
@pytest.mark.parametrize("field", sorted(field.name for field in fields(Collateral)))
@pytest.mark.sampled
def test_every_byte_of_collateral_counts(name: str, field: str, sampled: Sampled) -> None:
    vector = read(name)
    original: str | bytes = getattr(vector.collateral, field)
    data = original.encode() if isinstance(original, str) else original

    def with_byte(position: int, flip: int) -> Appraisal:
        changed = bytearray(data)
        changed[position] ^= flip
        value = bytes(changed).decode("latin-1") if isinstance(original, str) else bytes(changed)
        values = {**vars(vector.collateral), field: value}
        return replace(vector, collateral=Collateral(**values)).assess()

    accepted = [
        (position, flip)
        for position, flip in sampled(
            ((position, flip) for position in range(len(data)) for flip in (0x01, 0x20)), 29
        )
        if not refused(lambda position=position, flip=flip: with_byte(position, flip))  # type: ignore[misc]
    ]
    assert accepted == []
