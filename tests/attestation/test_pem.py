"""PEM chains: one spelling each, or a refusal that says what is wrong."""

from __future__ import annotations

import warnings

import pytest
from asn1crypto import x509 as asn1
from cryptography.hazmat.primitives.serialization import Encoding

from coterie.attestation.pem import PemMalformed, encode, parse_chain
from coterie.attestation.tee.simulated.pki import SimulatedPki

CHAIN = SimulatedPki().pck_chain
END = "-----END CERTIFICATE-----\n"
FIRST, SECOND, THIRD = (block + END for block in CHAIN.split(END)[:3])


def without_serial_number() -> str:
    certificate = asn1.Certificate.load(parse_chain(FIRST, 1)[0].public_bytes(Encoding.DER))
    certificate["tbs_certificate"]["serial_number"] = 0
    return encode(certificate.dump(force=True))


def test_a_chain_is_read_in_its_one_spelling() -> None:
    assert [encode(c.public_bytes(Encoding.DER)) for c in parse_chain(CHAIN, 3)] == [
        FIRST,
        SECOND,
        THIRD,
    ]
    assert len(parse_chain(CHAIN.removesuffix("\n"), 3)) == 3, "the last line feed may be missing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no certificate"),
        ("nothing", "no certificate"),
        (CHAIN + "\n", "text after the certificates"),
        (CHAIN + "more", "text after the certificates"),
        (" " + CHAIN, "text before a certificate"),
        (FIRST + "\n" + SECOND, "text before a certificate"),
        (CHAIN + THIRD, "4 certificates, more than 3"),
        (FIRST.replace("MII", "*II", 1), "a certificate that is no base64"),
        (FIRST.replace("\n", "\r\n"), "no certificate"),
        (FIRST.replace("\nMII", "\n\nMII", 1), "a certificate in non-canonical PEM"),
        (FIRST[:100] + FIRST[101:], "a certificate that is no base64"),
        (encode(b"\x30\x00"), "a certificate that is no valid DER"),
        (without_serial_number(), "a certificate without a positive serial number"),
    ],
)
def test_any_other_text_is_refused(text: str, said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library reads odd serial numbers all the same
        with pytest.raises(PemMalformed) as refusal:
            parse_chain(text, 3)
    assert str(refusal.value) == said
