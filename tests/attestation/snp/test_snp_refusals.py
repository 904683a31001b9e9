"""Every check of SNP evidence has a row that it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from coterie.attestation.appraiser import assess
from coterie.attestation.evidence import check_names
from coterie.attestation.platform_policy import PlatformIn
from coterie.attestation.policy import MeasurementIn, MinimumEvaluation, ReportDataIs, TcbStatusIn
from coterie.attestation.snp.endorsement import (
    CSP_ID,
    HARDWARE_ID,
    PART_OIDS,
    PRODUCT_NAME,
    RESERVED_OIDS,
)
from coterie.attestation.snp.platform import PLATFORM_BITS, SnpPlatform
from coterie.attestation.snp.policies import (
    TCBS,
    CloudIn,
    FirmwareFrom,
    GuestSvnFrom,
    PlatformHas,
    TcbFrom,
)
from coterie.attestation.snp.products import Tcb
from coterie.attestation.snp.quote import encode_snp_quote
from coterie.attestation.snp.report import Firmware
from coterie.attestation.snp.roots import AMD_ROOTS
from coterie.attestation.tee.by_kind import root_for, simulated_snp_roots
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.attestation.tee.simulated.snp_vendor import GuestFields, Member, SimulatedAmd
from tests.attestation.forgeries import check_refusal, put, title
from tests.attestation.snp.forgeries import (
    AT,
    GUEST,
    HONEST,
    ISSUED,
    TURIN,
    VLEK,
    Row,
)

PAST = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
FUTURE = (datetime(2026, 4, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
STRANGER = SimulatedAmd(root_key="stranger")
GENOA = SimulatedAmd(product="Genoa")
LOW, HIGH = Tcb(4, 0, 21, 213), Tcb(4, 0, 23, 213)


def vcek(oid: str, value: bytes) -> SimulatedAmd:
    """A vendor whose certificate has another value under an OID."""
    return replace(HONEST, more=((oid, value),))


def policy(bits: int) -> GuestFields:
    return replace(GUEST, policy=GUEST.policy | bits)


GUESTS = [
    Row("policy_debug", "a policy that allows debugging", guest=policy(1 << 19)),
    Row("policy_migration_agent", "a policy that allows a migration agent", guest=policy(1 << 18)),
    Row(
        "policy_migration_agent",
        "a guest with a migration agent",
        guest=replace(GUEST, migration_agent=b"\1" * 32),
    ),
    Row("policy_abi", "firmware older than the policy", guest=policy(2 << 8)),
    Row(
        "policy_abi",
        "firmware that may go back behind the policy",
        guest=replace(GUEST, policy=0x30000 | 1 << 8 | 55, firmware=((1, 55, 1), (1, 54, 9))),
    ),
    Row("author_key", "an author's key without a digest", guest=replace(GUEST, author_key=True)),
    Row(
        "author_key",
        "a digest of a key that is not there",
        guest=replace(GUEST, author_key_digest=b"\1" * 48, author_key=False),
    ),
]
CHAINS = [
    Row("vek_chain_root", "a root with another key", vendor=STRANGER),
    Row("tee_kind", "a stranger with AMD's own names", vendor=replace(STRANGER, prefix="")),
    Row("tee_kind", "simulated where real is demanded", kind="snp"),
    Row("tee_kind", "an SNP guest where an enclave is demanded", kind="simulated"),
    Row("vek_chain_role", "another name of the signing key", vendor=replace(HONEST, leaf_name="x")),
    Row(
        "vek_chain_role",
        "a VLEK's name under a VCEK's CA",
        vendor=replace(HONEST, leaf_name="Coterie Simulated SEV-VLEK"),
    ),
    Row(
        "vek_chain_role",
        "the CA of another product line",
        vendor=replace(HONEST, ca_name="Coterie Simulated SEV-Genoa"),
    ),
    Row(
        "vek_chain_role",
        "the CA of VLEKs over a VCEK",
        vendor=replace(HONEST, ca_name="Coterie Simulated SEV-VLEK-Milan"),
    ),
    Row(
        "vek_chain_role",
        "another name of the root",
        vendor=replace(HONEST, root_name="Coterie Simulated ARK-Genoa"),
    ),
    Row("vek_chain_role", "a CA that is none", vendor=replace(HONEST, ca_is_ca=False)),
    Row("vek_chain_role", "a signing key that is a CA", vendor=vcek("2.5.29.19", b"0\3\1\1\xff")),
    Row("vek_chain_role", "another organization", vendor=replace(HONEST, organization="x")),
    Row(
        "vek_chain_signature",
        "a signing key that its CA did not sign",
        quote=lambda _: encode_snp_quote(
            HONEST.report(GUEST),
            "vcek",
            (replace(HONEST, ca_key="stranger").chain[0], *HONEST.chain[1:]),
        ),
    ),
    Row(
        "vek_chain_signature",
        "a CA that the root did not sign",
        quote=lambda _: encode_snp_quote(
            HONEST.report(GUEST),
            "vcek",
            (HONEST.chain[0], STRANGER.chain[1], HONEST.chain[2]),
        ),
    ),
    Row(
        "vek_chain_signature",
        "a signing key that names another issuer",
        quote=lambda _: encode_snp_quote(
            HONEST.report(GUEST),
            "vcek",
            (replace(HONEST, ca_name="x").chain[0], *HONEST.chain[1:]),
        ),
    ),
    Row(
        "vek_chain_signature",
        "a root that did not sign itself so",
        quote=lambda quote: quote[:-1] + bytes((quote[-1] ^ 1,)),
    ),
    *(
        Row(
            "vek_chain_validity",
            f"a {member} certificate {when}",
            vendor=replace(HONEST, spans=((member, span),)),
        )
        for member in ("leaf", "ca", "root")
        for when, span in (("of the past", PAST), ("of the future", FUTURE))
    ),
]
EXTENSIONS = [
    *(
        Row("vek_extension", f"no {oid}", vendor=replace(HONEST, without=frozenset({oid})))
        for oid in (PRODUCT_NAME, HARDWARE_ID, *(PART_OIDS[p] for p in ("bootloader", "tee", "snp", "microcode")))
    ),
    Row("vek_extension", "no provider in a VLEK", vendor=replace(VLEK, without=frozenset({CSP_ID}))),
    Row("vek_extension", "a chip in a VLEK", vendor=replace(VLEK, more=((HARDWARE_ID, HONEST.chip_id),))),
    Row("vek_extension", "a provider in a VCEK", vendor=vcek(CSP_ID, b"\x16\x01a")),
    Row("vek_extension", "no fmc of Turin", vendor=replace(TURIN, without=frozenset({PART_OIDS["fmc"]}))),
    Row("vek_extension", "a patch level above 255", vendor=vcek(PART_OIDS["snp"], b"\2\2\1\0")),
    Row("vek_extension", "a negative patch level", vendor=vcek(PART_OIDS["snp"], b"\2\1\xff")),
    Row("vek_extension", "a long form of a number", vendor=vcek(PART_OIDS["snp"], b"\2\2\0\x16")),
    Row("vek_extension", "bytes after a number", vendor=vcek(PART_OIDS["snp"], b"\2\1\x16\0")),
    Row("vek_extension", "a reserved patch level", vendor=vcek(RESERVED_OIDS[0], b"\2\1\1")),
    Row("vek_extension", "a product's name in UTF-8", vendor=vcek(PRODUCT_NAME, b"\x0c\5Milan")),
    Row("vek_extension", "an empty provider", vendor=replace(VLEK, csp_id="")),
    Row("vek_extension", "a chip id of 63 bytes", vendor=vcek(HARDWARE_ID, b"\1" * 63)),
    Row("vek_extension", "a short chip id of Milan", vendor=vcek(HARDWARE_ID, b"\1" * 8)),
    Row("vek_extension", "a chip id of zeros", vendor=vcek(HARDWARE_ID, bytes(64))),
    Row("vek_product", "a certificate for Genoa", vendor=replace(HONEST, certified_product="Genoa-B1")),
    Row("vek_product", "a report by a Genoa", vendor=replace(HONEST, cpuid=(0x19, 0x11, 0))),
    Row("vek_product", "a report by an unknown processor", vendor=replace(HONEST, cpuid=(0x1B, 0, 0))),
    Row("vek_tcb", "a report of a lower TCB", vendor=replace(HONEST, reported=LOW)),
    Row("vek_tcb", "a report of a higher TCB", vendor=replace(HONEST, reported=HIGH)),
    Row("vek_tcb", "Turin, another fmc", vendor=replace(TURIN, reported=replace(TURIN.tcb, fmc=0))),
    Row("vek_chip_id", "a report by another chip", vendor=replace(HONEST, reported_chip=b"\1" * 64)),
    Row("vek_chip_id", "a VCEK and a hidden chip", vendor=replace(HONEST, reported_chip=bytes(64))),
    Row(
        "vek_chip_id",
        "Turin, another chip with the same beginning",
        vendor=replace(TURIN, reported_chip=TURIN.chip_id[:63] + b"\1"),
    ),
]  # fmt: skip
PLATFORMS = [
    *(
        Row("quote_signature", f"a flipped bit of the {name}", quote=put(place, b"\x01"))
        for name, place in (("report data", 0x50), ("measurement", 0x90), ("s", 0x2A0 + 72))
    ),
    Row(
        "quote_signature",
        "the signature of another report",
        quote=lambda quote: quote[:0x2A0] + HONEST.report(replace(GUEST, vmpl=1))[0x2A0:] + quote[1184:],
    ),
    Row("quote_signature", "zero in place of a signature", quote=put(0x2A0, bytes(144))),
    Row("tcb_order", "a committed TCB above the current one", vendor=replace(HONEST, current=LOW)),
    Row("tcb_order", "a reported TCB above the committed one", vendor=replace(HONEST, committed=LOW)),
    Row(
        "firmware_order",
        "firmware below what it has committed to",
        guest=replace(GUEST, firmware=((1, 55, 39), (1, 55, 40))),
    ),
]  # fmt: skip
REVOCATION = [
    Row("root_crl_format", "no list", collateral=lambda _: replace(_, amd_crl=b"")),
    Row("root_crl_format", "another file", collateral=lambda _: replace(_, amd_crl=b"0\0")),
    Row("root_crl_issuer", "a list by a stranger", vendor=replace(HONEST, crl_key="stranger")),
    Row("root_crl_issuer", "Genoa's list", collateral=lambda _: GENOA.issue(ISSUED)),
    Row("root_crl_validity", "a list of last year", collateral=lambda _: HONEST.issue(AT - timedelta(days=365))),
    Row("root_crl_validity", "a list of tomorrow", collateral=lambda _: HONEST.issue(AT + timedelta(days=1))),
    Row("root_revocation", "a revoked root", vendor=replace(HONEST, revoked=frozenset({"root"}))),
    Row("vek_ca_revocation", "a revoked CA", vendor=replace(HONEST, revoked=frozenset({"ca"}))),
    Row("vek_ca_revocation", "a revoked CA of VLEKs", vendor=replace(VLEK, revoked=frozenset({"ca"}))),
]  # fmt: skip
FLOOR = (("Milan", HONEST.tcb),)
POLICY = [
    *(
        Row(name, f"another {name}", policies=(MeasurementIn(name, ("44",)),))
        for name in (
            *("launch_measurement", "guest_policy", "vmpl", "family_id", "image_id"),
            *("id_key_digest", "author_key_digest", "host_data", "signing_key"),
        )
    ),
    Row("launch_measurement", "no reference value", policies=(MeasurementIn("launch_measurement", ()),)),
    Row("mrenclave", "a guest where an enclave is demanded", policies=(MeasurementIn("mrenclave", ("33" * 48,)),)),
    Row("guest_svn", "an old image", policies=(GuestSvnFrom(1),)),
    Row("csp_id", "a cloud provider not listed", vendor=VLEK, policies=(CloudIn(("CN=other",)),)),
    Row("csp_id", "a cloud provider where none is listed", vendor=VLEK, policies=(CloudIn(()),)),
    Row("platform_product", "a product line without a floor", vendor=TURIN, policies=(TcbFrom(FLOOR),)),
    Row("platform_product", "no floor at all", policies=(TcbFrom(()),)),
    *(
        Row("launch_tcb", f"a guest started at a lower {why}", vendor=replace(HONEST, launch=low), policies=(TcbFrom(FLOOR),))
        for why, low in (
            ("bootloader", replace(HONEST.tcb, bootloader=3)),
            ("snp", LOW),
            ("microcode", replace(HONEST.tcb, microcode=212)),
        )
    ),
    Row("committed_tcb", "a platform below the floor", policies=(TcbFrom((("Milan", HIGH),)),)),
    Row(
        "reported_tcb",
        "a key of an old TCB",
        vendor=replace(HONEST, tcb=LOW, current=HIGH, committed=HIGH, launch=HIGH),
        policies=(TcbFrom((("Milan", HONEST.tcb),)),),
    ),
    Row("committed_tcb", "Turin, an old fmc", vendor=TURIN, policies=(TcbFrom((("Turin", replace(TURIN.tcb, fmc=2)),)),)),
    Row("committed_tcb", "Turin, a floor without fmc", vendor=TURIN, policies=(TcbFrom((("Turin", replace(TURIN.tcb, fmc=None)),)),)),
    Row("firmware", "old firmware", policies=(FirmwareFrom(Firmware(1, 55, 41)),)),
    Row(
        "firmware",
        "new firmware that may go back",
        guest=replace(GUEST, firmware=((1, 55, 41), (1, 55, 40))),
        policies=(FirmwareFrom(Firmware(1, 55, 41)),),
    ),
    *(
        Row(
            f"platform_{name}",
            f"not {name}",
            guest=replace(GUEST, platform_info=0x7F & ~bit if on else bit),
            policies=(PlatformHas(name),),
        )
        for name, (bit, on) in PLATFORM_BITS.items()
    ),
    Row(
        "platform_alias_check_complete",
        "a report of a version that cannot say it",
        guest=replace(GUEST, version=2, platform_info=0x1F),
        policies=(PlatformHas("alias_check_complete"),),
    ),
    Row("platform_chip_id", "a chip not listed", policies=(PlatformIn("chip_id", ("00" * 64,)),)),
    Row(
        "platform_chip_id",
        "a hidden chip",
        vendor=replace(VLEK, reported_chip=bytes(64)),
        policies=(PlatformIn("chip_id", ("00" * 64,)),),
    ),
    Row("report_data", "a report for something else", policies=(ReportDataIs(b"\1" * 64),)),
    Row("tcb_status", "a status, which AMD does not state", policies=(TcbStatusIn(("UpToDate",)),)),
    Row("evaluation_number", "a TCB recovery, which AMD does not number", policies=(MinimumEvaluation(1),)),
]  # fmt: skip
ROWS = [*GUESTS, *CHAINS, *EXTENSIONS, *PLATFORMS, *REVOCATION, *POLICY]


@pytest.mark.parametrize("row", ROWS, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)


def test_a_committed_tcb_above_zero_reserved_bytes_is_refused() -> None:
    """Reserved bytes of a TCB version: no field of the vendor makes them, so the report is signed anew."""
    vendor = _Reserved()
    check_refusal(Row("tcb_layout", "a reserved byte of the committed TCB", vendor=vendor))


class _Reserved(SimulatedAmd):
    """A platform whose committed TCB has a byte that Milan does not."""

    def _body(self, fields: GuestFields) -> bytes:
        return put(0x1E2, b"\1")(super()._body(fields))


class _WeakCa(SimulatedAmd):
    """A vendor whose authorities may not sign certificates."""

    def _authority(self, member: Member) -> list[dict[str, object]]:
        constraints, usage = super()._authority(member)
        return [constraints, usage | {"extn_value": {"digital_signature"}}]


def test_a_ca_that_may_not_sign_certificates_is_refused() -> None:
    check_refusal(Row("vek_chain_role", "another key usage", vendor=_WeakCa()))


class _Repeating(SimulatedAmd):
    """A vendor whose certificates of signing keys have an extension twice."""

    def _platform(self) -> list[dict[str, object]]:
        found = super()._platform()
        return [*found, found[0]]


class _Demanding(SimulatedAmd):
    """A vendor whose certificates of signing keys have a critical extension that nobody knows."""

    def _platform(self) -> list[dict[str, object]]:
        first, *rest = super()._platform()
        return [first | {"critical": True}, *rest]


@pytest.mark.parametrize("vendor", [_Repeating(), _Demanding()], ids=["twice", "critical"])
def test_an_extension_that_may_have_another_meaning_is_refused(vendor: SimulatedAmd) -> None:
    check_refusal(Row("quote_format", "an extension of another meaning", vendor=vendor))


def test_every_check_has_a_row() -> None:
    names = {row.check for row in ROWS}
    # Formats are tried by test_snp_report.py, and the layout above.
    assert set(check_names("simulated-snp")) - names == {"quote_format", "tcb_layout"}
    assert {f"{name}_tcb" for name in TCBS} - names == {"current_tcb"}


def test_a_current_tcb_below_the_floor_is_refused() -> None:
    """Only a platform that contradicts itself has it: the committed TCB is refused first otherwise."""
    evidence = Row("", "").assess().evidence
    assert evidence is not None
    from coterie.attestation.verdict import CheckList
    from coterie.errors import EvidenceRefused

    assert isinstance(evidence.platform, SnpPlatform)
    platform = replace(evidence.platform, current=LOW)
    with pytest.raises(EvidenceRefused, match="current TCB is below") as refusal:
        TcbFrom(FLOOR).verify(replace(evidence, platform=platform), CheckList())
    assert refusal.value.failed_check == "current_tcb"


def test_roots_of_the_simulation_are_never_amds() -> None:
    assert root_for("snp") is AMD_ROOTS
    assert not set(AMD_ROOTS.keys.values()) & set(simulated_snp_roots().keys.values())
    outcome = assess(
        HONEST.evidence(GUEST), HONEST.issue(ISSUED), kind="snp", root=AMD_ROOTS, policies=(), at=AT
    )
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == "tee_kind"


def test_collateral_of_the_other_vendor_is_refused() -> None:
    pki = SimulatedPki()
    enclave = sgx_quote(pki, EnclaveFields(mrenclave=b"\1" * 32))
    for quote, collateral, kind in (
        (HONEST.evidence(GUEST), pki.issue(ISSUED), "simulated-snp"),
        (enclave, HONEST.issue(ISSUED), "simulated"),
    ):
        outcome = assess(quote, collateral, kind=kind, root=root_for(kind), policies=(), at=AT)  # type: ignore[arg-type]
        assert outcome.refusal is not None
        assert outcome.refusal.failed_check == "collateral_format"


def test_policies_on_snp_refuse_an_enclave() -> None:
    pki = SimulatedPki()
    enclave = sgx_quote(pki, EnclaveFields(mrenclave=b"\1" * 32))
    for policy, check in (
        (GuestSvnFrom(0), "guest_svn"),
        (CloudIn(()), "csp_id"),
        (TcbFrom(FLOOR), "platform_product"),
        (FirmwareFrom(Firmware(0, 0, 0)), "firmware"),
        (PlatformHas("ecc_enabled"), "platform_ecc_enabled"),
    ):
        outcome = assess(
            enclave,
            pki.issue(ISSUED),
            kind="simulated",
            root=pki.trust_root,
            policies=(policy,),
            at=AT,
        )
        assert outcome.refusal is not None
        assert outcome.refusal.failed_check == check
        assert outcome.refusal.expected == "SNP evidence"
