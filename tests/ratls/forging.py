"""Forges certificates and vouchers, for tests of who notices."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.ratls import cbor
from coterie.ratls.certificate import read_certificate
from coterie.ratls.claims import Claims, report_data
from coterie.ratls.credentials import Credentials
from coterie.ratls.evidence import InteroperableEvidence
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.issue import issue_certificate, spki_der
from coterie.ratls.voucher import VOUCHER_LIFETIME, Voucher, sign_voucher

if TYPE_CHECKING:
    from tests.ratls.conftest import World


@dataclass(frozen=True)
class Forgery:
    """Credentials of a worker of acme in which one thing is wrong."""

    name: str
    failed_check: str
    claims: Callable[[Claims], Claims] = lambda claims: claims
    buffer: Callable[[bytes], bytes] = lambda buffer: buffer
    quoted: Callable[[bytes], bytes] = report_data
    measurement: bytes | None = None
    shift: timedelta = timedelta()
    dns_node: str = "acme-worker"


def without_claim(buffer: bytes, name: str) -> bytes:
    value = cbor.decode_map(buffer, max_bytes=4096, max_items=64)
    del value[name]
    return cbor.encode(value)


def forge(world: World, forgery: Forgery) -> Credentials:
    key = ec.generate_private_key(ec.SECP256R1())
    honest = world.trust("acme-worker").credentials.current()
    spki = spki_der(key.public_key())
    claims = forgery.claims(
        honest.identity.claims.model_copy(update={"pubkey_hash": hashlib.sha256(spki).digest()})
    )
    buffer = forgery.buffer(claims.to_cbor())
    tee = SimulatedTee(forgery.measurement or bytes(range(32)))
    der = issue_certificate(
        key,
        InteroperableEvidence(tee.quote(forgery.quoted(buffer)), buffer),
        node=forgery.dns_node,
        party="acme",
        at=world.clock() + forgery.shift,
        lifetime=timedelta(hours=12),
        serial=secrets.randbits(150) + 1,
    )
    identity = NodeIdentity(claims, read_certificate(der), key)
    return Credentials(identity, vouch(world, claims, "acme"))


def vouch(world: World, claims: Claims, party: str) -> Voucher:
    return sign_voucher(world.keys[party], claims, expiry=world.clock() + VOUCHER_LIFETIME)


def legacy(world: World, *oids: str) -> Credentials:
    """A worker of acme that shows Gramine's legacy evidence for its key."""
    honest = world.trust("acme-worker").credentials.current()
    key = ec.generate_private_key(ec.SECP256R1())
    report = hashlib.sha256(spki_der(key.public_key())).digest() + bytes(32)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme-worker")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(world.clock() - timedelta(hours=1))
        .not_valid_after(world.clock() + timedelta(hours=1))
    )
    for oid in oids:
        value = SimulatedTee(bytes(range(32))).quote(report)
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    # The forger need not be able to read what it shows.
    shown = replace(honest.identity.certificate, der=der)
    return Credentials(NodeIdentity(honest.identity.claims, shown, key), honest.voucher)
