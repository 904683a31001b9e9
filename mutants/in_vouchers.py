"""Mutations of a node's papers: vouchers, claims, evidence, certificates."""

from __future__ import annotations

from mutants.mutation import Of

_voucher = Of("ratls/voucher.py", "ratls/test_voucher.py")
_claims = Of("ratls/claims.py", "ratls/test_claims.py")
_evidence = Of("ratls/evidence.py", "ratls/test_certificate.py")
_certificate = Of("ratls/certificate.py", "ratls/test_certificate.py")

MUTATIONS = (
    _voucher(
        "signature-not-checked",
        "        verify_statement(contract, claims.party, signed, voucher.signature, at=at)\n",
        "        assert signed\n",
        "anybody vouches for anybody's node",
    ),
    _voucher(
        "any-partys-signature",
        "verify_statement(contract, claims.party, signed,",
        "verify_statement(contract, contract.parties[0].name, signed,",
        "the first party of the contract vouches for everybody's nodes",
    ),
    _voucher(
        "contract-not-compared",
        '        ("contract", voucher.contract_digest, claims.contract_digest),\n',
        "",
        "a voucher under another contract counts",
    ),
    _voucher(
        "node-not-compared",
        '        ("node", voucher.node.encode(), claims.node.encode()),\n',
        "",
        "a party's voucher for one of its nodes counts for another",
    ),
    _voucher(
        "role-not-compared",
        '        ("role", voucher.role.encode(), claims.role.encode()),\n',
        "",
        "a voucher for another role counts",
    ),
    _voucher(
        "key-not-compared",
        '        ("key", voucher.spki_sha256, claims.pubkey_hash),\n',
        "",
        "a stolen voucher counts for any key",
    ),
    _voucher(
        "incarnation-not-compared",
        '        ("incarnation", _octets(voucher.incarnation), _octets(claims.incarnation)),\n',
        "",
        "the party's word for one start of a node counts for every start",
    ),
    _voucher(
        "valid-at-its-end",
        "if at >= voucher.expires_at:",
        "if at > voucher.expires_at:",
        "a voucher is valid at its very end",
    ),
    _voucher(
        "never-expires",
        "if at >= voucher.expires_at:",
        "if at.year > voucher.expires_at.year:",
        "a voucher does not expire",
    ),
    _voucher(
        "without-label",
        "return _LABEL + cbor.encode(self.model_dump(include=fields, by_alias=True))",
        "return cbor.encode(self.model_dump(include=fields, by_alias=True))",
        "the party's key signs something that could mean another thing elsewhere",
    ),
    _voucher(
        "expiry-not-signed",
        "fields = set(VoucherStatement.model_fields)",
        'fields = set(VoucherStatement.model_fields) - {"expiry"}',
        "whoever carries a voucher prolongs it",
    ),
    _voucher(
        "incarnation-not-signed",
        "fields = set(VoucherStatement.model_fields)",
        'fields = set(VoucherStatement.model_fields) - {"incarnation"}',
        "whoever carries a voucher makes it one for another start",
    ),
    _voucher(
        "unbounded",
        "max_bytes=MAX_VOUCHER_BYTES",
        "max_bytes=MAX_VOUCHER_BYTES << 20",
        "a voucher of any size is decoded",
    ),
    _claims(
        "any-algorithm",
        "if algorithm != SHA_256_ID:",
        "if algorithm < SHA_256_ID:",
        "a hash by another algorithm is compared with a SHA-256",
    ),
    _claims(
        "half-a-report",
        "return hashlib.sha256(claims).digest() + bytes(32)",
        "return 2 * hashlib.sha256(claims).digest()",
        "other verifiers refuse the quote",
    ),
    _claims(
        "short-key-hash",
        "if not isinstance(digest, bytes) or len(digest) != 32:",
        "if not isinstance(digest, bytes) or len(digest) > 32:",
        "a prefix of the key's hash will do",
    ),
    _evidence(
        "key-not-compared",
        "if not hmac.compare_digest(claimed, seen):",
        "if not claimed:",
        "stolen evidence in another certificate is taken",
    ),
    _evidence(
        "legacy-twice",
        "if len(legacy) > 1:",
        "if len(legacy) > 2:",
        "two parsers see two pieces of evidence",
    ),
    _evidence(
        "legacy-key-not-bound",
        "return hashlib.sha256(spki_der).digest() + bytes(32)",
        "return hashlib.sha256(self.quote).digest() + bytes(32)",
        "legacy evidence is not for its key",
    ),
    _evidence(
        "legacy-before-interoperable",
        "    if INTEROPERABLE_OID in extensions:\n"
        "        return read_interoperable(extensions[INTEROPERABLE_OID])\n"
        "    if legacy:",
        "    if INTEROPERABLE_OID in extensions and not legacy:\n"
        "        return read_interoperable(extensions[INTEROPERABLE_OID])\n"
        "    if legacy:",
        "evidence without claims is preferred",
    ),
    _evidence(
        "any-tag",
        "if not value.startswith(_TAG_60000):",
        "if not value:",
        "another format's evidence is read as an Intel quote",
    ),
    _evidence(
        "quote-of-any-size",
        "if not quote or len(quote) > MAX_QUOTE_BYTES or len(claims)",
        "if not quote or len(claims)",
        "a certificate's quote is bounded by the certificate alone",
    ),
    _evidence(
        "claims-of-any-size",
        "or len(quote) > MAX_QUOTE_BYTES or len(claims) > MAX_CLAIMS_BYTES:",
        "or len(quote) > MAX_QUOTE_BYTES:",
        "a certificate's claims are bounded by the certificate alone",
    ),
    _certificate(
        "extension-twice",
        "if oid in values:",
        "if oid in values and not oid:",
        "two parsers see two pieces of evidence",
    ),
    _certificate(
        "unknown-critical",
        'if oid not in (_KNOWN_CRITICAL if extension["critical"].native else _KNOWN):',
        "if oid not in _KNOWN:",
        "what must be understood is skipped",
    ),
    _certificate(
        "unknown-skipped",
        'if oid not in (_KNOWN_CRITICAL if extension["critical"].native else _KNOWN):',
        'if extension["critical"].native and oid not in _KNOWN_CRITICAL:',
        "a node's certificate says more than its reader knows",
    ),
    _certificate(
        "authorities",
        'if oid == "2.5.29.19" and extension["extn_value"].parsed["ca"].native:',
        'if oid == "2.5.29.19" and not extension["extn_value"].parsed:',
        "a certification authority's certificate is a node's",
    ),
    _certificate(
        "key-in-another-form",
        "if again != spki_der:",
        "if not again:",
        "one key has two hashes",
    ),
    _certificate(
        "signature-not-checked",
        "    try:\n        key.verify(\n",
        "    try:\n        str(\n",
        "a certificate may be altered",
    ),
    _certificate(
        "two-algorithms",
        "if outer.dump() != inner.dump():",
        "if not outer.dump():",
        "the signed algorithm is not the one used",
    ),
    _certificate(
        "unused-bits",
        'if certificate["signature_value"].contents[:1] != b"\\0":',
        'if not certificate["signature_value"].contents:',
        "one signature has several encodings",
    ),
    _certificate(
        "not-yet-valid",
        "if not self.not_before <= at <= self.not_after:",
        "if not at <= self.not_after:",
        "a certificate of tomorrow is valid",
    ),
    _certificate(
        "expired",
        "if not self.not_before <= at <= self.not_after:",
        "if not self.not_before <= at:",
        "an expired certificate is valid",
    ),
    _certificate(
        "lives-for-ever",
        "if longest is not None and self.not_after - self.not_before > longest:",
        "if longest is not None and self.not_after < self.not_before:",
        "evidence is as old as its certificate",
    ),
    _certificate(
        "of-any-size",
        "if len(der) > MAX_CERTIFICATE_BYTES:",
        "if not der:",
        "a stranger makes this node parse any amount",
    ),
)
