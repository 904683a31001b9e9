"""Chains and revocation lists of every shape but the one that the rule demands: one thing wrong each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from coterie.attestation.chains import ChainRule, chain_end, verify_chain
from coterie.attestation.revocation import read_crl, verify_crl, verify_not_revoked
from coterie.attestation.roots import RoleNames, TrustRoot
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = RoleNames("Vendor", "Root", ("Platform CA",), "PCK", "Signer")
RULE = ChainRule("chain", (("PCK",), ("Platform CA",)))
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("leaf", "ca", "root", "other")}
P384 = ec.generate_private_key(ec.SECP384R1())


def usage(*, signs: bool = False, certificates: bool = False, crls: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=crls,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class Member:
    """A certificate to be made."""

    name: str
    key: ec.EllipticCurvePrivateKey
    is_ca: bool
    key_usage: x509.KeyUsage | None
    organization: str = "Vendor"
    start: datetime = AT - 10 * DAY
    end: datetime = AT + 10 * DAY
    constrained: bool = True
    serial: int = 7

    @property
    def subject(self) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organization),
                x509.NameAttribute(NameOID.COMMON_NAME, self.name),
            ]
        )

    def under(
        self,
        issuer: Member,
        signer: ec.EllipticCurvePrivateKey | None = None,
        digest: hashes.SHA256 | hashes.SHA384 | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer.subject)
            .public_key(self.key.public_key())
            .serial_number(self.serial)
            .not_valid_before(self.start)
            .not_valid_after(self.end)
        )
        if self.constrained:
            limits = x509.BasicConstraints(ca=self.is_ca, path_length=None)
            builder = builder.add_extension(limits, critical=True)
        if self.key_usage is not None:
            builder = builder.add_extension(self.key_usage, critical=True)
        return builder.sign(signer or issuer.key, digest or hashes.SHA256())


CA_USAGE = usage(certificates=True, crls=True)
ROOT = Member("Root", KEYS["root"], is_ca=True, key_usage=CA_USAGE)
CA = Member("Platform CA", KEYS["ca"], is_ca=True, key_usage=CA_USAGE)
LEAF = Member("PCK", KEYS["leaf"], is_ca=False, key_usage=usage(signs=True))


@dataclass(frozen=True)
class Case:
    """A chain with one thing wrong, and the check that names it."""

    why: str
    check: str
    leaf: Member = LEAF
    ca: Member = CA
    root: Member = ROOT
    build: Callable[[Case], tuple[x509.Certificate, ...]] = lambda case: (
        case.leaf.under(case.ca),
        case.ca.under(case.root),
        case.root.under(case.root),
    )
    rule: ChainRule = RULE
    trusted: Member | None = None
    names: RoleNames = NAMES
    at: datetime = AT

    def verify(self) -> tuple[str, ...]:
        """The checks that passed."""
        chain = self.build(self)
        anchor = chain[-1] if self.trusted is None else self.trusted.under(self.trusted)
        root = TrustRoot("Vendor", True, anchor.public_bytes(Encoding.DER), self.names)
        checks = CheckList()
        verify_chain(chain, self.rule, root=root, at=self.at, checks=checks)
        return tuple(check.name for check in checks.checks)


CASES = [
    Case("anybody's root", "chain_root", trusted=replace(ROOT, key=KEYS["other"])),
    Case("a leaf of another name", "chain_role", leaf=replace(LEAF, name="Signer")),
    Case("a CA of another name", "chain_role", ca=replace(CA, name="Processor CA")),
    Case("a leaf of another company", "chain_role", leaf=replace(LEAF, organization="Mallory")),
    Case("a CA of another company", "chain_role", ca=replace(CA, organization="Mallory")),
    Case("a leaf that is a CA", "chain_role", leaf=replace(LEAF, is_ca=True)),
    Case("a CA that is none", "chain_role", ca=replace(CA, is_ca=False)),
    Case("a leaf that may not sign", "chain_role", leaf=replace(LEAF, key_usage=usage(crls=True))),
    Case(
        "a CA that may sign no lists",
        "chain_role",
        ca=replace(CA, key_usage=usage(certificates=True)),
    ),
    Case(
        "a CA that may sign no certificates",
        "chain_role",
        ca=replace(CA, key_usage=usage(crls=True)),
    ),
    Case("a leaf without key usage", "chain_role", leaf=replace(LEAF, key_usage=None)),
    Case("a CA without constraints", "chain_role", ca=replace(CA, constrained=False)),
    Case(
        "a certificate too many",
        "chain_role",
        build=lambda c: (
            c.leaf.under(c.ca),
            c.ca.under(c.ca),
            c.ca.under(c.root),
            c.root.under(c.root),
        ),
    ),
    Case(
        "a CA left out, under a root of another name",
        "chain_role",
        build=lambda c: (c.leaf.under(c.root), c.root.under(c.root)),
    ),
    Case(
        "a CA left out, under a root of its name",
        "chain_role",
        build=lambda c: (c.leaf.under(c.ca), c.ca.under(c.ca)),
        names=replace(NAMES, root="Platform CA"),
    ),
    Case(
        "a leaf that the CA never signed",
        "chain_signature",
        build=lambda c: (
            c.leaf.under(c.ca, signer=KEYS["other"]),
            c.ca.under(c.root),
            c.root.under(c.root),
        ),
    ),
    Case(
        "a CA that the root never signed",
        "chain_signature",
        build=lambda c: (
            c.leaf.under(c.ca),
            c.ca.under(c.root, signer=KEYS["other"]),
            c.root.under(c.root),
        ),
    ),
    Case(
        "a leaf that names another issuer",
        "chain_signature",
        build=lambda c: (
            c.leaf.under(replace(c.ca, name="Other CA")),
            c.ca.under(c.root),
            c.root.under(c.root),
        ),
    ),
    Case("a CA on another curve", "chain_signature", ca=replace(CA, key=P384)),
    Case(
        "a leaf signed over another hash",
        "chain_signature",
        build=lambda c: (
            c.leaf.under(c.ca, digest=hashes.SHA384()),
            c.ca.under(c.root),
            c.root.under(c.root),
        ),
    ),
    *(
        Case(f"{who}: {when}", "chain_validity", **{who: replace(member, **span)})  # type: ignore[arg-type]
        for who, member in (("leaf", LEAF), ("ca", CA), ("root", ROOT))
        for when, span in (
            ("expired", {"end": AT - timedelta(seconds=1)}),
            ("of tomorrow", {"start": AT + timedelta(seconds=1)}),
        )
    ),
]


def test_the_chain_without_a_fault_is_accepted() -> None:
    passed = ("chain_root", "chain_role", "chain_signature", "chain_validity")
    assert Case("", "").verify() == passed
    assert Case("", "", leaf=replace(LEAF, start=AT, end=AT)).verify() == passed


def test_a_crl_signer_is_a_ca() -> None:
    rule = ChainRule("chain", (("Platform CA",),), crl_signer=True)
    chain = Case("", "", build=lambda c: (c.ca.under(c.root), c.root.under(c.root)), rule=rule)
    assert "chain_role" in chain.verify()
    with pytest.raises(EvidenceRefused) as refusal:
        replace(chain, ca=replace(CA, is_ca=False, key_usage=usage(signs=True))).verify()
    assert refusal.value.failed_check == "chain_role"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_one_thing_wrong_is_refused_by_name(case: Case) -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        case.verify()
    assert refusal.value.failed_check == case.check
    assert refusal.value.seen
    assert refusal.value.remedy


def test_a_chain_ends_with_the_first_certificate_that_expires() -> None:
    ends = [AT + 3 * DAY, AT + DAY, AT + 2 * DAY]
    chain = Case(
        "", "", replace(LEAF, end=ends[0]), replace(CA, end=ends[1]), replace(ROOT, end=ends[2])
    )
    assert chain_end(chain.build(chain)) == AT + DAY


@dataclass(frozen=True)
class Crl:
    """A revocation list to be made."""

    issuer: Member = CA
    signer: ec.EllipticCurvePrivateKey = KEYS["ca"]
    start: datetime = AT - DAY
    end: datetime = AT + DAY
    revoked: tuple[int, ...] = ()
    extension: tuple[x509.ExtensionType, bool] | None = None

    def der(self) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.issuer.subject)
            .last_update(self.start)
            .next_update(self.end)
            .add_extension(x509.CRLNumber(1), critical=False)
        )
        if self.extension is not None:
            builder = builder.add_extension(self.extension[0], critical=self.extension[1])
        for serial in self.revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(AT - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.signer, hashes.SHA256()).public_bytes(Encoding.DER)

    def verify(self) -> datetime:
        crl = read_crl(self.der(), "crl")
        return verify_crl(crl, "crl", issuer=CA.under(ROOT), at=AT, checks=CheckList())


@pytest.mark.parametrize(
    ("crl", "check"),
    [
        (Crl(signer=KEYS["other"]), "crl_issuer"),
        (Crl(issuer=replace(CA, name="Other CA")), "crl_issuer"),
        (Crl(issuer=replace(CA, name="Other CA"), signer=KEYS["other"]), "crl_issuer"),
        (Crl(end=AT - timedelta(seconds=1)), "crl_validity"),
        (Crl(start=AT + timedelta(seconds=1), end=AT + 2 * DAY), "crl_validity"),
        # A delta list leaves out who was revoked before: what must be understood is not skipped.
        (Crl(extension=(x509.DeltaCRLIndicator(1), True)), "crl_format"),
    ],
    ids=["another key", "another name", "another CA", "stale", "of tomorrow", "a delta"],
)
def test_a_list_that_is_not_the_cas_current_whole_one_is_refused(crl: Crl, check: str) -> None:
    assert Crl().verify() == AT + DAY
    assert Crl(extension=(x509.DeltaCRLIndicator(1), False)).verify() == AT + DAY
    with pytest.raises(EvidenceRefused) as refusal:
        crl.verify()
    assert refusal.value.failed_check == check
    assert refusal.value.seen


@pytest.mark.parametrize("place", [0, 1])
def test_any_certificate_on_the_list_is_refused(place: int) -> None:
    certificates = (LEAF.under(CA), replace(LEAF, serial=8).under(CA))
    checks = CheckList()
    verify_not_revoked(certificates, read_crl(Crl(revoked=(9,)).der(), "crl"), "revoked", checks)
    assert [check.name for check in checks.checks] == ["revoked"]
    crl = read_crl(Crl(revoked=(9, 7 + place)).der(), "crl")
    with pytest.raises(EvidenceRefused) as refusal:
        verify_not_revoked(certificates, crl, "revoked", CheckList())
    assert refusal.value.seen == f"serial {7 + place:x} on the revocation list"
