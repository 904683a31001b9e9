"""A root is a name and a key: a vendor's other certificates of the same root count, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from coterie.attestation.appraiser import Appraisal, assess
from coterie.attestation.chains import _signature_holds
from coterie.attestation.collateral import Collateral
from coterie.attestation.pem import encode, parse_chain
from coterie.attestation.tee.simulated.pki import Member, Span
from tests.attestation.forgeries import (
    AT,
    HONEST,
    PAST,
    STRANGER,
    STRANGER_KEY,
    Change,
    Row,
    block,
    put_field,
)

# As Intel's earlier certificate of its root: the same name, serial number and key until 2033.
UNTIL_2033: Span = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2033, 5, 21, tzinfo=UTC))
EARLIER = replace(HONEST, spans=(("root", UNTIL_2033),))
ROOT_KEY = HONEST.key("root")
ROOT = x509.load_der_x509_certificate(HONEST.root_certificate_der)
CHAINS: dict[str, tuple[Member, str]] = {
    "pck_chain": ("pck", ""),
    "pck_crl_chain": ("pck_ca", "pck_crl_issuer_chain"),
    "tcb_info_chain": ("tcb_signer", "tcb_info_issuer_chain"),
    "qe_identity_chain": ("tcb_signer", "qe_identity_issuer_chain"),
}


@dataclass(frozen=True)
class Root:
    """Another certificate for the root, and what is other about it."""

    key: ec.EllipticCurvePrivateKey = ROOT_KEY
    signer: ec.EllipticCurvePrivateKey = ROOT_KEY
    subject: x509.Name = ROOT.subject
    issuer: x509.Name = ROOT.subject
    serial: int = 1
    span: Span = UNTIL_2033
    ca: bool = True
    crl_sign: bool = True

    def der(self) -> bytes:
        """The certificate."""
        usage = dict.fromkeys(
            (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(self.issuer)
            .public_key(self.key.public_key())
            .serial_number(self.serial)
            .not_valid_before(self.span[0])
            .not_valid_after(self.span[1])
            .add_extension(x509.BasicConstraints(self.ca, 1 if self.ca else None), critical=True)
            .add_extension(
                x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=self.crl_sign), critical=True
            )
            .sign(self.signer, hashes.SHA256(), ecdsa_deterministic=True)
            .public_bytes(Encoding.DER)
        )


def judge(chain: str, root: bytes, *, collateral: Change = lambda c: c) -> Appraisal:
    """Judges honest evidence one of whose chains ends at another certificate of the root."""
    member, field = CHAINS[chain]
    parts = len(parse_chain(HONEST.chain(member), 4)) - 1

    def swap(text: str) -> str:
        return "".join(block(text, i) for i in range(parts)) + encode(root)

    row = Row(
        "",
        "",
        quoting=(lambda q: q) if field else (lambda q: replace(q, pck_chain=swap(q.pck_chain))),
        collateral=put_field(field, swap) if field else (lambda c: c),
    )
    quote, found = row.evidence()
    return assess(
        quote,
        collateral(found),
        kind="simulated",
        root=HONEST.trust_root,
        policies=(),
        at=AT,
    )


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("root", [EARLIER.root_certificate_der, Root().der(), Root(serial=7).der()])
def test_another_certificate_of_the_root_is_accepted(chain: str, root: bytes) -> None:
    assert root != HONEST.root_certificate_der
    outcome = judge(chain, root)
    assert outcome.refusal is None
    assert outcome.verdict is not None
    assert outcome.verdict.expiry == judge(chain, HONEST.root_certificate_der).verdict.expiry  # type: ignore[union-attr]


def test_all_of_it_by_the_earlier_root_is_accepted() -> None:
    quote, collateral = replace(Row("", ""), pki=EARLIER).evidence()
    outcome = assess(
        quote, collateral, kind="simulated", root=HONEST.trust_root, policies=(), at=AT
    )
    assert outcome.refusal is None


def altered(position: int) -> bytes:
    der = bytearray(Root().der())
    der[position] ^= 1
    return bytes(der)


def name(common: str) -> x509.Name:
    other = x509.NameAttribute(x509.NameOID.COMMON_NAME, common)
    return x509.Name([other, *list(ROOT.subject)[1:]])


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "another key": (lambda: STRANGER.root_certificate_der, "root"),
    "another key, signed by the root": (lambda: Root(key=STRANGER_KEY).der(), "root"),
    "the root's key, signed by another": (lambda: Root(signer=STRANGER_KEY).der(), "root"),
    "a broken signature": (lambda: altered(-1), "root"),
    "altered validity": (lambda: Root().der().replace(b"330521", b"430521"), "root"),
    "another name": (lambda: Root(subject=name("Other"), issuer=name("Other")).der(), "root"),
    "another issuer": (lambda: Root(issuer=name("Other")).der(), "root"),
    "no CA": (lambda: Root(ca=False).der(), "role"),
    "may not sign CRLs": (lambda: Root(crl_sign=False).der(), "role"),
    "expired": (lambda: Root(span=PAST).der(), "validity"),
}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused_by_name(chain: str, case: str) -> None:
    make, check = REFUSED[case]
    refusal = judge(chain, make()).refusal
    assert refusal is not None
    # A quote's root also says which kind of TEE it claims to be from.
    other_kind = (case, chain) == ("another name", "pck_chain")
    assert refusal.failed_check == ("tee_kind" if other_kind else f"{chain}_{check}")


@pytest.mark.parametrize("chain", CHAINS)
def test_a_revoked_certificate_of_the_root_is_refused_in_every_chain(chain: str) -> None:
    revoked = x509.RevokedCertificateBuilder().serial_number(7).revocation_date(AT).build()
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.subject)
        .last_update(AT)
        .next_update(UNTIL_2033[1])
        .add_revoked_certificate(revoked)
        .sign(HONEST.key("root"), hashes.SHA256(), ecdsa_deterministic=True)
        .public_bytes(Encoding.DER)
    )

    def revoke(collateral: Collateral) -> Collateral:
        return replace(collateral, root_ca_crl=crl)

    refusal = judge(chain, Root(serial=7).der(), collateral=revoke).refusal
    assert refusal is not None
    assert refusal.failed_check == "root_revocation"
    assert "serial 7" in refusal.seen


def test_a_signature_has_one_spelling() -> None:
    """The octet that counts unused bits is covered by no signature."""
    found = 0
    for serial in range(1, 40):
        der = bytearray(Root(serial=serial).der())
        signature = x509.load_der_x509_certificate(bytes(der)).signature
        der[-len(signature) - 1] = 1
        try:
            odd = x509.load_der_x509_certificate(bytes(der))
            odd.verify_directly_issued_by(odd)
        except ValueError:
            continue
        found += 1
        assert not _signature_holds(odd, odd)
    assert found
