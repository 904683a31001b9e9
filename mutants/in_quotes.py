"""Mutations of reading evidence: framing, reports, attributes, PEM, collateral."""

from __future__ import annotations

from mutants.mutation import Of

_quote = Of(
    "attestation/quote.py", "attestation/test_quote.py", "attestation/test_refused_formats.py"
)
_pem = Of("attestation/pem.py", "attestation/test_pem.py", "attestation/test_refused_formats.py")
_reports = Of("attestation/reports.py", "attestation/test_quote.py")
_attributes = Of("attestation/attributes.py", "attestation/test_refused_attributes.py")
_collateral = Of("attestation/json_collateral.py", "attestation/test_collateral.py")

MUTATIONS = (
    _quote(
        "any-size",
        "if len(data) > MAX_QUOTE_BYTES:",
        "if len(data) < 0:",
        "a quote of any size is parsed",
    ),
    _quote(
        "any-version",
        "if version not in {3, 4, 5}:",
        "if version not in {2, 3, 4, 5}:",
        "version 2 is read as if it were version 4",
    ),
    _quote(
        "sgx-in-version-4",
        "if tee_type != (TEE_SGX if version == 3 else TEE_TDX):",
        "if tee_type not in (TEE_SGX, TEE_TDX):",
        "a trust domain's report is read of an enclave's bytes",
    ),
    _quote(
        "any-key-type",
        "if key_type != ECDSA_P256:",
        "if not key_type:",
        "another signature algorithm's quote is read",
    ),
    _quote(
        "any-vendor",
        "if vendor != INTEL_QE_VENDOR:",
        "if not vendor:",
        "another vendor's quoting enclave is taken",
    ),
    _quote(
        "bytes-behind",
        "len(reader.rest) > MAX_PADDING_BYTES or any(reader.rest)",
        "len(reader.rest) > MAX_PADDING_BYTES",
        "bytes that no signature covers follow the quote",
    ),
    _quote(
        "endless-padding",
        "len(reader.rest) > MAX_PADDING_BYTES or any(reader.rest)",
        "any(reader.rest)",
        "padding has no bound but the quote's",
    ),
    _quote(
        "any-authentication-data",
        'if (size := certified.integer("<H")) != _QE_AUTH_BYTES:',
        'if (size := certified.integer("<H")) > _QE_AUTH_BYTES:',
        "authentication data of another length shift what follows",
    ),
    _quote(
        "certification-type",
        "        if seen != kind:\n",
        "        if not seen:\n",
        "certification data without a chain are read as one",
    ),
    _quote(
        "certification-length",
        "if size != len(self.rest):",
        "if size > len(self.rest):",
        "bytes that no signature covers follow the chain",
    ),
    _quote(
        "chain-length",
        "if len(chain) != PCK_CHAIN_LENGTH:",
        "if not chain:",
        "a chain without its root is unpacked",
    ),
    _quote(
        "chain-of-any-size",
        "if len(data) > MAX_CHAIN_BYTES:",
        "if not data:",
        "a chain is bounded by the quote alone",
    ),
    _quote(
        "body-of-another-size",
        "if _V5_BODIES.get(body_type) != size:",
        "if size not in _V5_BODIES.values():",
        "a TDX 1.0 body is read as a TDX 1.5 one",
    ),
    _quote(
        "canonical-with-padding",
        "unpadded = data[: len(data) - len(reader.rest)]",
        "unpadded = data",
        "padding gets to dcap-qvl",
    ),
    _pem(
        "text-between",
        "if _spelled(der, len(lines[0]), ending) != block + end:",
        "if not lines:",
        "one chain has several spellings",
    ),
    _pem(
        "too-many",
        "if len(blocks) > longest:",
        "if len(blocks) > 2 * longest:",
        "a stranger makes this node parse any number of certificates",
    ),
    _pem(
        "text-after",
        'if blocks.pop() != "":',
        'if blocks.pop() == "-":',
        "text follows the certificates that no signature covers",
    ),
    _pem(
        "serial-number-zero",
        "if certificate.serial_number <= 0:",
        "if certificate.serial_number < 0:",
        "a certificate without a serial number cannot be revoked",
    ),
    _reports(
        "signer-is-program",
        "return cls(cpu_svn, misc, flags, xfrm, mrenclave, mrsigner, product, svn, data)",
        "return cls(cpu_svn, misc, flags, xfrm, mrsigner, mrenclave, product, svn, data)",
        "MRSIGNER is compared with MRENCLAVE's values",
    ),
    _reports(
        "product-is-version",
        "return cls(cpu_svn, misc, flags, xfrm, mrenclave, mrsigner, product, svn, data)",
        "return cls(cpu_svn, misc, flags, xfrm, mrenclave, mrsigner, svn, product, data)",
        "ISV_SVN is compared with ISV_PROD_ID's value",
    ),
    _reports(
        "registers-rotated",
        "(fields[10], fields[11], fields[12], fields[13])",
        "(fields[11], fields[12], fields[13], fields[10])",
        "RTMR0 is compared with RTMR1's values",
    ),
    *(
        _attributes(
            f"{check.replace('_', '-')}-allowed",
            f'"{check}", _bits({bit}), "{must_be}"',
            f'"{check}", 0, "{must_be}"',
            f"{meaning} is accepted",
        )
        for check, bit, must_be, meaning in (
            ("attributes_debug", 1, "clear", "a debug enclave"),
            ("attributes_init", 0, "set", "an enclave that was not initialized"),
            ("attributes_mode64", 2, "set", "a 32-bit enclave"),
            ("attributes_provision_key", 4, "clear", "an enclave with the provisioning key"),
            ("attributes_einittoken_key", 5, "clear", "an enclave with the launch-token key"),
            ("td_debug", 0, "clear", "a debug trust domain"),
        )
    ),
    _attributes(
        "sgx-reserved-allowed",
        '"attributes_reserved", _WORD & ~_SGX_KNOWN, "clear"',
        '"attributes_reserved", 0, "clear"',
        "an enclave with attributes that nobody knows is accepted",
    ),
    _attributes(
        "td-reserved-allowed",
        "        _WORD & ~_TDX_KNOWN,\n",
        "        0,\n",
        "a trust domain that can be migrated is accepted",
    ),
    _attributes(
        "td-faults-allowed",
        "        _bits(28),\n",
        "        0,\n",
        "a trust domain into which its host injects faults is accepted",
    ),
    _attributes(
        "td-services-allowed",
        "if value is not None and any(value):",
        "if value is not None and not value:",
        "a trust domain with a service trust domain is accepted",
    ),
    _attributes(
        "td-services-of-now-only",
        "hashes = (report.mrservicetd, report.init_service_td_hash, report.cur_service_td_hash)",
        "hashes = (report.mrservicetd, report.cur_service_td_hash)",
        "a trust domain that had a service trust domain at its start is accepted",
    ),
    _collateral(
        "text-of-any-size",
        "elif len(value) > MAX_TEXT_CHARS:",
        "elif len(value) < 0:",
        "a peer's collateral is bounded as a whole alone",
    ),
    _collateral(
        "crl-of-any-size",
        "if len(value) > MAX_CRL_BYTES:",
        "if len(value) < 0:",
        "a peer's revocation list is bounded as a whole alone",
    ),
    _collateral(
        "json-of-any-size",
        "if len(text) > MAX_COLLATERAL_BYTES:",
        "if len(text) < 0:",
        "a peer makes this node parse any amount",
    ),
    _collateral(
        "signature-of-any-size",
        'if field.name.endswith("_signature") and len(value) != SIGNATURE_BYTES:',
        'if field.name.endswith("_signature") and not value:',
        "a signature of another length gets to dcap-qvl",
    ),
    _collateral(
        "other-fields-ignored",
        "if unknown := values.keys() - names:",
        "if unknown := names - values.keys():",
        "what is not known is skipped",
    ),
)
