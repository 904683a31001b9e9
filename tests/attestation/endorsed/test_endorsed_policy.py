"""Launch endorsements: what one must say and who must have signed it, before a guest is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from coterie.attestation.appraiser import Appraisal
from coterie.attestation.endorsed.document import MAX_DOCUMENT_BYTES, MAX_MEASUREMENTS
from coterie.attestation.endorsed.launch_endorsement_pb2 import SignedEndorsement, Statement
from coterie.attestation.endorsed.policy import EndorsedBy
from coterie.attestation.endorsed.signature import spki_sha256
from coterie.attestation.tee.simulated.publisher import SimulatedPublisher
from coterie.contract.endorsement_trust import SIMULATED_PUBLISHER, EndorsementTrust
from tests.attestation import forgeries as dcap
from tests.attestation.forgeries import AT, check_refused_by
from tests.attestation.snp import forgeries as snp

TD, GUEST, OTHER = b"\x33" * 48, b"\x33" * 48, b"\x34" * 48
LATE = datetime(2027, 1, 1, tzinfo=UTC)
HONEST = SimulatedPublisher(snp=((1, OTHER), (4, GUEST)), tdx=((8, TD), (16, OTHER)))
STRANGER = replace(HONEST, root_key="another publisher root", signer_key="another publisher signer")
DEMANDED = EndorsementTrust(
    roots=(SIMULATED_PUBLISHER,),
    issued_from="2026-01-01T00:00:00Z",
    minimum_svn=3,
    changelists=(1, 4711),
    commits=("21" * 20,),
)
IN_TDX = DEMANDED.model_copy(update={"ram_gib": (4, 8)})
IN_SNP = DEMANDED.model_copy(update={"vcpus": (2, 4)})


def in_tdx(section: EndorsementTrust, documents: Mapping[bytes, bytes]) -> Appraisal:
    policies = (EndorsedBy(section, documents),)
    return dcap.Row("", "", kind="tdx", pki=dcap.TDX, policies=policies).assess()


def in_snp(section: EndorsementTrust, documents: Mapping[bytes, bytes]) -> Appraisal:
    return snp.Row("", "", policies=(EndorsedBy(section, documents),)).assess()


def altered(document: bytes, **parts: bytes) -> bytes:
    """A document with other outer parts."""
    outer = SignedEndorsement.FromString(document)
    for name, value in parts.items():
        setattr(outer, name, value)
    return outer.SerializeToString()


def restated(**parts: object) -> bytes:
    """A document of the honest publisher with other values in its statement."""
    said = HONEST.statement()
    for name, value in parts.items():
        setattr(said, name, value)
    return HONEST.signed(said.SerializeToString())


def test_an_endorsed_guest_is_accepted() -> None:
    documents = {GUEST: HONEST.document()}
    for outcome in (in_tdx(IN_TDX, documents), in_snp(IN_SNP, documents)):
        assert outcome.refusal is None
        made = [check.name for check in outcome.checks if check.outcome == "passed"]
        assert tuple(made[-len(EndorsedBy.check_names) :]) == EndorsedBy.check_names


def test_fields_that_are_not_known_are_ignored() -> None:
    statement = HONEST.statement().SerializeToString() + b"\xfa\x01\x03new"
    assert in_snp(IN_SNP, {GUEST: HONEST.signed(statement)}).refusal is None


def test_names_that_the_library_warns_of_are_accepted() -> None:
    """Google's certificates have the country USA, which X.520 does not allow."""
    with pytest.warns(UserWarning, match="length must be"):
        document = replace(HONEST, country="USA").document()
    assert in_snp(IN_SNP, {GUEST: document}).refusal is None


@dataclass(frozen=True)
class Row:
    """One document that must be refused.

    Attributes:
        check: The check that must refuse it.
        why: What is wrong.
        document: The document for the guest's measurement; None if there is none.
        seen: What the refusal must say that it saw.
        tdx: What the contract demands of it for TDX.
        snp: What it demands for SEV-SNP.
    """

    check: str
    why: str
    document: bytes | None
    seen: str
    tdx: EndorsementTrust = IN_TDX
    snp: EndorsementTrust = IN_SNP


def change(**values: object) -> dict[str, EndorsementTrust]:
    return {"tdx": IN_TDX.model_copy(update=values), "snp": IN_SNP.model_copy(update=values)}


REFUSED = [
    Row("endorsement", "there is none", None, "none"),
    Row(
        "endorsement_format",
        "too long",
        bytes(MAX_DOCUMENT_BYTES + 1),
        f"{MAX_DOCUMENT_BYTES + 1} bytes",
    ),
    Row("endorsement_format", "no protobuf", b"\xff" * 64, "other bytes"),
    Row("endorsement_format", "empty", b"", "0 bytes"),
    Row("endorsement_format", "no certificate", restated(certificate=b""), "0 bytes"),
    Row(
        "endorsement_format",
        "a long certificate",
        restated(certificate=bytes(8193)),
        "8193 bytes",
    ),
    Row("endorsement_format", "no issuers", restated(issuers=b""), "0 bytes"),
    Row("endorsement_format", "long issuers", restated(issuers=b"-" * 16385), "16385 bytes"),
    Row(
        "endorsement_format",
        "issuers in another encoding",
        restated(issuers=b"\xc3\xa9"),
        "bytes that are not ASCII",
    ),
    Row("endorsement_format", "a short commit", restated(commit=b"\1"), "1 bytes"),
    Row(
        "endorsement_root",
        "another publisher of the same name",
        STRANGER.document(),
        spki_sha256(STRANGER.root),
    ),
    Row(
        "endorsement_chain",
        "a certificate that is none",
        restated(certificate=b"\1"),
        "error parsing asn1 value: ParseError { kind: ShortData { needed: 1 } }",
    ),
    Row(
        "endorsement_chain",
        "issuers that are none",
        restated(issuers=b"root"),
        "no certificate",
    ),
    Row(
        "endorsement_chain",
        "a signer that the root did not sign",
        replace(HONEST, root_signs_by="another publisher root").document(),
        "the signer",
    ),
    Row(
        "endorsement_chain",
        "a root that is no authority",
        replace(HONEST, root_is_ca=False).document(),
        "issuer 1 above the signer",
    ),
    Row(
        "endorsement_chain",
        "a signer that is an authority",
        replace(HONEST, signer_is_ca=True).document(),
        "the signer",
    ),
    Row(
        "endorsement_validity",
        "a signer that is no longer valid",
        replace(HONEST, signer_span=dcap.PAST).document(),
        AT.isoformat(),
    ),
    Row(
        "endorsement_validity",
        "a root that is not yet valid",
        replace(HONEST, root_span=dcap.FUTURE).document(),
        AT.isoformat(),
    ),
    Row(
        "endorsement_signature",
        "signed by another key",
        replace(HONEST, statement_by="publisher root").document(),
        "another signature, or one over other bytes",
    ),
    Row(
        "endorsement_signature",
        "no signature",
        altered(HONEST.document(), signature=b""),
        "another signature, or one over other bytes",
    ),
    Row(
        "endorsement_signature",
        "another statement under the signature",
        altered(HONEST.document(), statement=HONEST.statement().SerializeToString() + b"\x10\1"),
        "another signature, or one over other bytes",
    ),
    Row(
        "endorsement_measurement",
        "of other firmware",
        replace(HONEST, snp=((4, OTHER),), tdx=((8, OTHER),)).document(),
        "1 other measurements",
    ),
    Row(
        "endorsement_measurement",
        "of no such TEE",
        replace(HONEST, snp=(), tdx=()).document(),
        "0 other measurements",
    ),
    Row(
        "endorsement_issued",
        "issued too early",
        HONEST.document(),
        "2026-01-01T00:00:00+00:00",
        **change(issued_from="2026-01-01T00:00:01Z"),
    ),
    Row(
        "endorsement_issued",
        "issued after now",
        replace(HONEST, issued=LATE).document(),
        LATE.isoformat(),
    ),
    Row("endorsement_svn", "an old version", replace(HONEST, svn=2).document(), "2"),
    Row(
        "endorsement_source",
        "another changelist",
        HONEST.document(),
        "4711",
        **change(changelists=(4712,)),
    ),
    Row(
        "endorsement_source",
        "another commit",
        HONEST.document(),
        "21" * 20,
        **change(commits=("22" * 20,)),
    ),
    Row(
        "endorsement_source",
        "no commit",
        replace(HONEST, commit=b"").document(),
        "none",
    ),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row.check}: {row.why}")
def test_a_document_is_refused(row: Row) -> None:
    documents = {} if row.document is None else {GUEST: row.document}
    for outcome in (in_tdx(row.tdx, documents), in_snp(row.snp, documents)):
        check_refused_by(outcome, row.check)
        assert outcome.refusal is not None
        assert outcome.refusal.seen == row.seen


def test_a_machine_of_another_size_is_refused() -> None:
    small = in_tdx(IN_TDX.model_copy(update={"ram_gib": (4,)}), {TD: HONEST.document()})
    check_refused_by(small, "endorsement_size")
    few = in_snp(IN_SNP.model_copy(update={"vcpus": (2,)}), {GUEST: HONEST.document()})
    check_refused_by(few, "endorsement_size")


def test_a_measurement_of_several_sizes_needs_all_of_them_accepted() -> None:
    document = replace(HONEST, tdx=((8, TD), (16, TD))).document()
    check_refused_by(in_tdx(IN_TDX, {TD: document}), "endorsement_size")
    both = IN_TDX.model_copy(update={"ram_gib": (8, 16)})
    assert in_tdx(both, {TD: document}).refusal is None


def test_a_short_measurement_and_too_many_are_refused() -> None:
    for tdx in ([(8, TD[:-1])], [(8, TD)] * (MAX_MEASUREMENTS + 1)):
        document = replace(HONEST, tdx=tuple(tdx)).document()
        check_refused_by(in_tdx(IN_TDX, {TD: document}), "endorsement_format")


def test_a_document_without_a_time_is_refused() -> None:
    said = HONEST.statement()
    for seconds in (None, -1, 253_402_300_800):
        said.ClearField("issued")
        if seconds is not None:
            said.issued.seconds = seconds
        document = HONEST.signed(said.SerializeToString())
        check_refused_by(in_tdx(IN_TDX, {TD: document}), "endorsement_format")


def test_an_enclave_has_no_launch_endorsement() -> None:
    outcome = dcap.Row("", "", policies=(EndorsedBy(DEMANDED, {}),)).assess()
    check_refused_by(outcome, "endorsement")


def test_the_simulated_publisher_is_the_contracts() -> None:
    assert spki_sha256(HONEST.root) == SIMULATED_PUBLISHER


def test_the_messages_are_those_on_the_wire() -> None:
    """By hand: field 1 with a time of 5 s, 2 with changelist 7, 8 with a TDX measurement."""
    wire = bytes.fromhex("0a020805 1007 42080801 1204 0808 1a00".replace(" ", ""))
    said = Statement.FromString(wire)
    assert (said.issued.seconds, said.changelist, said.tdx.svn) == (5, 7, 1)
    assert [(one.ram_gib, one.mrtd) for one in said.tdx.measurements] == [(8, b"")]
