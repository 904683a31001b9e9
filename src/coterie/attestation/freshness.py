"""Compares two pieces of DCAP collateral part by part, so that no older part replaces a newer one.

Collateral has four parts that the vendor signs separately. An attacker could replace a single part
by an old but genuine one, so each part is compared separately.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from coterie.attestation.revocation import read_crl
from coterie.attestation.statements import parse_statement

if TYPE_CHECKING:  # the collateral itself imports this module
    from coterie.attestation.collateral import Collateral


@dataclass(frozen=True)
class Freshness:
    """Times at which the parts of collateral were issued, and at which the first of them expires.

    Attributes:
        tcb_info: Evaluation number and issue date of the TCB info.
        qe_identity: Evaluation number and issue date of the QE identity.
        root_crl: Issue date of the root CRL.
        pck_crl: Issue date of the PCK CRL.
        expiry: Time at which the first part expires.
    """

    tcb_info: tuple[int, datetime]
    qe_identity: tuple[int, datetime]
    root_crl: datetime
    pck_crl: datetime
    expiry: datetime

    @property
    def newest(self) -> datetime:
        """The newest issue date; an honest clock cannot be earlier."""
        return max(self.tcb_info[1], self.qe_identity[1], self.root_crl, self.pck_crl)


def freshness(collateral: Collateral) -> Freshness:
    """Reads the dates of collateral; no signature is checked.

    Raises:
        EvidenceRefused: A part is malformed.
    """
    tcb_info = parse_statement(collateral.tcb_info, "tcb_info")
    qe_identity = parse_statement(collateral.qe_identity, "qe_identity")
    root_crl = read_crl(collateral.root_ca_crl, "root_crl")
    pck_crl = read_crl(collateral.pck_crl, "pck_crl")
    crl_ends = [
        crl.last_update_utc if crl.next_update_utc is None else crl.next_update_utc
        for crl in (root_crl, pck_crl)
    ]
    return Freshness(
        tcb_info=(tcb_info.evaluation_number, tcb_info.issued),
        qe_identity=(qe_identity.evaluation_number, qe_identity.issued),
        root_crl=root_crl.last_update_utc,
        pck_crl=pck_crl.last_update_utc,
        expiry=min(tcb_info.next_update, qe_identity.next_update, *crl_ends),
    )


def newest(held: Collateral, candidate: Collateral) -> Collateral:
    """Combines the newer parts of two pieces of genuine collateral for one platform.

    Args:
        held: The present collateral; its parts stay unless the candidate's are newer.
        candidate: The new collateral. Its signatures must have been checked: a forged date of issue
            would replace genuine parts.

    Raises:
        EvidenceRefused: A part is malformed.
    """
    old, new = freshness(held), freshness(candidate)
    joined = held
    if new.tcb_info > old.tcb_info:
        joined = replace(
            joined,
            tcb_info=candidate.tcb_info,
            tcb_info_signature=candidate.tcb_info_signature,
            tcb_info_issuer_chain=candidate.tcb_info_issuer_chain,
        )
    if new.qe_identity > old.qe_identity:
        joined = replace(
            joined,
            qe_identity=candidate.qe_identity,
            qe_identity_signature=candidate.qe_identity_signature,
            qe_identity_issuer_chain=candidate.qe_identity_issuer_chain,
        )
    if new.root_crl > old.root_crl:
        joined = replace(joined, root_ca_crl=candidate.root_ca_crl)
    if new.pck_crl > old.pck_crl:
        joined = replace(
            joined,
            pck_crl=candidate.pck_crl,
            pck_crl_issuer_chain=candidate.pck_crl_issuer_chain,
        )
    return joined
