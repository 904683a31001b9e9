"""The simulated vendor: root, PCK CA, PCK leaf, TCB signer, CRLs and signed statements.

Every field of :class:`SimulatedPki` describes one property of that vendor, so a forged variant is
``dataclasses.replace(SimulatedPki(), tcb_info_signer="pck")``. Keys derive from a public seed and
signatures are deterministic: the default PKI's root certificate has the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from coterie.attestation.collateral import Collateral
from coterie.attestation.roots import SIMULATED_NAMES, RoleNames, TrustRoot
from coterie.attestation.tee.simulated.extension import SGX_EXTENSION_OID, sgx_extension
from coterie.attestation.tee.simulated.keys import PUBLIC_SEED, derive_key, sign_raw
from coterie.attestation.tee.simulated.statements import SimulatedLevel, qe_identity, tcb_info

Member = Literal["root", "pck_ca", "other_ca", "pck", "tcb_signer"]
Span = tuple[datetime, datetime]

WIDE_SPAN: Span = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC))
_CAS: frozenset[Member] = frozenset({"root", "pck_ca", "other_ca"})
_SERIALS: dict[Member, int] = {"root": 1, "pck_ca": 2, "other_ca": 3, "tcb_signer": 5}


@dataclass(frozen=True)
class SimulatedPki:
    """A simulated vendor and the one platform that it has certified.

    Attributes:
        seed: What all keys derive from.
        names: Subject names by role.
        pck_name: Common name of the PCK certificate, if another than the role's.
        pck_ca_name: Common name of the PCK CA, if another than the role's.
        tcb_signer_name: Common name of the TCB signer, if another than the role's.
        spans: Validity of single members; all others are valid from 2020 to 2049.
        tcb_signer_issuer: Who issues the TCB signer's certificate.
        fmspc: Platform family of the PCK certificate, 6 bytes.
        ppid: Platform id, 16 bytes.
        pce_id: Provisioning enclave of the PCK certificate, 2 bytes.
        cpu_svn: Processor's security versions, 16 bytes.
        pce_svn: Provisioning enclave's security version.
        statement_fmspc: Platform family in the TCB info, if another one.
        statement_pce_id: Provisioning enclave in the TCB info, if another one.
        tcb_info_signer: Whose key and chain sign the TCB info.
        qe_identity_signer: Whose key and chain sign the QE identity.
        pck_crl_issuer: Who issues the CRL that stands for the PCK CA's.
        root_crl_issuer: Who issues the CRL that stands for the root's.
        pck_serial: Serial number of the PCK certificate; another one is another platform.
        revoked: Members whose certificates their issuers have revoked.
        crl_days: How long CRLs are current, from their issue.
        statement_days: How long TCB info and QE identity are current.
        levels: TCB levels of the platform, best first.
        qe_levels: TCB levels of the quoting enclave, best first.
        tcb_info_evaluation: Evaluation number of the TCB info.
        qe_identity_evaluation: Evaluation number of the QE identity.
        qe_signer: MRSIGNER that the QE identity names, 32 bytes.
        module_signer: MRSIGNERSEAM that TDX TCB info names, 48 bytes.
        tee: Whose TCB info and QE identity are issued.
        certify_platform: Whether the PCK certificate says which platform it is for.
        configuration: What it says of the platform: dynamic, keys cached, SMT; None if nothing.
    """

    seed: bytes = PUBLIC_SEED
    names: RoleNames = SIMULATED_NAMES
    pck_name: str | None = None
    pck_ca_name: str | None = None
    tcb_signer_name: str | None = None
    spans: tuple[tuple[Member, Span], ...] = ()
    tcb_signer_issuer: Member = "root"
    fmspc: bytes = bytes.fromhex("c07e51000000")
    ppid: bytes = hashlib.sha256(b"coterie simulated platform").digest()[:16]
    pce_id: bytes = b"\0\0"
    cpu_svn: bytes = b"\3" * 16
    pce_svn: int = 3
    statement_fmspc: bytes | None = None
    statement_pce_id: bytes | None = None
    tcb_info_signer: Member = "tcb_signer"
    qe_identity_signer: Member = "tcb_signer"
    pck_crl_issuer: Member = "pck_ca"
    root_crl_issuer: Member = "root"
    pck_serial: int = 4
    revoked: frozenset[Member] = frozenset()
    crl_days: float = 30
    statement_days: float = 30
    levels: tuple[SimulatedLevel, ...] = (SimulatedLevel(),)
    qe_levels: tuple[SimulatedLevel, ...] = (SimulatedLevel(),)
    tcb_info_evaluation: int = 1
    qe_identity_evaluation: int = 1
    qe_signer: bytes = hashlib.sha256(b"coterie simulated quoting enclave signer").digest()
    module_signer: bytes = bytes(48)
    tee: Literal["SGX", "TDX"] = "SGX"
    certify_platform: bool = True
    configuration: tuple[bool, bool, bool] | None = None

    def key(self, member: Member) -> ec.EllipticCurvePrivateKey:
        """The private key of a member; public knowledge."""
        return derive_key(self.seed, member)

    @cached_property
    def root_certificate_der(self) -> bytes:
        """The root certificate; equal bytes everywhere for equal parameters."""
        return self._certificate("root").public_bytes(Encoding.DER)

    @cached_property
    def trust_root(self) -> TrustRoot:
        """This PKI as a root of trust."""
        return TrustRoot(
            vendor="the simulation",
            simulated=True,
            certificate=self.root_certificate_der,
            names=self.names,
        )

    @cached_property
    def pck_chain(self) -> str:
        """PEM chain of the platform: PCK, PCK CA, root; as quotes carry it."""
        return self.chain("pck")

    def chain(self, member: Member) -> str:
        """PEM chain from a member up to the root."""
        pem, now = "", member
        while True:
            pem += self._certificate(now).public_bytes(Encoding.PEM).decode()
            if now == "root":
                return pem
            now = self._issuer_of(now)

    def collateral(self, at: datetime) -> Collateral:
        """Collateral that is current at a moment.

        Issued at the start (UTC) of the day before, so that machines whose clocks straddle
        midnight accept each other's, and the same bytes all day long.
        """
        return _collateral(self, day_before(at))

    def crl(self, issuer: Member, issued: datetime) -> bytes:
        """DER CRL of a CA, listing the revoked certificates that it has issued."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name(issuer))
            .last_update(issued)
            .next_update(issued + timedelta(days=self.crl_days))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(self._authority(issuer), critical=False)
        )
        for member in sorted(self.revoked):
            if self._issuer_of(member) == issuer:
                builder = builder.add_revoked_certificate(
                    x509.RevokedCertificateBuilder()
                    .serial_number(self._serial(member))
                    .revocation_date(issued)
                    .build()
                )
        crl = builder.sign(self.key(issuer), hashes.SHA256(), ecdsa_deterministic=True)
        return crl.public_bytes(Encoding.DER)

    def issue(self, issued: datetime) -> Collateral:
        """Collateral with every statement issued at one moment."""
        next_update = issued + timedelta(days=self.statement_days)
        info = tcb_info(
            self.levels,
            tee=self.tee,
            issued=issued,
            next_update=next_update,
            fmspc=self.statement_fmspc or self.fmspc,
            pce_id=self.statement_pce_id or self.pce_id,
            evaluation_number=self.tcb_info_evaluation,
            module_signer=self.module_signer,
        )
        identity = qe_identity(
            self.qe_levels,
            identity="QE" if self.tee == "SGX" else "TD_QE",
            issued=issued,
            next_update=next_update,
            evaluation_number=self.qe_identity_evaluation,
            mrsigner=self.qe_signer,
        )
        return Collateral(
            pck_crl_issuer_chain=self.chain(self.pck_crl_issuer),
            root_ca_crl=self.crl(self.root_crl_issuer, issued),
            pck_crl=self.crl(self.pck_crl_issuer, issued),
            tcb_info_issuer_chain=self.chain(self.tcb_info_signer),
            tcb_info=info,
            tcb_info_signature=sign_raw(self.key(self.tcb_info_signer), info.encode()),
            qe_identity_issuer_chain=self.chain(self.qe_identity_signer),
            qe_identity=identity,
            qe_identity_signature=sign_raw(self.key(self.qe_identity_signer), identity.encode()),
        )

    def _issuer_of(self, member: Member) -> Member:
        if member == "pck":
            return "pck_ca"
        return self.tcb_signer_issuer if member == "tcb_signer" else "root"

    def _serial(self, member: Member) -> int:
        return self.pck_serial if member == "pck" else _SERIALS[member]

    def _name(self, member: Member) -> x509.Name:
        common = {
            "root": self.names.root,
            "pck_ca": self.pck_ca_name or self.names.pck_cas[0],
            "other_ca": self.names.pck_cas[-1],
            "pck": self.pck_name or self.names.pck,
            "tcb_signer": self.tcb_signer_name or self.names.tcb_signer,
        }[member]
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.names.organization),
            ]
        )

    def _authority(self, issuer: Member) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key(issuer).public_key())

    def _certificate(self, member: Member) -> x509.Certificate:
        issuer, is_ca = self._issuer_of(member), member in _CAS
        span = dict(self.spans).get(member, WIDE_SPAN)
        public_key = self.key(member).public_key()
        path = {"root": 1, "pck_ca": 0, "other_ca": 0}.get(member)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name(member))
            .issuer_name(self._name(issuer))
            .public_key(public_key)
            .serial_number(self._serial(member))
            .not_valid_before(span[0])
            .not_valid_after(span[1])
            .add_extension(self._authority(issuer), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(_usage(is_ca=is_ca), critical=True)
            .add_extension(x509.BasicConstraints(is_ca, path), critical=True)
        )
        if member == "pck" and self.certify_platform:
            extension = sgx_extension(
                ppid=self.ppid,
                cpu_svn=self.cpu_svn,
                pce_svn=self.pce_svn,
                pce_id=self.pce_id,
                fmspc=self.fmspc,
                configuration=self.configuration,
            )
            oid = x509.ObjectIdentifier(SGX_EXTENSION_OID)
            builder = builder.add_extension(
                x509.UnrecognizedExtension(oid, extension), critical=False
            )
        return builder.sign(self.key(issuer), hashes.SHA256(), ecdsa_deterministic=True)


def day_before(at: datetime) -> datetime:
    """Start (UTC) of the day before a moment."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=1)


@lru_cache(maxsize=32)
def _collateral(pki: SimulatedPki, issued: datetime) -> Collateral:
    return pki.issue(issued)


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=not is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
