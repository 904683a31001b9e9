"""Mutations of authenticity: chains, revocation, statements, expiry."""

from __future__ import annotations

from mutants.mutation import Of

_chains = Of(
    "attestation/chains.py",
    "attestation/test_chains.py",
    "attestation/test_roots.py",
    "attestation/test_refused_chains.py",
    "attestation/test_refused_revocation.py",
)
_revocation = Of(
    "attestation/revocation.py",
    "attestation/test_chains.py",
    "attestation/test_refused_revocation.py",
)
_evidence = Of(
    "attestation/evidence.py",
    "attestation/test_evidence.py",
    "attestation/test_refused_attributes.py",
    "attestation/test_recognition.py",
)
_dcap = Of(
    "attestation/dcap_evidence.py",
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
_STATEMENT_ENDS = "expiry=min(*ends, tcb_info.next_update, qe_identity.next_update)"

MUTATIONS = (
    _chains(
        "any-root",
        "if not _is_root(chain[-1], root):",
        "if not root.certificate:",
        "a chain ends at anybody's root",
    ),
    _chains(
        "root-of-any-name",
        "certificate.subject == certificate.issuer == anchor.subject\n",
        "certificate.subject is not None\n",
        "what the root's key signed for itself under another name is a root",
    ),
    _chains(
        "root-of-any-key",
        "        and certificate.public_key() == anchor.public_key()\n",
        "",
        "whoever signs for himself under the root's name is the root",
    ),
    _chains(
        "root-unsigned",
        "        and _signature_holds(certificate, certificate)\n",
        "",
        "a root's validity and constraints may be altered",
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
        'if not start <= at <= end:\n            raise collateral_refused(\n                f"{rule.check}',
        'if not at <= end:\n            raise collateral_refused(\n                f"{rule.check}',
        "a certificate of tomorrow is valid",
    ),
    _chains(
        "expired",
        'if not start <= at <= end:\n            raise collateral_refused(\n                f"{rule.check}',
        'if not start <= at:\n            raise collateral_refused(\n                f"{rule.check}',
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
    _revocation(
        "crl-of-any-name",
        "if crl.issuer != issuer.subject or not _crl_signature_holds(",
        "if not _crl_signature_holds(",
        "one CA's list stands for another's that has the same key",
    ),
    _revocation(
        "crl-unsigned",
        'return der.endswith(b"\\0" + crl.signature) and crl.is_signature_valid(key)',
        'return der.endswith(b"\\0" + crl.signature)',
        "a forged list revokes nobody",
    ),
    _revocation(
        "crl-spelled-twice",
        'return der.endswith(b"\\0" + crl.signature) and crl.is_signature_valid(key)',
        "return crl.is_signature_valid(key)",
        "one list has several encodings",
    ),
    _revocation(
        "crl-stale",
        "if end is None or not crl.last_update_utc <= at <= end:",
        "if end is None or not crl.last_update_utc <= at:",
        "a list from before a revocation is current for ever",
    ),
    _revocation(
        "crl-of-tomorrow",
        "if end is None or not crl.last_update_utc <= at <= end:",
        "if end is None or not at <= end:",
        "a list of tomorrow is current",
    ),
    _revocation(
        "revoked-are-accepted",
        "if crl.get_revoked_certificate_by_serial_number(serial) is not None:",
        "if crl.get_revoked_certificate_by_serial_number(serial) == serial:",
        "revoked certificates are accepted",
    ),
    _revocation(
        "crl-critical",
        "if not any(ext.critical and ext.oid not in known for ext in crl.extensions):",
        "if crl.extensions is not None:",
        "a list that is not what it seems (a delta, say) is read as a whole one",
    ),
    _evidence(
        "any-kind",
        "    if quote.kind != kind:\n",
        "    if not quote.kind:\n",
        "simulated evidence is accepted under a contract for SGX, as far as the root goes",
    ),
    _dcap(
        "attributes-not-checked",
        "    verify_attributes(quote.report, kind=kind, checks=checks)\n",
        "",
        "a debug enclave is accepted",
    ),
    _dcap(
        "another-cas-crl",
        "if crl_ca.subject != pck_ca.subject or crl_ca.public_key() != pck_ca.public_key():",
        "if not crl_ca.subject:",
        "the list of another PCK CA says nothing of this platform",
    ),
    *(
        _dcap(
            f"{check.replace('_', '-')}-skipped",
            f'    verify_not_revoked({what}, "{check}", checks)\n',
            "",
            f"{meaning} is accepted",
        )
        for check, what, meaning in (
            ("root_revocation", "roots, root_crl", "a revoked root"),
            ("pck_ca_revocation", "(pck_ca, crl_ca), root_crl", "a revoked PCK CA"),
            ("tcb_signer_revocation", "signers, root_crl", "a revoked signer of TCB info"),
            ("pck_revocation", "(pck,), pck_crl", "a revoked platform"),
        )
    ),
    _dcap(
        "qe-signer-may-be-revoked",
        'signers = (chains["tcb_info_chain"][0], chains["qe_identity_chain"][0])',
        'signers = (chains["tcb_info_chain"][0],)',
        "a revoked signer of the QE identity is accepted",
    ),
    _dcap(
        "chains-not-verified",
        "        verify_chain(chains[check], rules[check], root=root, at=at, checks=checks)\n",
        "        checks.passed(check)\n",
        "chains have any root, role, signature and time",
    ),
    _dcap(
        "root-crl-not-verified",
        '    root_end = verify_crl(root_crl, "root_crl", issuer=root_certificate, at=at, checks=checks)\n',
        "    root_end = root_crl.next_update_utc or at\n",
        "anybody's list of revoked CAs is taken",
    ),
    _dcap(
        "pck-crl-not-verified",
        '    pck_end = verify_crl(pck_crl, "pck_crl", issuer=pck_ca, at=at, checks=checks)\n',
        "    pck_end = pck_crl.next_update_utc or at\n",
        "anybody's list of revoked platforms is taken",
    ),
    _dcap(
        "tcb-info-not-verified",
        '    verify_statement(tcb_info, "tcb_info", identity=info_id, versions=(3,), at=at, checks=checks)\n',
        "",
        "stale TCB info, or that of TDX, is taken",
    ),
    _dcap(
        "qe-identity-not-verified",
        "    verify_statement(\n"
        '        qe_identity, "qe_identity", identity=qe_id, versions=qe_versions, at=at, checks=checks\n'
        "    )\n",
        "",
        "a stale QE identity, or that of TDX, is taken",
    ),
    _dcap(
        "another-platforms-tcb-info",
        '    _verify_same("fmspc", platform.fmspc, tcb_info.fmspc, "platform family (FMSPC)", checks)\n',
        "",
        "another platform family's TCB levels count; dcap-qvl has another word for it",
    ),
    _dcap(
        "another-pces-tcb-info",
        "    _verify_same(\n"
        '        "pce_id", platform.pce_id, tcb_info.pce_id, "provisioning enclave (PCE id)", checks\n'
        "    )\n",
        "",
        "TCB info of another provisioning enclave counts, which dcap-qvl ignores",
    ),
    _dcap(
        "newer-evaluation-counts",
        "min(tcb_info.evaluation_number, qe_identity.evaluation_number)",
        "max(tcb_info.evaluation_number, qe_identity.evaluation_number)",
        "one of the two statements may be rolled back",
    ),
    _dcap(
        "outlives-certificates",
        _STATEMENT_ENDS,
        "expiry=min(tcb_info.next_update, qe_identity.next_update)",
        "a verdict outlives chains and revocation lists",
    ),
    _dcap(
        "outlives-tcb-info",
        _STATEMENT_ENDS,
        "expiry=min(*ends, qe_identity.next_update)",
        "a verdict outlives the TCB info",
    ),
    _dcap(
        "outlives-qe-identity",
        _STATEMENT_ENDS,
        "expiry=min(*ends, tcb_info.next_update)",
        "a verdict outlives the QE identity",
    ),
    _dcap(
        "outlives-crls",
        "return [root_end, pck_end, *(chain_end(chain) for chain in chains.values())]",
        "return [chain_end(chain) for chain in chains.values()]",
        "a verdict outlives the revocation lists",
    ),
    _dcap(
        "outlives-chains",
        "return [root_end, pck_end, *(chain_end(chain) for chain in chains.values())]",
        "return [root_end, pck_end]",
        "a verdict outlives the chains",
    ),
    _evidence(
        "other-families-read",
        "    if claimed is not None and claimed not in families:\n",
        "    if claimed is None:\n",
        "a stranger chooses the code that reads what it sends",
    ),
    _evidence(
        "other-vendors-collateral-read",
        "if not any((kind in OF_SNP) is amds for kind in kinds):",
        "if not any((kind in OF_SNP) is not None for kind in kinds):",
        "a peer chooses the code that reads its collateral",
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
        "object_pairs_hook=each_name_once",
        "object_pairs_hook=dict",
        "two parsers read two statements",
    ),
    _statements(
        "any-tcb-type",
        'if check == "tcb_info" and typed(value["tcbType"], int) != 0:',
        'if check == "tcb_info" and typed(value["tcbType"], int) < 0:',
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
)
