"""The simulated AMD: roots, CAs, signing keys, revocation lists and reports, by public keys.

Every field of :class:`SimulatedAmd` describes one property of that vendor or of its one platform, so
a forged variant is ``dataclasses.replace(SimulatedAmd(), certified_product="Genoa-B1")``.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Literal

from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1
from asn1crypto.algos import SignedDigestAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coterie.attestation.authentic import AnyQuote
from coterie.attestation.der import tlv
from coterie.attestation.snp import endorsement as vek
from coterie.attestation.snp.certificates import PSS_SHA384
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.platform import NO_AGENT
from coterie.attestation.snp.products import PRODUCTS, SnpLine, Tcb
from coterie.attestation.snp.quote import encode_snp_quote
from coterie.attestation.snp.roots import SIMULATED_ORGANIZATION, SIMULATED_PREFIX, AmdRoots
from coterie.attestation.tee.simulated.der import ia5_string, integer
from coterie.attestation.tee.simulated.keys import PUBLIC_SEED
from coterie.attestation.tee.simulated.rsa import rsa_key, sign_pss
from coterie.kinds import SigningKey

Member = Literal["leaf", "ca", "root"]
Span = tuple[datetime, datetime]
WIDE: Span = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC))
TCB = Tcb(4, 0, 22, 213)
CHIP = hashlib.sha512(b"coterie simulated SNP platform").digest()
_P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
_SERIALS: dict[Member, int] = {"leaf": 0, "ca": 0x010001, "root": 0x010000}
_CPUIDS = {"Milan": (0x19, 1, 1), "Genoa": (0x19, 0x11, 1), "Turin": (0x1A, 2, 1)}


@dataclass(frozen=True)
class GuestFields:
    """The fields of a report that can differ.

    Attributes:
        measurement: Launch digest, 48 bytes.
        report_data: What the guest says, 64 bytes.
        version: Version of the report.
        policy: The guest's policy; by default SMT is allowed, and nothing else.
        vmpl: Privilege level of who asked.
        guest_svn: Security version that the guest's owner gave.
        family_id: Family, 16 bytes.
        image_id: Image, 16 bytes.
        host_data: Data of the host, 32 bytes.
        id_key_digest: Digest of the key of the id block, 48 bytes.
        author_key_digest: Digest of the key that certified it, 48 bytes.
        author_key: Whether the report says that there is such a key; by its digest if None.
        report_id: The running guest, 32 bytes.
        migration_agent: Its migration agent, 32 bytes.
        platform_info: The platform's properties.
        firmware: Running and committed firmware: major, minor, build.
    """

    measurement: bytes
    report_data: bytes = bytes(64)
    version: int = 3
    policy: int = 0x3001F
    vmpl: int = 0
    guest_svn: int = 0
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    host_data: bytes = bytes(32)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    author_key: bool | None = None
    report_id: bytes = b"\x52" * 32
    migration_agent: bytes = NO_AGENT
    platform_info: int = 0x25
    firmware: tuple[tuple[int, int, int], tuple[int, int, int]] = ((1, 55, 40), (1, 55, 40))


@dataclass(frozen=True)
class SimulatedAmd:
    """A simulated AMD and the one platform that it has certified.

    Attributes:
        product: Product line of the platform.
        key: Kind of its signing key.
        prefix: What common names have before AMD's own.
        organization: Organization of every subject.
        root_key: Label of the root's RSA key, if another one.
        ca_key: Label of the CA's RSA key, if another one.
        leaf_name: Common name of the signing key, if another one.
        ca_name: Common name of its CA, if another one.
        root_name: Common name of the root, if another one.
        ca_is_ca: Whether the CA's certificate says that it is one.
        spans: Validity of single members; all others are valid from 2020 to 2049.
        tcb: The platform's TCB, all four versions of it, and the one certified.
        current: The TCB that runs, if another one.
        committed: The committed TCB, if another one.
        reported: The reported TCB, if another one.
        launch: The TCB at launch, if another one.
        chip_id: The chip, 64 bytes.
        reported_chip: The chip in the report, if another one.
        certified_product: Product name in the certificate, if another one.
        csp_id: The cloud provider in a VLEK's certificate.
        without: Extensions that the certificate lacks, by OID.
        more: Extensions of the certificate with other values, by OID.
        cpuid: Family, model and stepping in the report, if others.
        revoked: Members whose certificates are on the root's list.
        crl_days: How long the list is current.
        crl_key: Label of the RSA key that signs the list, if another one than the root's.
        algorithm: The algorithm in its certificates, DER.
    """

    product: str = "Milan"
    key: SigningKey = "vcek"
    prefix: str = SIMULATED_PREFIX
    organization: str = SIMULATED_ORGANIZATION
    root_key: str | None = None
    ca_key: str | None = None
    leaf_name: str | None = None
    ca_name: str | None = None
    root_name: str | None = None
    ca_is_ca: bool = True
    spans: tuple[tuple[Member, Span], ...] = ()
    tcb: Tcb = TCB
    current: Tcb | None = None
    committed: Tcb | None = None
    reported: Tcb | None = None
    launch: Tcb | None = None
    chip_id: bytes = CHIP
    reported_chip: bytes | None = None
    certified_product: str | None = None
    csp_id: str = "CN=cc-us-east-2.example"
    without: frozenset[str] = frozenset()
    more: tuple[tuple[str, bytes], ...] = ()
    cpuid: tuple[int, int, int] | None = None
    revoked: frozenset[Member] = frozenset()
    crl_days: float = 30
    crl_key: str | None = None
    algorithm: bytes = PSS_SHA384

    @cached_property
    def roots(self) -> AmdRoots:
        """The roots of all product lines of the honest simulation."""
        keys = {name: hashlib.sha256(_rsa_spki(f"ark {name}")).digest() for name in PRODUCTS}
        return AmdRoots("the simulation", True, SIMULATED_ORGANIZATION, SIMULATED_PREFIX, keys)  # noqa: FBT003 (record)

    @cached_property
    def chain(self) -> tuple[bytes, bytes, bytes]:
        """Certificates of signing key, CA and root, DER; the same bytes everywhere."""
        return self._certificate("leaf"), self._certificate("ca"), self._certificate("root")

    @cached_property
    def leaf_key(self) -> ec.EllipticCurvePrivateKey:
        """The signing key; public knowledge."""
        label = f" {self.product} {self.key} {self.tcb}".encode() + self.chip_id
        material = hashlib.sha512(PUBLIC_SEED + label).digest()
        number = int.from_bytes(material, "big") % (_P384_ORDER - 1) + 1
        return ec.derive_private_key(number, ec.SECP384R1())

    def report(self, fields: GuestFields) -> bytes:
        """A signed report on a guest."""
        body = self._body(fields)
        der = self.leaf_key.sign(body, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
        r, s = decode_dss_signature(der)
        return body + r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(368)

    def evidence(self, fields: GuestFields) -> bytes:
        """Evidence of a guest: the report and the signing key's chain."""
        return encode_snp_quote(self.report(fields), self.key, self.chain)

    def collateral(self, at: datetime) -> SnpCollateral:
        """Collateral that is current at a moment; the same bytes all day long."""
        day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return _issued(self, day - timedelta(days=1))

    def issue(self, issued: datetime) -> SnpCollateral:
        """Collateral issued at one moment."""
        entries = [
            {"user_certificate": _SERIALS[member], "revocation_date": _time(issued)}
            for member in sorted(self.revoked)
        ]
        body = asn1_crl.TbsCertList(
            {
                "version": "v2",
                "signature": SignedDigestAlgorithm.load(PSS_SHA384),
                "issuer": self._name("root"),
                "this_update": _time(issued),
                "next_update": _time(issued + timedelta(days=self.crl_days)),
                **({"revoked_certificates": entries} if entries else {}),
                "crl_extensions": [{"extn_id": "crl_number", "extn_value": 1}],
            }
        ).dump()
        key = self.crl_key or self.root_key or f"ark {self.product}"
        return SnpCollateral(_signed(body, key))

    def _body(self, fields: GuestFields) -> bytes:
        product = PRODUCTS[self.product]
        current, committed, reported, launch = (
            product.encode(tcb or self.tcb)
            for tcb in (self.current, self.committed, self.reported, self.launch)
        )
        author = any(fields.author_key_digest) if fields.author_key is None else fields.author_key
        cpuid = bytes(self.cpuid or _CPUIDS[self.product]) if fields.version > 2 else b""
        running, kept = (bytes((build, minor, major, 0)) for major, minor, build in fields.firmware)
        return struct.pack(
            "<IIQ16s16sII8sQI4x64s48s32s48s48s32s32s8s24s64s8s4s4s8s168x",
            fields.version,
            fields.guest_svn,
            fields.policy,
            fields.family_id,
            fields.image_id,
            fields.vmpl,
            1,
            current,
            fields.platform_info,
            author | (4 if self.key == "vlek" else 0),
            fields.report_data,
            fields.measurement,
            fields.host_data,
            fields.id_key_digest,
            fields.author_key_digest,
            fields.report_id,
            fields.migration_agent,
            reported,
            cpuid,
            self.chip_id if self.reported_chip is None else self.reported_chip,
            committed,
            running,
            kept,
            launch,
        )

    def _common(self, member: Member) -> str:
        vlek = self.key == "vlek"
        names: dict[Member, str | None] = {
            "leaf": self.leaf_name,
            "ca": self.ca_name,
            "root": self.root_name,
        }
        own: dict[Member, str] = {
            "leaf": f"SEV-{self.key.upper()}",
            "ca": f"SEV-{'VLEK-' if vlek else ''}{self.product}",
            "root": f"ARK-{self.product}",
        }
        return names[member] or f"{self.prefix}{own[member]}"

    def _name(self, member: Member) -> asn1.Name:
        return asn1.Name.build(
            {"organization_name": self.organization, "common_name": self._common(member)}
        )

    def _label(self, member: Member) -> str:
        if member == "root":
            return self.root_key or f"ark {self.product}"
        return self.ca_key or f"{'asvk' if self.key == 'vlek' else 'ask'} {self.product}"

    def _certificate(self, member: Member) -> bytes:
        leaf, issuer = member == "leaf", "ca" if member == "leaf" else "root"
        span = dict(self.spans).get(member, WIDE)
        spki = _spki(self.leaf_key) if leaf else _rsa_spki(self._label(member))
        extensions = self._platform() if leaf else self._authority(member)
        body = asn1.TbsCertificate(
            {
                "version": "v3",
                "serial_number": _SERIALS[member],
                "signature": SignedDigestAlgorithm.load(self.algorithm),
                "issuer": self._name("ca" if leaf else "root"),
                "validity": {"not_before": _time(span[0]), "not_after": _time(span[1])},
                "subject": self._name(member),
                "subject_public_key_info": asn1.PublicKeyInfo.load(spki),
                "extensions": extensions,
            }
        ).dump()
        return _signed(body, self._label("ca" if issuer == "ca" else "root"), self.algorithm)

    def _authority(self, member: Member) -> list[dict[str, object]]:
        usage = {"key_cert_sign", "crl_sign"} if member == "root" else {"key_cert_sign"}
        return [
            {
                "extn_id": "basic_constraints",
                "critical": True,
                "extn_value": {"ca": self.ca_is_ca or member == "root"},
            },
            {"extn_id": "key_usage", "critical": True, "extn_value": usage},
        ]

    def _platform(self) -> list[dict[str, object]]:
        product = PRODUCTS[self.product]
        vlek = self.key == "vlek"
        name = self.certified_product or (self.product if vlek else f"{self.product}-B1")
        values = {
            f"{vek.AMD_OID}.1": integer(0),
            vek.PRODUCT_NAME: ia5_string(name),
            **{
                vek.PART_OIDS[part]: integer(getattr(self.tcb, part) or 0)
                for part in product.layout
                if part
            },
            **dict.fromkeys(vek.RESERVED_OIDS, integer(0)),
            **({vek.CSP_ID: ia5_string(self.csp_id)} if vlek else {vek.HARDWARE_ID: self._chip()}),
        }
        values |= dict(self.more)
        return [
            {"extn_id": oid, "extn_value": asn1.ParsableOctetString(value)}
            for oid, value in values.items()
            if oid not in self.without
        ]

    def _chip(self) -> bytes:
        return self.chip_id[:8] if PRODUCTS[self.product].short_id else self.chip_id


@lru_cache(maxsize=32)
def _issued(vendor: SimulatedAmd, issued: datetime) -> SnpCollateral:
    return vendor.issue(issued)


def _signed(body: bytes, label: str, algorithm: bytes = PSS_SHA384) -> bytes:
    return tlv(0x30, body + algorithm + tlv(0x03, b"\0" + sign_pss(rsa_key(label), body)))


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=16)
def _rsa_spki(label: str) -> bytes:
    public = rsa_key(label).public_numbers.public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _time(moment: datetime) -> asn1.Time:
    return asn1.Time({"utc_time": moment})


def vendor_of(quote: AnyQuote) -> SimulatedAmd:
    """The shared vendor of the product line that SNP evidence, or that below a TPM's, names.

    Raises:
        EvidenceRefused: It names none (check ``vek_chain_role``).
    """
    line = quote.platform()
    if not isinstance(line, SnpLine):
        raise TypeError("SNP evidence is needed: a defect of the caller")
    return SimulatedAmd(product=line.product.capitalize())
