"""Forged evidence for tests: one row says what is forged and which check must refuse it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from coterie.attestation.appraiser import Appraisal, assess
from coterie.attestation.collateral import Collateral
from coterie.attestation.policy import Policy
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
from coterie.kinds import TeeKind

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


class Forgery(Protocol):
    """Evidence of some kind in which one thing is forged: the check that must refuse it, and why."""

    @property
    def check(self) -> str: ...

    @property
    def why(self) -> str: ...

    def assess(self) -> Appraisal: ...


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

    def assess(self) -> Appraisal:
        """Judges the evidence under the honest simulation's root."""
        quote, collateral = self.evidence()
        return assess(
            quote,
            collateral,
            kind=self.kind,
            root=HONEST.trust_root,
            policies=self.policies,
            at=self.at,
        )


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


def check_refusal(row: Forgery) -> None:
    """Judges a row's evidence: it must be refused by the row's check and no other, in words."""
    check_refused_by(row.assess(), row.check)


def check_refused_by(outcome: Appraisal, check: str) -> None:
    """An outcome must be a refusal by one check and no other, in words."""
    assert outcome.verdict is None
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == check, str(outcome.refusal)
    assert outcome.refusal.what
    assert outcome.refusal.expected
    assert outcome.refusal.seen
    assert outcome.refusal.remedy
    failed = [one for one in outcome.checks if one.outcome == "failed"]
    assert [one.name for one in failed] == [check]


def title(row: Forgery) -> str:
    """The row's name in test reports."""
    return f"{row.check}: {row.why}"
