"""Every reason to refuse evidence, one row each: what is forged, and the check that names it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from coterie.attestation.appraiser import assess
from coterie.attestation.collateral import Collateral
from coterie.attestation.evidence import check_names
from coterie.attestation.policy import (
    AdvisoriesWithin,
    MeasurementIn,
    MinimumEvaluation,
    PlatformIn,
    Policy,
    ProductOf,
    ReportDataIs,
    TcbStatusIn,
)
from coterie.attestation.tee.base import TeeKind
from coterie.attestation.tee.simulated.keys import derive_key, sign_raw
from coterie.attestation.tee.simulated.pki import Member, SimulatedPki, Span
from coterie.attestation.tee.simulated.quotes import (
    PLAIN_ATTRIBUTES,
    EnclaveFields,
    QuotingEnclave,
    TdFields,
    honest_quoting_enclave,
    sgx_quote,
    tdx_quote,
)
from coterie.attestation.tee.simulated.statements import SimulatedLevel

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUED = datetime(2026, 2, 28, tzinfo=UTC)
PAST: Span = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
FUTURE: Span = (datetime(2026, 4, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
HONEST = SimulatedPki()
STRANGER = SimulatedPki(seed=b"another vendor with the same names")
TDX = SimulatedPki(tee="TDX")
REPORT = EnclaveFields(mrenclave=b"\x11" * 32, mrsigner=b"\x22" * 32, isv_prod_id=7, isv_svn=3)
TD = TdFields(mrtd=b"\x33" * 48)
STRANGER_KEY = derive_key(b"", "stranger")

Change = Callable[[Collateral], Collateral]


@dataclass(frozen=True)
class Row:
    """One forgery.

    Attributes:
        check: The check that must refuse it.
        why: What is forged.
        kind: Kind of TEE that the relying party demands.
        pki: The vendor.
        report: What the enclave reports.
        td: What the trust domain reports, for TDX.
        td_size: Bytes of its report.
        quoting: Changes the quoting enclave.
        quote: Changes the finished quote.
        collateral: Changes the collateral.
        policies: What is demanded besides.
        at: The moment that counts.
    """

    check: str
    why: str
    kind: TeeKind = "simulated"
    pki: SimulatedPki = HONEST
    report: EnclaveFields = REPORT
    td: TdFields = TD
    td_size: int = 584
    quoting: Callable[[QuotingEnclave], QuotingEnclave] = lambda quoting: quoting
    quote: Callable[[bytes], bytes] = lambda quote: quote
    collateral: Change = lambda collateral: collateral
    policies: tuple[Policy, ...] = ()
    at: datetime = field(default=AT)

    def evidence(self) -> tuple[bytes, Collateral]:
        """The forged quote and collateral."""
        quoting = self.quoting(honest_quoting_enclave(self.pki))
        if self.pki.tee == "TDX":
            version = 4 if self.td_size == 584 else 5
            body = self.td.encode(self.td_size)
            quote = tdx_quote(self.pki, body, version=version, quoting=quoting)
        else:
            quote = sgx_quote(self.pki, self.report, quoting=quoting)
        return self.quote(quote), self.collateral(self.pki.issue(ISSUED))


def put_field(name: str, change: Callable[[str], str]) -> Change:
    """Changes one text field of the collateral; no signature is renewed."""

    def apply(collateral: Collateral) -> Collateral:
        values = {**vars(collateral), name: change(str(getattr(collateral, name)))}
        return Collateral(**values)

    return apply


def signed_by(field_name: str, member: Member) -> SimulatedPki:
    """A vendor whose statements a wrong member signs."""
    if field_name == "tcb_info":
        return replace(HONEST, tcb_info_signer=member)
    return replace(HONEST, qe_identity_signer=member)


def flags(word: int) -> EnclaveFields:
    return replace(REPORT, attributes=struct.pack("<Q", word) + PLAIN_ATTRIBUTES[8:])


def flip(position: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def put(position: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:position] + value + data[position + len(value) :]


def with_quoting_report(**changes: object) -> Callable[[QuotingEnclave], QuotingEnclave]:
    return lambda quoting: replace(quoting, report=replace(quoting.report, **changes))  # type: ignore[arg-type]


def with_tcb_info(change: Callable[[str], str]) -> Change:
    """Changes the TCB info and has the real TCB signer sign it."""

    def apply(collateral: Collateral) -> Collateral:
        text = change(collateral.tcb_info)
        signature = sign_raw(HONEST.key("tcb_signer"), text.encode())
        return replace(collateral, tcb_info=text, tcb_info_signature=signature)

    return apply


def with_qe_identity(change: Callable[[str], str]) -> Change:
    """Changes the QE identity and has the real TCB signer sign it."""

    def apply(collateral: Collateral) -> Collateral:
        text = change(collateral.qe_identity)
        signature = sign_raw(HONEST.key("tcb_signer"), text.encode())
        return replace(collateral, qe_identity=text, qe_identity_signature=signature)

    return apply


def chain_of(*parts: str) -> str:
    return "".join(parts)


def block(chain: str, index: int) -> str:
    """One certificate of a PEM chain."""
    end = "-----END CERTIFICATE-----\n"
    return chain.split(end)[index] + end


def spans(member: Member, span: Span) -> SimulatedPki:
    return replace(HONEST, spans=((member, span),))


UNSIGNED_SIGNER = chain_of(
    block(STRANGER.chain("tcb_signer"), 0), block(HONEST.chain("tcb_signer"), 1)
)
STALE_STATEMENTS = replace(HONEST, statement_days=3)
EXTENDED = 885

FORMAT = [
    Row("quote_format", "no bytes", quote=lambda quote: quote[:0]),
    Row("quote_format", "cut off in the header", quote=lambda quote: quote[:40]),
    Row("quote_format", "cut off by one byte", quote=lambda quote: quote[:-1]),
    Row("quote_format", "a byte after the quote", quote=lambda quote: quote + b"\1"),
    Row("quote_format", "endless padding", quote=lambda quote: quote + bytes(10_000)),
    Row("quote_format", "larger than any quote", quote=lambda quote: quote + bytes(1 << 16)),
    Row("quote_format", "version 2", quote=put(0, b"\2\0")),
    Row("quote_format", "version 3 for TDX", quote=put(4, b"\x81")),
    Row("quote_format", "version 4 for SGX", pki=TDX, kind="tdx", quote=put(4, b"\0")),
    Row("quote_format", "ECDSA P-384", quote=put(2, b"\3\0")),
    Row("quote_format", "another quoting enclave's vendor", quote=flip(12)),
    Row(
        "quote_format", "signature data longer than the quote", quote=put(432, b"\xff\xff\xff\x7f")
    ),
    Row("quote_format", "no QE authentication data", quote=put(1012, b"\0\0")),
    Row("quote_format", "certification data without a chain (type 3)", quote=put(1046, b"\3\0")),
    Row("quote_format", "certification data that is too short", quote=put(1048, b"\1\0\0\0")),
    Row(
        "quote_format",
        "outer certification data of type 5 in version 4",
        pki=TDX,
        kind="tdx",
        quote=put(48 + 584 + 4 + 128, b"\5\0"),
    ),
    Row(
        "quote_format",
        "a body of another size in version 5",
        pki=TDX,
        kind="tdx",
        td_size=648,
        quote=put(50, b"\x87"),
    ),
    Row(
        "quote_format",
        "text before the chain",
        quoting=lambda quoting: replace(quoting, pck_chain=" " + quoting.pck_chain),
    ),
    Row(
        "quote_format",
        "the chain without its root",
        quoting=lambda quoting: replace(
            quoting, pck_chain=chain_of(block(quoting.pck_chain, 0), block(quoting.pck_chain, 1))
        ),
    ),
    Row(
        "quote_format",
        "a chain in one long line",
        quoting=lambda quoting: replace(quoting, pck_chain=quoting.pck_chain.replace("=\n", "=")),
    ),
]

KIND_AND_ATTRIBUTES = [
    Row("tee_kind", "simulated evidence under an SGX contract", kind="sgx"),
    Row("tee_kind", "simulated evidence under a TDX contract", kind="tdx"),
    Row("tee_kind", "TDX under a simulated contract", pki=TDX),
    Row("attributes_debug", "a debug enclave", report=flags(0b111)),
    Row("attributes_init", "an uninitialized enclave", report=flags(0b100)),
    Row("attributes_mode64", "a 32-bit enclave", report=flags(0b001)),
    Row("attributes_provision_key", "the provisioning key", report=flags(0b1_0101)),
    Row("attributes_einittoken_key", "the launch-token key", report=flags(0b10_0101)),
    Row("attributes_reserved", "a reserved attribute", report=flags(0b1101)),
    Row("attributes_reserved", "the highest attribute", report=flags(1 << 63 | 0b101)),
    Row(
        "td_debug", "a debug guest", kind="tdx", pki=TDX, td=replace(TD, td_attributes=1 << 28 | 1)
    ),
    Row(
        "td_sept_ve_disable",
        "injectable faults",
        kind="tdx",
        pki=TDX,
        td=replace(TD, td_attributes=0),
    ),
    *(
        Row(
            "td_reserved",
            f"TD attribute bit {bit}",
            kind="tdx",
            pki=TDX,
            td=replace(TD, td_attributes=1 << 28 | 1 << bit),
        )
        for bit in (1, 7, 8, 27, 29, 32, 39, 62)
    ),
    *(
        Row("td_service", f"{when} service guests", kind="tdx", pki=TDX, td_size=EXTENDED, td=td)
        for when, td in {
            "bound": replace(TD, mrservicetd=b"\1" * 48),
            "once bound": replace(TD, init_service_td_hash=b"\1" * 48),
            "now bound": replace(TD, cur_service_td_hash=b"\1" * 48),
        }.items()
    ),
]

CHAINS = [
    Row(
        "pck_chain_root",
        "another vendor's root with the same names",
        quoting=lambda quoting: replace(quoting, pck_chain=STRANGER.pck_chain),
    ),
    Row(
        "pck_chain_role",
        "a PCK certificate with another name",
        pki=replace(HONEST, pck_name="Other"),
    ),
    Row("pck_chain_role", "a PCK CA with another name", pki=replace(HONEST, pck_ca_name="Other")),
    Row(
        "pck_chain_signature",
        "another vendor's platform under the right CA",
        quoting=lambda quoting: replace(
            quoting,
            pck_chain=chain_of(
                block(STRANGER.pck_chain, 0), block(HONEST.pck_chain, 1), block(HONEST.pck_chain, 2)
            ),
        ),
    ),
    Row("pck_chain_validity", "an expired PCK certificate", pki=spans("pck", PAST)),
    Row("pck_chain_validity", "a PCK certificate from the future", pki=spans("pck", FUTURE)),
    Row("pck_chain_validity", "an expired PCK CA", pki=spans("pck_ca", PAST)),
    Row("pck_chain_validity", "before the root", at=datetime(2019, 1, 1, tzinfo=UTC)),
    Row(
        "pck_crl_chain_format",
        "no issuer chain of the PCK CRL",
        collateral=lambda c: replace(c, pck_crl_issuer_chain=""),
    ),
    Row(
        "pck_crl_chain_root",
        "another vendor's CRL chain",
        collateral=lambda c: replace(c, pck_crl_issuer_chain=STRANGER.chain("pck_ca")),
    ),
    Row(
        "pck_crl_chain_role",
        "the TCB signer as CRL issuer",
        collateral=lambda c: replace(c, pck_crl_issuer_chain=HONEST.chain("tcb_signer")),
    ),
    Row(
        "pck_crl_chain_signature",
        "a CRL issuer that the root never signed",
        collateral=lambda c: replace(
            c,
            pck_crl_issuer_chain=chain_of(
                block(STRANGER.chain("pck_ca"), 0), block(HONEST.chain("pck_ca"), 1)
            ),
        ),
    ),
    Row(
        "pck_crl_chain_validity",
        "an expired CRL issuer",
        collateral=lambda c: replace(c, pck_crl_issuer_chain=spans("pck_ca", PAST).chain("pck_ca")),
    ),
    Row(
        "pck_crl_chain_issuer",
        "the CRL of another PCK CA",
        pki=replace(HONEST, pck_crl_issuer="other_ca"),
    ),
]
for statement in ("tcb_info", "qe_identity"):
    chain = f"{statement}_issuer_chain"
    CHAINS += [
        Row(
            f"{statement}_chain_format",
            f"{statement}: text between certificates",
            collateral=put_field(chain, lambda text: text + "\n"),
        ),
        Row(
            f"{statement}_chain_root",
            f"{statement}: another vendor's",
            collateral=put_field(chain, lambda _: STRANGER.chain("tcb_signer")),
        ),
        Row(
            f"{statement}_chain_role",
            f"{statement}: signed by the platform's PCK key",
            pki=signed_by(statement, "pck"),
        ),
        Row(
            f"{statement}_chain_role",
            f"{statement}: signed by the PCK CA",
            pki=signed_by(statement, "pck_ca"),
        ),
        Row(
            f"{statement}_chain_role",
            f"{statement}: signed by the root",
            pki=signed_by(statement, "root"),
        ),
        Row(
            f"{statement}_chain_signature",
            f"{statement}: a signer that the root never signed",
            collateral=put_field(chain, lambda _: UNSIGNED_SIGNER),
        ),
        Row(
            f"{statement}_chain_validity",
            f"{statement}: an expired signer",
            collateral=put_field(chain, lambda _: spans("tcb_signer", PAST).chain("tcb_signer")),
        ),
    ]
CHAINS += [
    Row(
        "tcb_info_chain_role",
        "a TCB signer with another name",
        pki=replace(HONEST, tcb_signer_name="Other"),
    ),
    Row(
        "tcb_info_chain_role",
        "a TCB signer under the PCK CA",
        pki=replace(HONEST, tcb_signer_issuer="pck_ca"),
    ),
]

REVOCATION = [
    Row("root_crl_format", "no root CRL", collateral=lambda c: replace(c, root_ca_crl=b"")),
    Row(
        "root_crl_issuer", "a root CRL by the PCK CA", pki=replace(HONEST, root_crl_issuer="pck_ca")
    ),
    Row(
        "root_crl_issuer",
        "a root CRL with a forged signature",
        collateral=lambda c: replace(c, root_ca_crl=STRANGER.crl("root", ISSUED)),
    ),
    Row(
        "root_crl_validity",
        "a stale root CRL",
        collateral=lambda c: replace(
            c, root_ca_crl=HONEST.crl("root", ISSUED - timedelta(days=90))
        ),
    ),
    Row(
        "root_crl_validity",
        "a root CRL from the future",
        collateral=lambda c: replace(c, root_ca_crl=HONEST.crl("root", AT + timedelta(days=1))),
    ),
    Row("pck_crl_format", "no PCK CRL", collateral=lambda c: replace(c, pck_crl=b"")),
    Row(
        "pck_crl_format",
        "garbage for a PCK CRL",
        collateral=lambda c: replace(c, pck_crl=b"\x30\0"),
    ),
    Row(
        "pck_crl_issuer",
        "a PCK CRL by another CA",
        collateral=lambda c: replace(c, pck_crl=HONEST.crl("other_ca", ISSUED)),
    ),
    Row(
        "pck_crl_issuer",
        "the root CRL in its place",
        collateral=lambda c: replace(c, pck_crl=c.root_ca_crl),
    ),
    Row(
        "pck_crl_validity",
        "a stale PCK CRL",
        collateral=lambda c: replace(c, pck_crl=HONEST.crl("pck_ca", ISSUED - timedelta(days=90))),
    ),
    Row("root_revocation", "a revoked root", pki=replace(HONEST, revoked=frozenset({"root"}))),
    Row(
        "pck_ca_revocation", "a revoked PCK CA", pki=replace(HONEST, revoked=frozenset({"pck_ca"}))
    ),
    Row(
        "tcb_signer_revocation",
        "a revoked TCB signer",
        pki=replace(HONEST, revoked=frozenset({"tcb_signer"})),
    ),
    Row("pck_revocation", "a revoked platform", pki=replace(HONEST, revoked=frozenset({"pck"}))),
]

STATEMENTS = [
    Row(
        "tcb_info_format",
        "TCB info that is no JSON",
        collateral=with_tcb_info(lambda text: text[:1]),
    ),
    Row(
        "tcb_info_format",
        "TCB info with a key twice",
        collateral=with_tcb_info(lambda text: text.replace("{", '{"id":"SGX",', 1)),
    ),
    Row(
        "tcb_info_format",
        "TCB info without a PCE id",
        collateral=with_tcb_info(lambda text: text.replace('"pceId":"0000",', "")),
    ),
    Row(
        "tcb_info_format",
        "TCB info with another rule of comparison",
        collateral=with_tcb_info(lambda text: text.replace('"tcbType":0', '"tcbType":1')),
    ),
    Row("tcb_info_kind", "TCB info for TDX", pki=HONEST, collateral=lambda _: TDX.issue(ISSUED)),
    Row(
        "tcb_info_kind",
        "TCB info of version 2",
        collateral=with_tcb_info(lambda text: text.replace('"version":3', '"version":2')),
    ),
    Row("tcb_info_validity", "stale TCB info", pki=STALE_STATEMENTS, at=AT + timedelta(days=5)),
    Row(
        "tcb_info_validity",
        "TCB info from the future",
        collateral=with_tcb_info(lambda text: text.replace("2026-02-28", "2026-03-02")),
    ),
    Row(
        "tcb_info_signature",
        "altered TCB info",
        collateral=lambda c: replace(c, tcb_info=c.tcb_info + " "),
    ),
    Row(
        "tcb_info_signature",
        "TCB info that another vendor signed",
        collateral=lambda c: replace(
            c, tcb_info_signature=sign_raw(STRANGER.key("tcb_signer"), c.tcb_info.encode())
        ),
    ),
    Row(
        "qe_identity_format",
        "QE identity that is no object",
        collateral=with_qe_identity(lambda _: "[]"),
    ),
    Row(
        "qe_identity_kind",
        "the QE identity of TDX",
        collateral=with_qe_identity(lambda text: text.replace('"QE"', '"TD_QE"')),
    ),
    Row(
        "qe_identity_validity",
        "a stale QE identity",
        collateral=lambda c: replace(
            c,
            qe_identity=HONEST.issue(ISSUED - timedelta(days=90)).qe_identity,
            qe_identity_signature=HONEST.issue(ISSUED - timedelta(days=90)).qe_identity_signature,
        ),
    ),
    Row(
        "qe_identity_signature",
        "an altered QE identity",
        collateral=lambda c: replace(
            c, qe_identity=c.qe_identity.replace('"isvsvn":2', '"isvsvn":1')
        ),
    ),
    Row(
        "pck_extension",
        "a PCK certificate for no platform",
        pki=replace(HONEST, certify_platform=False),
    ),
    Row(
        "fmspc",
        "TCB info of another platform family",
        pki=replace(HONEST, statement_fmspc=bytes.fromhex("00906ed50000")),
    ),
    Row("pce_id", "TCB info of another PCE", pki=replace(HONEST, statement_pce_id=b"\0\1")),
]

SIGNATURES = [
    Row(
        "quoting_enclave_signature",
        "a QE report that the platform never signed",
        quoting=lambda quoting: replace(quoting, report_signer=STRANGER_KEY),
    ),
    Row(
        "quoting_enclave_binding",
        "an attestation key that the QE never certified",
        quoting=with_quoting_report(report_data=b"\1" * 64),
    ),
    Row(
        "quoting_enclave_identity",
        "an enclave that is no QE",
        quoting=with_quoting_report(mrsigner=b"\1" * 32),
    ),
    Row(
        "quoting_enclave_identity",
        "another product of the QE's signer",
        quoting=with_quoting_report(isv_prod_id=2),
    ),
    Row(
        "quoting_enclave_identity",
        "a QE below all TCB levels",
        quoting=with_quoting_report(isv_svn=1),
    ),
    Row(
        "quoting_enclave_identity",
        "a debug QE",
        quoting=with_quoting_report(attributes=b"\x13" + bytes(15)),
    ),
    Row(
        "quoting_enclave_identity",
        "a QE with another MISCSELECT",
        quoting=with_quoting_report(misc_select=1),
    ),
    Row("quote_signature", "an altered measurement", quote=flip(48 + 64)),
    Row("quote_signature", "altered report data", quote=flip(48 + 320)),
    Row("quote_signature", "an altered header", quote=flip(47)),
    Row("tcb_level", "a platform below all TCB levels", pki=replace(HONEST, cpu_svn=b"\1" * 16)),
    Row("tcb_level", "a PCE below all TCB levels", pki=replace(HONEST, pce_svn=1)),
    Row(
        "tcb_level",
        "a revoked TCB level",
        pki=replace(HONEST, levels=(SimulatedLevel(status="Revoked"),)),
    ),
    Row(
        "tdx_module",
        "a TDX module by another signer",
        kind="tdx",
        pki=TDX,
        td=replace(TD, mrsignerseam=b"\1" * 48),
    ),
    Row(
        "dcap",
        "a TCB level that leaves components out",
        collateral=with_tcb_info(lambda text: text.replace('[{"svn":2},', "[", 1)),
    ),
]

OUT_OF_DATE = replace(
    HONEST,
    levels=(SimulatedLevel("UpToDate", (), 9), SimulatedLevel("OutOfDate", ("INTEL-SA-00001",))),
)
POLICY = [
    Row(
        "tcb_status",
        "a status that is not listed",
        pki=OUT_OF_DATE,
        policies=(TcbStatusIn(("UpToDate",)),),
    ),
    Row("tcb_status", "an empty list of statuses", policies=(TcbStatusIn(()),)),
    Row(
        "tcb_status",
        "an outdated quoting enclave",
        pki=replace(HONEST, qe_levels=(SimulatedLevel("OutOfDate"),)),
        policies=(TcbStatusIn(("UpToDate",)),),
    ),
    Row(
        "advisories",
        "an advisory that is not listed",
        pki=OUT_OF_DATE,
        policies=(TcbStatusIn(("OutOfDate",)), AdvisoriesWithin(("INTEL-SA-00002",))),
    ),
    Row(
        "evaluation_number",
        "TCB info of an old recovery",
        pki=replace(HONEST, tcb_info_evaluation=16, qe_identity_evaluation=17),
        policies=(MinimumEvaluation(17),),
    ),
    Row(
        "evaluation_number",
        "a QE identity of an old recovery",
        pki=replace(HONEST, tcb_info_evaluation=17, qe_identity_evaluation=16),
        policies=(MinimumEvaluation(17),),
    ),
    Row("mrenclave", "another program", policies=(MeasurementIn("mrenclave", ("44" * 32,)),)),
    Row("mrenclave", "no reference value", policies=(MeasurementIn("mrenclave", ()),)),
    Row("mrsigner", "another signer", policies=(MeasurementIn("mrsigner", ("44" * 32,)),)),
    Row("isv_prod_id", "another product", policies=(ProductOf(8, 0),)),
    Row("isv_svn", "an old version", policies=(ProductOf(7, 4),)),
    *(
        Row(
            register,
            f"another {register}",
            kind="tdx",
            pki=TDX,
            policies=(MeasurementIn(register, ("ff",)),),
        )
        for register in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "td_attributes", "xfam")
    ),
    Row(
        "mrenclave",
        "a guest where an enclave is demanded",
        kind="tdx",
        pki=TDX,
        policies=(MeasurementIn("mrenclave", ("11" * 32,)),),
    ),
    Row(
        "isv_prod_id",
        "a guest where a product is demanded",
        kind="tdx",
        pki=TDX,
        policies=(ProductOf(0, 0),),
    ),
    Row(
        "platform_fmspc",
        "a platform family not listed",
        policies=(PlatformIn("fmspc", ("00" * 6,)),),
    ),
    Row("platform_ppid", "a platform not listed", policies=(PlatformIn("ppid", ("00" * 16,)),)),
    Row("report_data", "a quote for something else", policies=(ReportDataIs(b"\1" * 64),)),
    Row("report_data", "report data of another length", policies=(ReportDataIs(bytes(63)),)),
]

ROWS = [
    *FORMAT,
    *KIND_AND_ATTRIBUTES,
    *CHAINS,
    *REVOCATION,
    *STATEMENTS,
    *SIGNATURES,
    *POLICY,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.check}: {row.why}")
def test_forged_evidence_is_refused_by_name(row: Row) -> None:
    quote, collateral = row.evidence()
    outcome = assess(
        quote,
        collateral,
        kind=row.kind,
        root=HONEST.trust_root,
        policies=row.policies,
        at=row.at,
    )
    assert outcome.verdict is None
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == row.check, str(outcome.refusal)
    assert outcome.refusal.what
    assert outcome.refusal.expected
    assert outcome.refusal.seen
    assert outcome.refusal.remedy
    failed = [check for check in outcome.checks if check.outcome == "failed"]
    assert [check.name for check in failed] == [row.check]


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
