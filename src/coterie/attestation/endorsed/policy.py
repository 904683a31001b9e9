"""The policy that a publisher endorses the launch measurement of a guest, besides all reference values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from coterie.attestation.authentic import AuthenticEvidence
from coterie.attestation.endorsed.document import Firmware, LaunchEndorsement, read_endorsement
from coterie.attestation.endorsed.signature import CHECKS as SIGNATURE_CHECKS
from coterie.attestation.endorsed.signature import verify_signature
from coterie.attestation.verdict import CheckList
from coterie.contract.endorsement_trust import EndorsementTrust
from coterie.contract.expiry import moment
from coterie.errors import EvidenceRefused
from coterie.kinds import TeeKind

# What an endorsement is about, by kind of TEE.
_REGISTERS: Mapping[TeeKind, str] = {
    "tdx": "mrtd",
    "snp": "launch_measurement",
    "simulated-snp": "launch_measurement",
}

_refused = partial(
    EvidenceRefused,
    remedy="use a machine whose firmware is endorsed so, or agree on a contract that demands less",
)


@dataclass(frozen=True)
class EndorsedBy:
    """A launch endorsement for the guest's measurement is by a listed publisher and says what is demanded.

    Attributes:
        section: What the contract demands.
        documents: Launch endorsements by measurement (48 bytes).
    """

    section: EndorsementTrust
    documents: Mapping[bytes, bytes]
    check_names = (
        "endorsement",
        "endorsement_format",
        *SIGNATURE_CHECKS,
        "endorsement_measurement",
        "endorsement_issued",
        "endorsement_svn",
        "endorsement_size",
        "endorsement_source",
    )

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the checks, in the order of ``check_names``."""
        register = _REGISTERS.get(evidence.kind)
        if register is None:
            raise _refused(
                "endorsement",
                "the contract demands a launch endorsement",
                expected="a guest in TDX or SEV-SNP",
                seen=f"evidence of kind {evidence.kind}",
            )
        tdx = register == "mrtd"
        measurement = bytes.fromhex(dict(evidence.quote.measurements)[register])
        document = self._document(measurement, checks)
        verify_signature(document, roots=self.section.roots, at=evidence.at, checks=checks)
        firmware = document.tdx if tdx else document.snp
        sizes = () if firmware is None else firmware.sizes_of(measurement)
        if firmware is None or not sizes:
            raise _refused(
                "endorsement_measurement",
                "the launch endorsement is of other firmware",
                expected=f"a statement about {measurement.hex()}",
                seen=f"{0 if firmware is None else len(firmware.measured)} other measurements",
            )
        checks.passed("endorsement_measurement", measurement.hex())
        self._verify_issued(document, evidence, checks)
        self._verify_firmware(firmware, sizes, checks, tdx=tdx)
        self._verify_source(document, checks)

    def _document(self, measurement: bytes, checks: CheckList) -> LaunchEndorsement:
        found = self.documents.get(measurement)
        if found is None:
            raise EvidenceRefused(
                "endorsement",
                "there is no launch endorsement for the peer's measurement",
                expected=f"a file {measurement.hex()}.binarypb in the directory of collateral",
                seen="none",
                remedy="fetch it: coterie attest endorsements CONTRACT --url URL --out DIR; then give --collateral DIR",
            )
        checks.passed("endorsement", f"{len(found)} bytes")
        document = read_endorsement(found)
        checks.passed("endorsement_format")
        return document

    def _verify_issued(
        self, document: LaunchEndorsement, evidence: AuthenticEvidence, checks: CheckList
    ) -> None:
        earliest = self.section.issued_from
        too_early = earliest is not None and document.issued < moment(earliest)
        if too_early or document.issued > evidence.at:
            raise _refused(
                "endorsement_issued",
                "the launch endorsement was issued at a time that is not accepted",
                expected=f"from {earliest or 'any time'} to {evidence.at.isoformat()}",
                seen=document.issued.isoformat(),
            )
        checks.passed("endorsement_issued", document.issued.isoformat())

    def _verify_firmware(
        self, firmware: Firmware, sizes: tuple[int, ...], checks: CheckList, *, tdx: bool
    ) -> None:
        if firmware.svn < self.section.minimum_svn:
            raise _refused(
                "endorsement_svn",
                "the endorsed firmware is an old version",
                expected=f"SVN {self.section.minimum_svn} or higher",
                seen=str(firmware.svn),
            )
        checks.passed("endorsement_svn", str(firmware.svn))
        accepted = self.section.ram_gib if tdx else self.section.vcpus
        unit = "GiB of memory" if tdx else "virtual processors"
        # One measurement may be that of several sizes: which one the machine has is then open.
        if accepted and not set(sizes) <= set(accepted):
            raise _refused(
                "endorsement_size",
                "the launch endorsement is for machines of another size",
                expected=f"{' or '.join(map(str, accepted))} {unit}",
                seen=", ".join(map(str, sizes)),
            )
        checks.passed("endorsement_size", f"{', '.join(map(str, sizes))} {unit}")

    def _verify_source(self, document: LaunchEndorsement, checks: CheckList) -> None:
        section = self.section
        for what, accepted, seen in (
            ("changelist", tuple(map(str, section.changelists)), str(document.changelist)),
            ("commit", section.commits, document.commit.hex()),
        ):
            if accepted and seen not in accepted:
                raise _refused(
                    "endorsement_source",
                    f"the endorsed firmware was built from another {what}",
                    expected=" or ".join(accepted),
                    seen=seen or "none",
                )
        checks.passed("endorsement_source", document.commit.hex() or str(document.changelist))
