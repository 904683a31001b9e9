"""Mutations of what a contract demands beside evidence: launch endorsements, tokens, a launcher's report data."""

from __future__ import annotations

from mutants.mutation import Of

_endorsed = "attestation/endorsed/test_endorsed_policy.py"
_document = Of("attestation/endorsed/document.py", _endorsed)
_signature = Of("attestation/endorsed/signature.py", _endorsed)
_policy = Of("attestation/endorsed/policy.py", _endorsed)
_documents = Of(
    "attestation/endorsed/documents.py",
    "attestation/endorsed/test_documents.py",
)
_fetching = Of("attestation/endorsed/fetching.py", "attestation/endorsed/test_documents.py")
_demand = Of("contract/endorsement_trust.py", "contract/test_endorsement_trust.py")
_tokens = Of("attestation/tokens/verification.py", "attestation/tokens/test_token_verification.py")
_local = Of("attestation/tokens/local.py", "attestation/tokens/test_token_sources.py")
_http = Of(
    "attestation/local_http.py",
    "attestation/test_confidential_space.py",
    "attestation/test_azure_tee.py",
)
_token_demand = Of("contract/token_trust.py", "contract/test_token_trust.py")
_terms = Of("contract/terms.py", "contract/test_token_trust.py")
_judged = Of("ratls/tokens.py", "ratls/test_tokens.py")
_request = Of("ratls/request.py", "ratls/test_tokens_in_exchanges.py")
_session = Of("ratls/session.py", "ratls/test_tokens.py")
_receipt = Of("receipts/evidence.py", "receipts/test_receipt_tokens.py")
_messages = Of("ratls/messages.py", "ratls/test_schema.py")
_space = Of("attestation/challenges.py", "attestation/test_confidential_space.py")
_space_tee = Of("attestation/tee/confidential_space.py", "attestation/test_confidential_space.py")
_appraiser = Of(
    "attestation/appraiser.py",
    "attestation/test_confidential_space.py",
    "attestation/test_demanded_besides.py",
)
_complete = Of("contract/complete.py", "contract/test_endorsement_trust.py")

MUTATIONS = (
    _document(
        "any-size",
        "if len(data) > MAX_DOCUMENT_BYTES:",
        "if not MAX_DOCUMENT_BYTES:",
        "a document of any size is decoded",
    ),
    _document(
        "any-number",
        "if len(measured) > MAX_MEASUREMENTS:",
        "if not MAX_MEASUREMENTS:",
        "a document has any number of measurements",
    ),
    _document(
        "short-measurements",
        "if len(value) != MEASUREMENT_BYTES:",
        "if len(value) > MEASUREMENT_BYTES:",
        "malformed measurements are read",
    ),
    _signature(
        "any-root",
        "if not any(hmac.compare_digest(seen, root) for root in roots):",
        "if not roots:",
        "anybody is a publisher",
    ),
    _signature(
        "chain-unsigned",
        "            certificate.verify_directly_issued_by(issuer)\n",
        "            pass\n",
        "whoever has the publisher's certificate writes documents",
    ),
    _signature(
        "issuers-without-role",
        "elif not basic.ca or not usage.key_cert_sign:",
        "elif not basic:",
        "a signer's key certifies other signers",
    ),
    _signature(
        "authorities-sign-documents",
        "if basic.ca or not usage.digital_signature:",
        "if not usage:",
        "a key that is for certificates signs documents",
    ),
    _signature(
        "no-validity",
        "if not begin <= at <= end:",
        "if not begin <= end:",
        "a signer that has expired signs documents",
    ),
    _signature(
        "statement-unsigned",
        "        key.verify(document.signature, document.statement, scheme, SHA256())\n",
        "        pass\n",
        "anybody writes documents with the publisher's certificates",
    ),
    _policy(
        "any-measurement",
        "if firmware is None or not sizes:",
        "if firmware is None:",
        "a document of other firmware endorses this one",
    ),
    _policy(
        "other-tee",
        "firmware = document.tdx if tdx else document.snp",
        "firmware = document.snp or document.tdx",
        "a measurement of another kind of TEE counts",
    ),
    _policy(
        "too-early",
        "if too_early or document.issued > evidence.at:",
        "if document.issued > evidence.at:",
        "old documents are accepted",
    ),
    _policy(
        "from-the-future",
        "if too_early or document.issued > evidence.at:",
        "if too_early:",
        "documents of times to come are accepted",
    ),
    _policy(
        "old-firmware",
        "if firmware.svn < self.section.minimum_svn:",
        "if firmware.svn < 0:",
        "old firmware is accepted",
    ),
    _policy(
        "some-size",
        "if accepted and not set(sizes) <= set(accepted):",
        "if accepted and not set(sizes) & set(accepted):",
        "a machine whose size is open is accepted",
    ),
    _policy(
        "any-source",
        "if accepted and seen not in accepted:",
        "if accepted and not seen:",
        "firmware of another build is accepted",
    ),
    _documents(
        "simulated-for-real",
        "if kind in SIMULATED:",
        "if kind:",
        "the simulated publisher signs for real guests",
    ),
    _fetching(
        "stored-unverified",
        "        verify_signature(read_endorsement(document), roots=section.roots, at=at, checks=CheckList())\n",
        "",
        "what anybody signed is stored as an endorsement",
    ),
    _fetching(
        "plain-http",
        "        require_https(self._base)\n",
        "",
        "documents come over plain http",
    ),
    _demand(
        "simulated-publisher-mixed",
        "if any((root == SIMULATED_PUBLISHER) is not simulated for root in self.roots):",
        "if not self.roots:",
        "a real contract accepts the public key of the simulated publisher",
    ),
    _demand(
        "no-roots",
        "if not self.roots:",
        "if self.roots is None:",
        "a contract demands a publisher and names none",
    ),
    _tokens(
        "as-many-as-there-are",
        "if len(tokens) != len(demanded):",
        "if len(tokens) > len(demanded):",
        "a node shows no token",
    ),
    _tokens(
        "unsigned",
        "if not isinstance(payload, bytes):",
        "payload = base64.urlsafe_b64decode(token.split(b'.')[1] + b'==')\n    if not payload:",
        "anybody writes tokens",
    ),
    _tokens(
        "any-listed-algorithm",
        "algorithms=demanded.algorithms,",
        'algorithms=["RS256", "PS256", "PS384", "ES256", "ES384"],',
        "algorithms count that the contract does not list",
    ),
    _tokens(
        "any-issuer",
        '_same("token_issuer", "issuer", demanded.issuer, claims.get("iss"), checks)',
        'checks.passed("token_issuer")',
        "a token of another issuer with these keys counts",
    ),
    _tokens(
        "any-audience",
        '_same("token_audience", "audience", demanded.audience, only, checks)',
        'checks.passed("token_audience")',
        "a token for somebody else counts",
    ),
    _tokens(
        "expired",
        "if end is None or at >= end or any(",
        "if end is None or any(",
        "expired tokens count",
    ),
    _tokens(
        "not-yet-valid",
        "at < one - MAX_AHEAD",
        "at < one - 100 * MAX_AHEAD",
        "tokens count before their time",
    ),
    _tokens(
        "any-nonce",
        "if any(value in accepted for value in values):",
        "if values:",
        "a token that was made for another node counts",
    ),
    _tokens(
        "true-is-1",
        "if not any(type(seen) is type(one) and seen == one for one in accepted):",
        "if seen not in accepted:",
        "1 stands for true",
    ),
    _tokens(
        "claims-twice",
        "object_pairs_hook=each_name_once",
        "object_pairs_hook=dict",
        "two readers may read two values of a claim",
    ),
    _local(
        "kept-for-any-key",
        "if about == report_data and self._monotonic() < until:",
        "if kept and self._monotonic() < until:",
        "a new key shows tokens about the old one",
    ),
    _http(
        "any-length",
        "        if len(body) > self._most:\n",
        "        if not body:\n",
        "answers that are too long are cut and used",
    ),
    _token_demand(
        "simulated-service-mixed",
        "if any((key == SIMULATED_SERVICE) is not simulated for key in token.keys):",
        "if not token.keys:",
        "a real contract accepts tokens by the public key of the simulated service",
    ),
    _token_demand(
        "short-keys",
        "isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS",
        "isinstance(key, rsa.RSAPublicKey)",
        "short keys sign tokens",
    ),
    _judged(
        "pin-outlives-token",
        "expiry=min(fresh.verdict.expiry, end)",
        "expiry=fresh.verdict.expiry",
        "a node is trusted after its token has ended",
    ),
    _judged(
        "not-judged",
        "    if not demanded:\n",
        "    if demanded or not demanded:\n",
        "no token is demanded",
    ),
    _request(
        "key-server-without-tokens",
        "return judge_tokens(fresh, judged, tokens, trust=trust, at=at)",
        "return fresh",
        "key servers vouch for nodes without tokens",
    ),
    _session(
        "handshake-without-tokens",
        "        self._in.judge_tokens(message.tokens)\n",
        "",
        "nodes accept peers without tokens",
    ),
    _receipt(
        "receipt-without-tokens",
        "        fresh = judge_tokens(fresh, judged, tokens, trust=trust, at=at)\n",
        "",
        "a receipt need not have the tokens",
    ),
    _messages(
        "two-encodings",
        'if key != "tokens" or value}',
        'if key != "tokens" or value is not None}',
        "contracts without tokens change what nodes send",
    ),
    _space(
        "no-label",
        "hashlib.sha512(_LABEL + hashlib.sha512(challenge).digest())",
        "hashlib.sha512(hashlib.sha512(challenge).digest())",
        "the report data are not the launcher's",
    ),
    _space_tee(
        "any-report-data",
        "checked_quote(_quote_in(answer), confidential_space(report_data), _SOURCE)",
        "_quote_in(answer)",
        "the launcher's old quotes are shown to peers",
    ),
    _token_demand(
        "a-second-form",
        "if base64.b64encode(whole).decode() != text:",
        "if not whole:",
        "the simulated service's key in another form is taken for a real one's",
    ),
    _terms(
        "true-is-1",
        "return canonical(one) == canonical(other)",
        "return one == other",
        "a change of a claim from true to 1 is not told",
    ),
    _terms(
        "a-value-that-is-several",
        "_SEVERAL.search(item) or",
        "",
        "one accepted value passes for two, or for a further claim",
    ),
    _space(
        "launcher-for-all",
        'if table is not None and table.launcher == "confidential-space":',
        "if table is not None:",
        "all roles' report data are expected as a launcher makes them",
    ),
    _appraiser(
        "endorsement-not-demanded",
        "return (*policies, *_endorsed(table, self._endorsements))",
        "return policies",
        "what the contract demands of a publisher is not checked",
    ),
    _complete(
        "launcher-anywhere",
        'if table.launcher is not None and kind != "tdx":',
        "if table.launcher is not None and not kind:",
        "a role of another kind names a launcher that cannot be",
    ),
)
