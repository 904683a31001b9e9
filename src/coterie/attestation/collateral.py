"""Collateral: the vendor's signed statements by which a quote is verified, as one immutable record.

Intel's nine fields are those of DCAP's version 3 collateral (Intel PCS API v4). Nothing in here is
trusted until the appraiser has checked its signatures; this module only bounds and carries it.

dcap-qvl 0.7 writes a tenth field, the platform's own PCK chain, and prefers it to the chain in the
quote. Two chains could name two makers of a quote, so this field is ignored and the chain in the
quote counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from coterie.attestation import freshness
from coterie.attestation.authentic import AnyCollateral, AnyQuote
from coterie.attestation.json_collateral import JsonCollateral, read_json
from coterie.attestation.platforms import Platform
from coterie.attestation.statements import parse_statement


@dataclass(frozen=True)
class Collateral(JsonCollateral):
    """All that is needed to verify one platform's DCAP quotes, as Intel signed it.

    Attributes:
        pck_crl_issuer_chain: PEM chain, CRL issuer first, root last.
        root_ca_crl: DER CRL of the root.
        pck_crl: DER CRL of the CA that issued the platform's PCK certificate.
        tcb_info_issuer_chain: PEM chain, TCB signer first, root last.
        tcb_info: TCB info v3 (JSON), exactly the signed characters.
        tcb_info_signature: ECDSA P-256 over ``tcb_info``; r and s, 32 bytes each.
        qe_identity_issuer_chain: PEM chain, TCB signer first, root last.
        qe_identity: QE identity v2 (JSON), exactly the signed characters.
        qe_identity_signature: ECDSA P-256 over ``qe_identity``; r and s, 32 bytes each.

    Raises:
        EvidenceRefused: A field is missing or out of bounds (check ``collateral_format``).
    """

    BINARY = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")

    pck_crl_issuer_chain: str
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: bytes

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads the JSON form: an object with the nine fields, binary ones in hex.

        The tenth field of dcap-qvl 0.7, ``pck_certificate_chain``, may be present and is ignored.

        Args:
            text: At most ``MAX_COLLATERAL_BYTES``.

        Raises:
            EvidenceRefused: The text is not such an object (check ``collateral_format``).
        """
        return cls.of_fields(read_json(text))

    def freshness(self) -> freshness.Freshness:
        """Reads its dates; see `freshness`."""
        return freshness.freshness(self)

    def renewed_by(self, candidate: AnyCollateral) -> AnyCollateral:
        """The newer parts of this and of a candidate; see `freshness`."""
        return freshness.newest(self, candidate) if isinstance(candidate, Collateral) else candidate

    def is_for(self, quote: AnyQuote) -> bool:
        """Whether its TCB info is for a quote's platform family and kind of TEE.

        A family may run enclaves and trust domains, each with TCB info of its own.
        """
        platform = quote.platform()
        if not isinstance(platform, Platform):
            return False
        info = parse_statement(self.tcb_info, "tcb_info")
        return (info.identity.lower(), info.fmspc.hex()) == (platform.tee, platform.fmspc)
