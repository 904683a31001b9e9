"""Mutations of the attested handshake and of what guards every call after it."""

from __future__ import annotations

from mutants.mutation import Of

_voucher = Of("ratls/voucher.py", "ratls/test_voucher.py")
_pins = Of("ratls/pins.py", "ratls/test_pins.py")
_session = Of("ratls/session.py", "ratls/test_session.py")
_claims = Of("ratls/claims.py", "ratls/test_claims.py")
_evidence = Of("ratls/evidence.py", "ratls/test_certificate.py")
_certificate = Of("ratls/certificate.py", "ratls/test_certificate.py")
_judging = Of("ratls/judging.py", "ratls/test_judging.py")
_interceptor = Of("ratls/interceptor.py", "ratls/test_transport.py", "ratls/test_hostile_peers.py")
_handshake = Of("ratls/handshake.py", "ratls/test_handshake.py")
_tls = Of("ratls/tls.py", "ratls/test_tls.py", "ratls/test_strangers.py")
_trust = Of("ratls/trust.py", "ratls/test_identity.py")
_identity = Of("ratls/identity.py", "ratls/test_identity.py")
_calls = Of("ratls/calls.py", "ratls/test_hostile_peers.py")
_messages = Of("ratls/messages.py", "ratls/test_messages.py")
_visitors = Of("ratls/visitors.py", "ratls/test_visitors.py")

_PARTS = "parts = (_LABEL, direction, exporter, own_key, peer_key, peer_nonce)"

MUTATIONS = (
    _voucher(
        "signature-not-checked",
        "        public.verify(voucher.signature, voucher.signed_bytes())\n",
        "        assert public\n",
        "anybody vouches for anybody's node",
    ),
    _voucher(
        "any-partys-signature",
        "(party.key for party in contract.parties if party.name == claims.party)",
        "(party.key for party in contract.parties if party.key)",
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
        "return _LABEL + cbor.encode(fields)",
        "return cbor.encode(fields)",
        "the party's key signs something that could mean another thing elsewhere",
    ),
    _voucher(
        "expiry-not-signed",
        '        del fields["signature"]\n',
        '        del fields["signature"], fields["expiry"]\n',
        "whoever carries a voucher prolongs it",
    ),
    _voucher(
        "incarnation-not-signed",
        '        del fields["signature"]\n',
        '        del fields["signature"], fields["incarnation"]\n',
        "whoever carries a voucher makes it one for another start",
    ),
    _voucher(
        "unbounded",
        "max_bytes=MAX_VOUCHER_BYTES",
        "max_bytes=MAX_VOUCHER_BYTES << 20",
        "a voucher of any size is decoded",
    ),
    _pins(
        "older-incarnations-come-back",
        "if peer.incarnation < newest:",
        "if peer.incarnation < newest - 1:",
        "the replaced process is pinned again",
    ),
    _pins(
        "older-pins-stay",
        "and (pin.node != peer.node or pin.incarnation == peer.incarnation)",
        "",
        "the replaced process is served until its pin expires",
    ),
    _pins(
        "others-pins-go",
        "and (pin.node != peer.node or pin.incarnation == peer.incarnation)",
        "and pin.incarnation == peer.incarnation",
        "a node's restart throws the others out",
    ),
    _pins(
        "expired-pins-stay",
        "if peer.attested_at < pin.expires_at\n",
        "if pin\n",
        "the board grows with every renewal",
    ),
    _pins(
        "good-at-its-end",
        "if now >= peer.expires_at:",
        "if now > peer.expires_at:",
        "a pin is good at its very end",
    ),
    _pins(
        "expired-ones-trusted",
        "if now < peer.expires_at)",
        "if now)",
        "TLS trusts certificates whose pins have expired",
    ),
    _pins("version-stays", "self._version += 1", "self._version += 0", "readers miss changes"),
    _pins(
        "newest-forgotten",
        "            self._newest[peer.node] = peer.incarnation\n",
        "",
        "an older process comes back after a newer one",
    ),
    _session(
        "label-not-bound",
        _PARTS,
        "parts = (direction, exporter, own_key, peer_key, peer_nonce)",
        "a quote made for another protocol may fit",
    ),
    _session(
        "direction-not-bound",
        _PARTS,
        "parts = (_LABEL, exporter, own_key, peer_key, peer_nonce)",
        "evidence can be reflected",
    ),
    _session(
        "transcript-not-bound",
        _PARTS,
        "parts = (_LABEL, direction, own_key, peer_key, peer_nonce)",
        "evidence can be relayed from another TLS session",
    ),
    _session(
        "own-key-not-bound",
        _PARTS,
        "parts = (_LABEL, direction, exporter, peer_key, peer_nonce)",
        "one node's session quote fits another's session",
    ),
    _session(
        "peers-key-not-bound",
        _PARTS,
        "parts = (_LABEL, direction, exporter, own_key, peer_nonce)",
        "evidence for one peer fits another",
    ),
    _session(
        "nonce-not-bound",
        _PARTS,
        "parts = (_LABEL, direction, exporter, own_key, peer_key)",
        "the quote may be from before this session",
    ),
    _session(
        "own-nonce-taken",
        "if hmac.compare_digest(message.nonce, self._in.nonce):",
        "if not message.nonce:",
        "a mirror is answered with evidence",
    ),
    _session(
        "evidence-not-judged",
        "        self._in.judge(message.quote, expected, message.collateral)\n",
        "",
        "any quote is taken",
    ),
    _session(
        "peer-judged-as-this-side",
        "            _OTHER[self._in.side],\n",
        "            self._in.side,\n",
        "this side's own evidence is what it expects",
    ),
    _session(
        "peers-nonce-expected",
        "            peer_nonce=self._in.nonce,\n",
        "            peer_nonce=self._in.exporter,\n",
        "evidence is not for this side's nonce",
    ),
    _session(
        "voucher-not-verified",
        "            self._peer_voucher = verify_voucher(\n"
        "                voucher, self._in.peer, contract=self._in.contract, at=self._in.at\n"
        "            )\n",
        "            self._peer_voucher = voucher\n",
        "no party vouches for the peer",
    ),
    _session(
        "contracts-may-differ",
        '        if differ:\n            self._state = "contract"',
        '        if not differ and differ:\n            self._state = "contract"',
        "nodes under two contracts train together",
    ),
    _session(
        "contract-shown-before-the-voucher",
        "        try:\n            voucher = Voucher.from_cbor",
        "        if differ:\n"
        '            self._state = "contract"\n'
        "            return encode_message(ContractMessage(canonical_json(self._in.contract)))\n"
        "        try:\n            voucher = Voucher.from_cbor",
        "whom no party vouches for is shown the contract",
    ),
    _session(
        "goes-on-after-a-refusal",
        '        except CoterieError:\n            self._state = "refused"\n            raise\n',
        "        except CoterieError:\n            raise\n",
        "a peer that was refused tries again in the same session",
    ),
    _session(
        "accepts-first",
        'self._state = "ready" if self._in.side == "dialler" else "acceptance"',
        'self._state = "ready"',
        "the listener accepts before the dialler has",
    ),
    _session(
        "acceptance-ends-now",
        "if datetime.fromtimestamp(message.valid_until, UTC) <= self._in.at:",
        "if datetime.fromtimestamp(message.valid_until, UTC) < self._in.at:",
        "a dialler takes itself for accepted until now",
    ),
    _session(
        "refused-before-hello",
        'isinstance(message, Refusal) and self._state != "hello"',
        "isinstance(message, Refusal)",
        "a refusal may come first, in place of the hello",
    ),
    _session(
        "evidence-twice",
        'case "evidence", EvidenceMessage():',
        'case ("evidence" | "acceptance"), EvidenceMessage():',
        "evidence may come again after it was judged",
    ),
    _session(
        "staple-unasked",
        'self._in.staple(quote) if message.wants_collateral else b""',
        "self._in.staple(quote)",
        "collateral is fetched and sent though nobody asked for it",
    ),
    _claims(
        "any-algorithm",
        "if algorithm != SHA_256_ID:",
        "if algorithm < SHA_256_ID:",
        "a hash by another algorithm is compared with a SHA-256",
    ),
    _claims(
        "other-claims-ignored",
        "            cbor.exact_keys(value, _KEYS)\n",
        "",
        "claims that this version does not know are skipped",
    ),
    _claims(
        "half-a-report",
        "return hashlib.sha256(claims).digest() + bytes(32)",
        "return 2 * hashlib.sha256(claims).digest()",
        "other verifiers refuse the quote",
    ),
    _claims(
        "names-for-terminals",
        "    if not name.isprintable():\n",
        "    if not name:\n",
        "a peer's name steers the terminal of whoever reads the log",
    ),
    _claims(
        "short-key-hash",
        "if not isinstance(digest, bytes) or len(digest) != 32:",
        "if not isinstance(digest, bytes) or len(digest) > 32:",
        "a prefix of the key's hash will do",
    ),
    _claims(
        "loose-encoding",
        "value = cbor.decode_map(data, max_bytes=MAX_CLAIMS_BYTES)\n            pubkey",
        "value = cbor.decode_map(data, max_bytes=MAX_CLAIMS_BYTES, canonical=False)\n"
        "            pubkey",
        "one statement has several encodings",
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
        'if extension["critical"].native and oid not in _KNOWN_CRITICAL:',
        'if extension["critical"].native and not oid:',
        "what must be understood is skipped",
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
    _judging(
        "own-key",
        "if trust.is_own_key(certificate.spki_sha256):",
        "if not certificate.spki_sha256:",
        "a mirror gets as far as the session",
    ),
    _judging(
        "own-name",
        "if node is None or trust.is_own_name(claims.node):",
        "if node is None:",
        "another process under this node's own name is its peer",
    ),
    _judging(
        "unknown-node",
        "node is None or trust.is_own_name(claims.node):",
        "trust.is_own_name(claims.node):",
        "a name that the contract lacks is an internal error",
    ),
    _judging(
        "whoever-answers",
        "if expected_node is not None and claims.node != expected_node:",
        "if expected_node is not None and not claims.node:",
        "another node than the dialled one is taken for it",
    ),
    _judging(
        "any-role",
        '        ("role", node.role, claims.role),\n',
        "",
        "a worker is appraised and served as a parameter server",
    ),
    _judging(
        "any-party",
        '        ("party", node.party, claims.party),\n',
        "",
        "another party vouches for the node",
    ),
    _judging(
        "any-name",
        "if certificate.dns_names != (expected,) or",
        "if not certificate.dns_names or",
        "a certificate stands for another name in TLS",
    ),
    _judging(
        "key-hash-not-checked",
        "    check_pubkey_hash(claims.pubkey_hash, certificate.spki_der)\n",
        "",
        "evidence is for another key; the name's check has another word for it",
    ),
    _judging(
        "validity-not-checked",
        "    certificate.check_validity(at)\n",
        "",
        "an expired certificate is judged on",
    ),
    _judging(
        "certificates-quote-for-anything",
        "        report_data=report_data(evidence.claims),\n",
        "        report_data=evidence.quote[368:432],\n",
        "the certificate's quote does not cover its claims",
    ),
    _judging(
        "two-programs",
        "if (fresh.measurements, fresh.ppid) != (verdict.measurements, verdict.ppid):",
        "if fresh.ppid != verdict.ppid:",
        "certificate and session evidence are of two programs",
    ),
    _judging(
        "two-platforms",
        "if (fresh.measurements, fresh.ppid) != (verdict.measurements, verdict.ppid):",
        "if fresh.measurements != verdict.measurements:",
        "certificate and session evidence are of two machines",
    ),
    _judging(
        "refused-collateral-is-none",
        '        if isinstance(error, EvidenceRefused) and error.failed_check != "collateral_missing":\n'
        "            raise\n",
        "",
        "collateral that was refused can be replaced by the peer's own",
    ),
    _judging(
        "stapled-certificate-not-judged",
        "report_data=report_data(judged.certificate.evidence.claims),",
        "report_data=judged.quote[368:432],",
        "a certificate's quote is not judged where collateral is stapled",
    ),
    _interceptor(
        "any-role",
        "if peer.role not in roles:",
        "if not peer.role:",
        "a worker calls what is for the chief",
    ),
    _interceptor(
        "unlisted-methods",
        "if method not in self._permissions:",
        "if not method:",
        "a method that nobody listed fails inside",
    ),
    _interceptor(
        "no-limit",
        "            end = self._calls.enter(peer.node)\n",
        "            end = lambda: None  # noqa: E731\n",
        "one peer takes all threads",
    ),
    _interceptor(
        "internal-errors-told",
        'context.abort(grpc.StatusCode.INTERNAL, "an internal error; see the log of this node")',
        "context.abort(grpc.StatusCode.INTERNAL, str(error))",
        "an internal error's text, perhaps private data, goes to the caller",
    ),
    _interceptor(
        "caller-not-noted",
        "            _callers[context] = peer\n",
        "            pass\n",
        "handlers do not know who calls",
    ),
    _handshake(
        "pinned-past-the-certificate",
        "            certificate.not_after,\n            session",
        "            session",
        "a pin outlives its certificate",
    ),
    _handshake(
        "pinned-past-the-voucher",
        "            session.peer_voucher.expires_at,\n",
        "",
        "a pin outlives its party's word",
    ),
    _handshake(
        "pinned-past-the-collateral",
        "            verdict.expiry,\n        ]",
        "        ]",
        "a pin outlives the collateral of the session's quote",
        survives="Both quotes are judged by one collateral, whose end the next line takes too; this line "
        "counts alone where the certificate's quote was judged by stapled collateral.",
    ),
    _handshake(
        "pinned-past-reattestation",
        "            self._at + self._trust.reattestation,\n",
        "",
        "a pin lasts as long as the certificate",
    ),
    _handshake(
        "trusts-longer-than-the-peer",
        "expires_at=min(peer.expires_at, until))",
        "expires_at=peer.expires_at)",
        "this node calls a peer that does not trust it any more",
    ),
    _handshake(
        "pinned-for-nothing",
        "if min(ends) <= self._at:",
        "if min(ends) < self._at:",
        "a peer is accepted for no time at all",
    ),
    _tls(
        "any-finding",
        "if error not in _ACCEPTED_ERRORS or depth != 0:",
        "if depth != 0:",
        "OpenSSL's findings on the certificate are ignored",
    ),
    _tls(
        "no-certificate",
        "SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT",
        "SSL.VERIFY_PEER",
        "a peer without a certificate finishes the handshake",
    ),
    _tls(
        "tls-1.2",
        "    context.set_min_proto_version(SSL.TLS1_3_VERSION)\n",
        "    context.set_min_proto_version(SSL.TLS1_2_VERSION)\n",
        "TLS 1.2 is spoken",
    ),
    _tls(
        "another-key-than-judged",
        "        if judge(der) != _public_key(certificate):\n",
        "        if not judge(der):\n",
        "the judged key is not the one that TLS uses",
    ),
    _tls(
        "second-certificate",
        "        if judged:\n            raise _chain_refused(error, depth)\n",
        "",
        "a second certificate in one handshake is judged in place of the first",
    ),
    _tls(
        "any-protocol",
        "if self.protocol not in self._protocols:",
        "if self.protocol == b'http/1.1':",
        "a server without the protocol's name is spoken to",
    ),
    _tls(
        "sessions-are-kept",
        "    context = SSL.Context(SSL.TLS_METHOD)\n"
        "    context.set_min_proto_version(SSL.TLS1_3_VERSION)\n"
        "    context.set_max_proto_version(SSL.TLS1_3_VERSION)\n"
        "    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)\n"
        "    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)\n",
        '    kept = globals().setdefault("_kept", {})\n'
        "    context = kept.setdefault(listener, SSL.Context(SSL.TLS_METHOD))\n"
        '    context.set_session_id(b"coterie")\n',
        "sessions can be resumed without judging anybody",
    ),
    _tls(
        "stateless-tickets",
        "context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)",
        "context.set_options(SSL.OP_NO_RENEGOTIATION)",
        "sessions could be resumed without judging anybody",
        survives="Every connection has a context of its own, so ticket keys and cache end with it: the "
        "option only says so once more.",
    ),
    _trust(
        "old-keys-are-not-own",
        "any(item.identity.spki_digest == spki_sha256 for item in self._held)",
        "self._held[0].identity.spki_digest == spki_sha256",
        "a mirror of this node's former certificate is a peer",
    ),
    _trust(
        "own-voucher-not-verified",
        "        verify_voucher(voucher, identity.claims, contract=self._contract, at=now)\n",
        "",
        "a wrong party key is noticed by some peer only",
    ),
    _trust(
        "renewed-too-late",
        "self._renew_at = fresh.expires_at - margin",
        "self._renew_at = fresh.expires_at",
        "peers' pins end with the certificate, and calls fail",
    ),
    _trust(
        "expired-key-shown",
        "            if rest <= timedelta():\n                raise\n",
        "",
        "a node whose party does not vouch any more goes on",
    ),
    _trust(
        "another-tee",
        "if tee.kind != contract.trust.tee:",
        "if not tee.kind:",
        "a simulated node starts under a contract for real TEEs",
    ),
    _identity(
        "two-signatures-for-one",
        "min(s, P256_ORDER - s)",
        "s",
        "a receipt's signature can be altered and still holds",
    ),
    _identity(
        "key-is-shown",
        "field(repr=False, compare=False)",
        "field(compare=False)",
        "a log line shows the key's object",
    ),
    _calls(
        "limit-off-by-one",
        "if seen >= self._limit:",
        "if seen > self._limit:",
        "a peer has one call more than it may",
    ),
    _calls(
        "freed-at-once",
        "        left = 2\n",
        "        left = 1\n",
        "who hangs up on waiting handlers gets ever more of them",
    ),
    _calls(
        "freed-twice",
        "if left == 0:",
        "if left <= 0:",
        "a call that ends thrice frees two places",
    ),
    _messages(
        "frame-of-any-length",
        "if length > MAX_FRAME_BYTES:",
        "if length < 0:",
        "a stranger makes this node hold any amount",
    ),
    _messages(
        "sent-far-ahead",
        "if len(self._buffer) > 2 * (MAX_FRAME_BYTES + _PREFIX):",
        "if not self._buffer and data:",
        "a stranger makes this node hold any amount",
    ),
    _messages(
        "another-version",
        'cbor.take_int(body, "version", least=VERSION, most=VERSION)',
        'cbor.take_int(body, "version", most=VERSION + 1)',
        "another version's hello is answered",
    ),
    _messages(
        "short-nonce",
        'cbor.take_bytes(body, "nonce", least=NONCE_BYTES, most=NONCE_BYTES)',
        'cbor.take_bytes(body, "nonce", least=0, most=NONCE_BYTES)',
        "a nonce of no bytes ends in an assertion",
    ),
    _visitors(
        "any-curve",
        "if not isinstance(key.curve, ec.SECP256R1):",
        "if not key.curve:",
        "a visitor's key may be of any curve",
    ),
)
