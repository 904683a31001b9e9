"""PEM chains: what other programs write is read, in one way, and what could hide text is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from coterie.attestation.appraiser import assess
from coterie.attestation.pem import PemMalformed, canonical_chain, encode, parse_chain
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.quotes import honest_quoting_enclave
from tests.attestation.forgeries import AT, HONEST, TDX, Row, block, put_field
from tests.attestation.test_roots import Root

CHAIN = HONEST.pck_chain
COLLATERAL_CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")


def lines_of(width: int) -> Callable[[str], str]:
    """Writes a chain with lines of another width."""

    def apply(chain: str) -> str:
        parts = []
        for one in parse_chain(chain, 4):
            begin, *body, end = encode(one.public_bytes(Encoding.DER)).splitlines()
            text = "".join(body)
            lines = [text[i : i + width] for i in range(0, len(text), width)]
            parts.append("\n".join((begin, *lines, end, "")))
        return "".join(parts)

    return apply


SPELLINGS = {
    "76 wide": lines_of(76),
    "7 wide": lines_of(7),
    "in one line": lines_of(1 << 16),
    "CRLF": lambda chain: chain.replace("\n", "\r\n"),
    "76 wide, CRLF": lambda chain: lines_of(76)(chain).replace("\n", "\r\n"),
    "without the last end of line": lambda chain: chain[:-1],
}
MALFORMED = {
    "no certificate": lambda _: "",
    "two ends of lines": lambda chain: chain.replace("\n", "\r\n", 3),
    "two widths": lambda chain: chain.replace("\n", "", 2).replace("-----M", "-----\nM", 1),
    "a line with nothing": lambda chain: chain.replace("-----\nM", "-----\n\nM", 1),
    "a line with nothing at the end": lambda chain: chain.replace("\n-----E", "\n\n-----E", 1),
    "a space in a line": lambda chain: chain.replace("-----\nM", "-----\n M", 1),
    "bare carriage returns": lambda chain: chain.replace("\n", "\r"),
    "text between": lambda chain: block(chain, 0) + "Subject: x\n" + block(chain, 1),
    "a line between": lambda chain: block(chain, 0) + "\n" + block(chain, 1),
    "another label": lambda chain: chain.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
    "text behind": lambda chain: chain + "x",
    "bits behind the end": lambda chain: chain.replace("==\n-----E", "=B\n-----E"),
    "not base64": lambda chain: chain.replace("-----\nM", "-----\n*", 1),
    "five certificates": lambda chain: block(chain, 0) * 5,
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_chain_is_read_whatever_its_lines(spelling: Callable[[str], str]) -> None:
    assert parse_chain(spelling(CHAIN), 4) == parse_chain(CHAIN, 4)
    assert canonical_chain(spelling(CHAIN), 4) == CHAIN


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_chain_that_could_be_read_in_two_ways_is_refused(change: Callable[[str], str]) -> None:
    changed = change(CHAIN)
    assert changed != CHAIN
    with pytest.raises(PemMalformed):
        parse_chain(changed, 4)
    with pytest.raises(PemMalformed):
        canonical_chain(changed, 4)


@pytest.mark.parametrize("size", [0, 584, 648], ids=["v3", "v4", "v5"])
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_quote_with_such_a_chain_is_judged_in_its_canonical_form(
    spelling: Callable[[str], str], size: int
) -> None:
    row = Row("", "", kind="tdx", pki=TDX, td_size=size) if size else Row("", "")
    honest, collateral = row.evidence()
    chain = spelling(honest_quoting_enclave(row.pki).pck_chain)
    quote, _ = replace(row, quoting=lambda q: replace(q, pck_chain=chain)).evidence()
    assert quote != honest
    parsed = parse_quote(quote)
    assert parsed.canonical == honest
    assert parsed.pck_chain_pem == CHAIN
    outcome = assess(quote, collateral, kind=row.kind, root=HONEST.trust_root, policies=(), at=AT)
    assert outcome.refusal is None


@pytest.mark.parametrize("field", COLLATERAL_CHAINS)
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_collateral_with_such_chains_is_judged(field: str, spelling: Callable[[str], str]) -> None:
    quote, collateral = Row("", "", collateral=put_field(field, spelling)).evidence()
    assert collateral != Row("", "").evidence()[1]
    outcome = assess(
        quote, collateral, kind="simulated", root=HONEST.trust_root, policies=(), at=AT
    )
    assert outcome.refusal is None


@pytest.mark.parametrize("serial", [0, -1])
def test_a_certificate_without_a_positive_serial_number_is_refused(serial: int) -> None:
    """No revocation list could name it. The library warns of zero, at most; that is not relied on."""
    plain = Root(serial=1).der()
    numbered = plain.replace(b"\2\1\1", b"\2\1" + serial.to_bytes(1, signed=True), 1)
    assert numbered != plain
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(PemMalformed, match="without a positive serial number"):
            parse_chain(encode(numbered), 1)
