"""Mutations of appraisal: framing, attributes, chains, revocation, statements, policies, time."""

from __future__ import annotations

from mutants.mutation import Of

_quote = Of(
    "attestation/quote.py", "attestation/test_quote.py", "attestation/test_refused_formats.py"
)
_pem = Of("attestation/pem.py", "attestation/test_pem.py", "attestation/test_refused_formats.py")
_reports = Of("attestation/reports.py", "attestation/test_quote.py")
_attributes = Of("attestation/attributes.py", "attestation/test_refused_attributes.py")
_chains = Of(
    "attestation/chains.py",
    "attestation/test_chains.py",
    "attestation/test_refused_chains.py",
    "attestation/test_refused_revocation.py",
)
_evidence = Of(
    "attestation/evidence.py",
    "attestation/test_evidence.py",
    "attestation/test_refused_chains.py",
    "attestation/test_refused_revocation.py",
    "attestation/test_refused_statements.py",
    "attestation/test_refused_policies.py",
    "attestation/test_refused_attributes.py",
)
_statements = Of(
    "attestation/statements.py",
    "attestation/test_statements.py",
    "attestation/test_refused_statements.py",
)
_policy = Of(
    "attestation/policy.py", "attestation/test_refused_policies.py", "attestation/test_policy.py"
)
_appraiser = Of(
    "attestation/appraiser.py", "attestation/test_policy.py", "attestation/test_simulated.py"
)
_dcap = Of(
    "attestation/dcap.py", "attestation/test_refused_signatures.py", "attestation/test_policy.py"
)
_freshness = Of("attestation/freshness.py", "attestation/test_collateral.py")
_collateral = Of("attestation/collateral.py", "attestation/test_collateral.py")
_clock = Of("attestation/clock.py", "attestation/test_clock.py")
_roots = Of("attestation/roots.py", "attestation/test_simulated.py")

_STATEMENT_ENDS = "expiry=min(*ends, tcb_info.next_update, qe_identity.next_update)"

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
        "canonical = data[: len(data) - len(reader.rest)]",
        "canonical = data",
        "padding gets to dcap-qvl",
    ),
    _pem(
        "text-between",
        "if encode(der) != block + _END:",
        "if not encode(der):",
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
    _chains(
        "any-root",
        "if chain[-1].public_bytes(Encoding.DER) != root.certificate:",
        "if not root.certificate:",
        "a chain ends at anybody's root",
    ),
    _chains(
        "any-name",
        "if common not in names or organization != root.names.organization:",
        "if organization != root.names.organization:",
        "the PCK key of a platform signs TCB info",
    ),
    _chains(
        "any-organization",
        "if common not in names or organization != root.names.organization:",
        "if common not in names:",
        "another organization's certificate has the role",
    ),
    _chains(
        "leaf-may-be-a-ca",
        "if constraints.ca is not is_ca:",
        "if is_ca and not constraints.ca:",
        "a CA's certificate signs TCB info",
    ),
    _chains(
        "ca-may-be-a-leaf",
        "if constraints.ca is not is_ca:",
        "if constraints.ca and not is_ca:",
        "a leaf issues certificates",
    ),
    _chains(
        "any-usage",
        "    if not wanted:\n",
        "    if wanted is None:\n",
        "a key is used for what it is not for",
    ),
    _chains(
        "ca-without-crl-signing",
        "usage.key_cert_sign and usage.crl_sign if is_ca",
        "usage.key_cert_sign if is_ca",
        "a CA that may not sign revocation lists does",
    ),
    _chains(
        "longer-chain",
        "if len(chain) != len(rule.names) + 1:",
        "if len(chain) < len(rule.names) + 1:",
        "certificates between have no role",
    ),
    _chains(
        "shorter-chain",
        "if len(chain) != len(rule.names) + 1:",
        "if len(chain) > len(rule.names) + 1:",
        "the root itself signs TCB info",
    ),
    _chains(
        "signatures-not-checked",
        "    if not all(_signature_holds(*pair) for pair in pairwise(chain)):\n",
        "    if not chain:\n",
        "a certificate is under a CA that never signed it",
    ),
    _chains(
        "first-signature-only",
        "all(_signature_holds(*pair) for pair in pairwise(chain))",
        "_signature_holds(chain[0], chain[1])",
        "a CA is under a root that never signed it",
    ),
    _chains(
        "not-yet-valid",
        'if not start <= at <= end:\n            raise EvidenceRefused(\n                f"{rule.check}',
        'if not at <= end:\n            raise EvidenceRefused(\n                f"{rule.check}',
        "a certificate of tomorrow is valid",
    ),
    _chains(
        "expired",
        'if not start <= at <= end:\n            raise EvidenceRefused(\n                f"{rule.check}',
        'if not start <= at:\n            raise EvidenceRefused(\n                f"{rule.check}',
        "an expired certificate is valid",
    ),
    _chains(
        "last-end-counts",
        "return min(certificate.not_valid_after_utc for certificate in chain)",
        "return max(certificate.not_valid_after_utc for certificate in chain)",
        "a verdict outlives the chain",
    ),
    _chains(
        "any-curve",
        'not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1"',
        "not isinstance(key, ec.EllipticCurvePublicKey)",
        "another curve than the profile's is accepted",
    ),
    _chains(
        "any-hash",
        "    if not isinstance(certificate.signature_hash_algorithm, hashes.SHA256):\n"
        "        return False\n",
        "",
        "another hash than the profile's is accepted",
    ),
    _chains(
        "crl-of-any-name",
        "if crl.issuer != issuer.subject or not _crl_signature_holds(",
        "if not _crl_signature_holds(",
        "one CA's list stands for another's that has the same key",
    ),
    _chains(
        "crl-unsigned",
        "        return x509.load_der_x509_crl(der).is_signature_valid(key)\n",
        "        return x509.load_der_x509_crl(der) is not None\n",
        "a forged list revokes nobody",
    ),
    _chains(
        "crl-stale",
        "if end is None or not crl.last_update_utc <= at <= end:",
        "if end is None or not crl.last_update_utc <= at:",
        "a list from before a revocation is current for ever",
    ),
    _chains(
        "crl-of-tomorrow",
        "if end is None or not crl.last_update_utc <= at <= end:",
        "if end is None or not at <= end:",
        "a list of tomorrow is current",
    ),
    _chains(
        "revoked-are-accepted",
        "if crl.get_revoked_certificate_by_serial_number(serial) is not None:",
        "if crl.get_revoked_certificate_by_serial_number(serial) == serial:",
        "revoked certificates are accepted",
    ),
    _chains(
        "crl-critical",
        "if not any(ext.critical and ext.oid not in known for ext in crl.extensions):",
        "if crl.extensions is not None:",
        "a list that is not what it seems (a delta, say) is read as a whole one",
    ),
    _evidence(
        "any-kind",
        "    if seen != kind:\n",
        "    if not seen:\n",
        "simulated evidence is accepted under a contract for SGX, as far as the root goes",
    ),
    _evidence(
        "attributes-not-checked",
        "    verify_attributes(quote.report, checks)\n",
        "",
        "a debug enclave is accepted",
    ),
    _evidence(
        "another-cas-crl",
        "if crl_ca.subject != pck_ca.subject or crl_ca.public_key() != pck_ca.public_key():",
        "if not crl_ca.subject:",
        "the list of another PCK CA says nothing of this platform",
    ),
    *(
        _evidence(
            f"{check.replace('_', '-')}-skipped",
            f'    verify_not_revoked({what}, "{check}", checks)\n',
            "",
            f"{meaning} is accepted",
        )
        for check, what, meaning in (
            ("root_revocation", "(root_certificate,), root_crl", "a revoked root"),
            ("pck_ca_revocation", "(pck_ca, crl_ca), root_crl", "a revoked PCK CA"),
            ("tcb_signer_revocation", "signers, root_crl", "a revoked signer of TCB info"),
            ("pck_revocation", "(pck,), pck_crl", "a revoked platform"),
        )
    ),
    _evidence(
        "qe-signer-may-be-revoked",
        'signers = (chains["tcb_info_chain"][0], chains["qe_identity_chain"][0])',
        'signers = (chains["tcb_info_chain"][0],)',
        "a revoked signer of the QE identity is accepted",
    ),
    _evidence(
        "chains-not-verified",
        "        verify_chain(chains[check], rules[check], root=root, at=at, checks=checks)\n",
        "        checks.passed(check)\n",
        "chains have any root, role, signature and time",
    ),
    _evidence(
        "root-crl-not-verified",
        '    root_end = verify_crl(root_crl, "root_crl", issuer=root_certificate, at=at, checks=checks)\n',
        "    root_end = root_crl.next_update_utc or at\n",
        "anybody's list of revoked CAs is taken",
    ),
    _evidence(
        "pck-crl-not-verified",
        '    pck_end = verify_crl(pck_crl, "pck_crl", issuer=pck_ca, at=at, checks=checks)\n',
        "    pck_end = pck_crl.next_update_utc or at\n",
        "anybody's list of revoked platforms is taken",
    ),
    _evidence(
        "tcb-info-not-verified",
        '    verify_statement(tcb_info, "tcb_info", identity=info_id, versions=(3,), at=at, checks=checks)\n',
        "",
        "stale TCB info, or that of TDX, is taken",
    ),
    _evidence(
        "qe-identity-not-verified",
        "    verify_statement(\n"
        '        qe_identity, "qe_identity", identity=qe_id, versions=qe_versions, at=at, checks=checks\n'
        "    )\n",
        "",
        "a stale QE identity, or that of TDX, is taken",
    ),
    _evidence(
        "another-platforms-tcb-info",
        '    _verify_same("fmspc", fmspc, tcb_info.fmspc, "platform family (FMSPC)", checks)\n',
        "",
        "another platform family's TCB levels count; dcap-qvl has another word for it",
    ),
    _evidence(
        "another-pces-tcb-info",
        '    _verify_same("pce_id", pce_id, tcb_info.pce_id, "provisioning enclave (PCE id)", checks)\n',
        "",
        "TCB info of another provisioning enclave counts, which dcap-qvl ignores",
    ),
    _evidence(
        "newer-evaluation-counts",
        "min(tcb_info.evaluation_number, qe_identity.evaluation_number)",
        "max(tcb_info.evaluation_number, qe_identity.evaluation_number)",
        "one of the two statements may be rolled back",
    ),
    _evidence(
        "outlives-certificates",
        _STATEMENT_ENDS,
        "expiry=min(tcb_info.next_update, qe_identity.next_update)",
        "a verdict outlives chains and revocation lists",
    ),
    _evidence(
        "outlives-tcb-info",
        _STATEMENT_ENDS,
        "expiry=min(*ends, qe_identity.next_update)",
        "a verdict outlives the TCB info",
    ),
    _evidence(
        "outlives-qe-identity",
        _STATEMENT_ENDS,
        "expiry=min(*ends, tcb_info.next_update)",
        "a verdict outlives the QE identity",
    ),
    _evidence(
        "outlives-crls",
        "return [root_end, pck_end, *(chain_end(chain) for chain in chains.values())]",
        "return [chain_end(chain) for chain in chains.values()]",
        "a verdict outlives the revocation lists",
    ),
    _evidence(
        "outlives-chains",
        "return [root_end, pck_end, *(chain_end(chain) for chain in chains.values())]",
        "return [root_end, pck_end]",
        "a verdict outlives the chains",
    ),
    _evidence(
        "time-without-zone",
        "if at.tzinfo is None:",
        "if at.tzinfo == 0:",
        "a caller's local time is taken for UTC, or fails somewhere else",
    ),
    _statements(
        "any-identity",
        "if statement.identity != identity or statement.version not in versions:",
        "if statement.version not in versions:",
        "the statement of another kind of TEE counts",
    ),
    _statements(
        "any-version",
        "if statement.identity != identity or statement.version not in versions:",
        "if statement.identity != identity:",
        "a statement in another format counts",
    ),
    _statements(
        "not-yet-issued",
        "if not statement.issued <= at <= statement.next_update:",
        "if not at <= statement.next_update:",
        "a statement of tomorrow is current",
    ),
    _statements(
        "stale",
        "if not statement.issued <= at <= statement.next_update:",
        "if not statement.issued <= at:",
        "a statement from before a flaw was known is current for ever",
    ),
    _statements(
        "key-twice",
        "if len(value) != len(pairs):",
        "if len(value) > len(pairs):",
        "two parsers read two statements",
    ),
    _statements(
        "any-tcb-type",
        'if check == "tcb_info" and _typed(value["tcbType"], int) != 0:',
        'if check == "tcb_info" and _typed(value["tcbType"], int) < 0:',
        "TCB levels that are compared by another rule count",
    ),
    _statements(
        "short-hex",
        "if len(raw) != octets:",
        "if len(raw) > octets:",
        "an FMSPC of another length is compared",
    ),
    _statements(
        "true-is-a-number",
        "if not isinstance(value, kind) or isinstance(value, bool):",
        "if not isinstance(value, kind):",
        "true is a version number, and an evaluation number",
    ),
    _statements(
        "constants",
        "parse_constant=_no_constant",
        "parse_constant=float",
        "what is no JSON is read as one",
    ),
    _policy(
        "any-status",
        "if evidence.tcb_status not in self.accepted:",
        "if self.accepted and evidence.tcb_status not in self.accepted:",
        "an empty list of statuses accepts all",
    ),
    _policy(
        "any-advisory",
        "if unlisted := sorted(set(evidence.advisories) - set(self.accepted)):",
        "if unlisted := sorted(set(self.accepted) - set(evidence.advisories)):",
        "open advisories that are not listed are accepted",
    ),
    _policy(
        "evaluation-off-by-one",
        "if evidence.evaluation_number < self.minimum:",
        "if evidence.evaluation_number <= self.minimum:",
        "the very recovery that is demanded is refused",
    ),
    _policy(
        "any-evaluation",
        "if evidence.evaluation_number < self.minimum:",
        "if evidence.evaluation_number < 0:",
        "collateral from before a recovery is accepted",
    ),
    _policy(
        "absent-register",
        "if seen is None or seen not in self.accepted:",
        "if seen is not None and seen not in self.accepted:",
        "a guest is accepted where an enclave is demanded",
    ),
    _policy(
        "any-measurement",
        "if seen is None or seen not in self.accepted:",
        "if seen is None:",
        "any program is accepted",
    ),
    _policy(
        "any-product",
        "if product != self.isv_prod_id:",
        "if product is None:",
        "another product of the signer is accepted",
    ),
    _policy(
        "version-off-by-one",
        "if svn is None or svn < self.minimum_isv_svn:",
        "if svn is None or svn <= self.minimum_isv_svn:",
        "the very version that is demanded is refused",
    ),
    _policy(
        "any-version",
        "if svn is None or svn < self.minimum_isv_svn:",
        "if svn is None:",
        "a version with known flaws is accepted",
    ),
    _policy(
        "platform-for-family",
        'seen = (evidence.fmspc if self.field == "fmspc" else evidence.ppid).hex()',
        "seen = evidence.fmspc.hex()",
        "platform ids are never compared",
    ),
    _policy(
        "any-platform",
        '        if seen not in self.accepted:\n            raise EvidenceRefused(\n                f"platform',
        '        if not seen:\n            raise EvidenceRefused(\n                f"platform',
        "a platform that is not listed is accepted",
    ),
    _policy(
        "any-report-data",
        "if not hmac.compare_digest(seen, self.expected):",
        "if not hmac.compare_digest(seen[:32], self.expected[:32]):",
        "the upper half of the report data may be anything",
    ),
    *(
        _appraiser(
            f"{name}-left-out",
            old,
            new,
            f"what the contract lists as {name.replace('-', '_')} is not demanded",
        )
        for name, old, new in (
            ("statuses", "        TcbStatusIn(table.accepted_tcb_statuses),\n", ""),
            ("advisories", "        AdvisoriesWithin(table.accepted_advisories),\n", ""),
            (
                "evaluation-number",
                "    if table.minimum_tcb_evaluation_number is not None:\n",
                "    if not table:\n",
            ),
            ("mrenclave", "    if table.mrenclave:\n", "    if not table:\n"),
            (
                "mrsigner",
                '        policies.append(MeasurementIn("mrsigner", (table.mrsigner,)))\n',
                "",
            ),
            (
                "product",
                "        policies.append(ProductOf(table.isv_prod_id, table.minimum_isv_svn))\n",
                "",
            ),
            ("fmspc", "    if table.fmspc:\n", "    if not table:\n"),
            ("ppid", "    if table.ppid:\n", "    if not table:\n"),
            ("rtmr3", '"rtmr3", "td_attributes"', '"td_attributes"'),
        )
    ),
    _appraiser(
        "own-means-any",
        '        policies.append(MeasurementIn("mrenclave", own))\n',
        '        policies.append(MeasurementIn("mrenclave", own)) if own else None\n',
        "a node that does not know its own measurement accepts every program",
    ),
    _appraiser(
        "report-data-left-out",
        "            policies = (*policies, ReportDataIs(report_data))\n",
        "            policies = (*policies,)\n",
        "a quote may have been made for anything",
    ),
    _appraiser(
        "role-without-values",
        "        if table is None:\n            raise",
        "        if table is None:\n            return ()\n            raise",
        "a role that the contract does not list is accepted with any program",
    ),
    _appraiser(
        "refusal-is-a-verdict",
        "        if outcome.verdict is None:\n",
        "        if outcome.verdict is None and outcome.evidence is None:\n",
        "what a policy refuses goes on without a verdict",
    ),
    _appraiser(
        "policies-not-applied",
        "        for policy in policies:\n            policy.verify(evidence, checks)\n",
        "",
        "authentic evidence of any program is accepted",
    ),
    _appraiser(
        "not-heard",
        "        self._heard(outcome)\n",
        "",
        "metrics and doctors hear of no appraisal",
    ),
    _dcap(
        "unknown-sentence-passes",
        "        raise _refusal(sentence) from error\n",
        '        refusal = _refusal(sentence)\n        if refusal.failed_check == "dcap":\n'
        '            return TcbState("UpToDate", (), b"")\n        raise refusal from error\n',
        "a refusal in words that nobody knows is an acceptance",
    ),
    _freshness(
        "older-tcb-info",
        "if new.tcb_info > old.tcb_info:",
        "if new.tcb_info != old.tcb_info:",
        "older TCB info replaces newer",
    ),
    _freshness(
        "older-qe-identity",
        "if new.qe_identity > old.qe_identity:",
        "if new.qe_identity != old.qe_identity:",
        "an older QE identity replaces a newer one",
    ),
    _freshness(
        "older-root-crl",
        "if new.root_crl > old.root_crl:",
        "if new.root_crl != old.root_crl:",
        "an older list hides a revoked CA",
    ),
    _freshness(
        "older-pck-crl",
        "if new.pck_crl > old.pck_crl:",
        "if new.pck_crl != old.pck_crl:",
        "an older list hides a revoked platform",
    ),
    _freshness(
        "date-before-number",
        "tcb_info=(tcb_info.evaluation_number, tcb_info.issued),",
        "tcb_info=(int(tcb_info.issued.timestamp()), tcb_info.issued),",
        "TCB info of an old recovery that was signed later replaces newer",
    ),
    _freshness(
        "last-end-counts",
        "expiry=min(tcb_info.next_update, qe_identity.next_update, *crl_ends)",
        "expiry=max(tcb_info.next_update, qe_identity.next_update, *crl_ends)",
        "stale collateral is not fetched anew",
    ),
    _freshness(
        "floor-is-oldest",
        "return max(self.tcb_info[1], self.qe_identity[1], self.root_crl, self.pck_crl)",
        "return min(self.tcb_info[1], self.qe_identity[1], self.root_crl, self.pck_crl)",
        "the host's clock may be earlier than collateral that was seen",
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
        "if unknown := value.keys() - names:",
        "if unknown := names - names:",
        "what is not known is skipped",
    ),
    _clock(
        "goes-back",
        "            self._floor = max(self._floor, now)\n",
        "            self._floor = now\n",
        "the host turns the clock back minute by minute",
    ),
    _clock(
        "no-floor",
        "if now < self._floor - _TOLERANCE:",
        "if now < self._floor - 1000 * _TOLERANCE:",
        "the host turns the clock back by hours",
    ),
    _clock(
        "observes-nothing",
        "            self._floor = max(self._floor, moment)\n",
        "            pass\n",
        "the host's clock may be earlier than what was seen",
    ),
    _roots(
        "intels-root-for-all",
        'return simulated_root() if kind == "simulated" else INTEL_ROOT',
        "return INTEL_ROOT",
        "simulated runs do not start",
    ),
    _roots(
        "simulated-root-for-all",
        'return simulated_root() if kind == "simulated" else INTEL_ROOT',
        "return simulated_root()",
        "anybody makes evidence for a contract that demands SGX",
    ),
)
