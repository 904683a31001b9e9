"""Mutations of the attested handshake: its transcript, who is judged and how."""

from __future__ import annotations

from mutants.mutation import Of

_session = Of("ratls/session.py", "ratls/test_session.py")
_binding = Of("ratls/session_binding.py", "ratls/test_session_binding.py", "ratls/test_session.py")
_request = Of("ratls/request.py", "ratls/test_request.py")
_judging = Of("ratls/verify.py", "ratls/test_verify.py")
_handshake = Of("ratls/handshake.py", "ratls/test_handshake.py")
_tls = Of("ratls/tls.py", "ratls/test_tls.py", "ratls/test_strangers.py")
_context = Of("ratls/tls_context.py", "ratls/test_tls.py", "ratls/test_strangers.py")
_STATEMENT = "return label + self.exporter + listener + dialler"
_PARTS = "parts = (_LABEL, direction, exporter, own_key, peer_key, peer_nonce)"

MUTATIONS = (
    _binding(
        "label-not-bound",
        _PARTS,
        "parts = (direction, exporter, own_key, peer_key, peer_nonce)",
        "a quote made for another protocol may fit",
    ),
    _binding(
        "direction-not-bound",
        _PARTS,
        "parts = (_LABEL, exporter, own_key, peer_key, peer_nonce)",
        "evidence can be reflected",
    ),
    _binding(
        "transcript-not-bound",
        _PARTS,
        "parts = (_LABEL, direction, own_key, peer_key, peer_nonce)",
        "evidence can be relayed from another TLS session",
    ),
    _binding(
        "own-key-not-bound",
        _PARTS,
        "parts = (_LABEL, direction, exporter, peer_key, peer_nonce)",
        "one node's session quote fits another's session",
    ),
    _binding(
        "peers-key-not-bound",
        _PARTS,
        "parts = (_LABEL, direction, exporter, own_key, peer_nonce)",
        "evidence for one peer fits another",
    ),
    _binding(
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
    _binding(
        "peer-judged-as-this-side",
        "_OTHER[self.side], self.exporter",
        "self.side, self.exporter",
        "this side's own evidence is what it expects",
    ),
    _binding(
        "keys-swapped",
        "            own_key=self.own_key,\n            peer_key=self.peer_key,\n",
        "            own_key=self.peer_key,\n            peer_key=self.own_key,\n",
        "a quote for the other end's key is this end's",
    ),
    _binding(
        "quote-for-any-nonce",
        "            peer_nonce=peer_nonce,\n",
        "            peer_nonce=bytes(32),\n",
        "a quote may be from before this session",
    ),
    _binding(
        "signature-for-any-session",
        _STATEMENT,
        "return label + listener + dialler",
        "a party's signature on one session stands for another: a man in the middle",
    ),
    _binding(
        "signature-for-any-listener",
        _STATEMENT,
        "return label + self.exporter + dialler",
        "the listener's key is not what the party signed",
    ),
    _binding(
        "signature-for-any-dialler",
        _STATEMENT,
        "return label + self.exporter + listener",
        "the dialler's key is not what the party signed",
    ),
    _binding(
        "signature-without-label",
        _STATEMENT,
        "return self.exporter + listener + dialler",
        "a party's key signs something that could mean another thing elsewhere",
    ),
    _session(
        "peers-nonce-expected",
        "self._binding.peer_report_data(self._in.nonce)",
        "self._binding.peer_report_data(self._in.exporter)",
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
        "            return frame(ContractMessage(contract=canonical_json(self._in.contract)))\n"
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
        "staple=message.wants_collateral",
        "staple=True",
        "collateral is fetched and sent though nobody asked for it",
    ),
    _request(
        "any-message",
        "if isinstance(message, due):",
        "if isinstance(message, due | Message):",
        "another message is taken for the one that is due",
    ),
    _request(
        "refused-by-a-dialler",
        'if isinstance(message, Refusal) and self.binding.side == "dialler":',
        "if isinstance(message, Refusal):",
        "whoever dials ends a listener's question with an error of its own making",
    ),
    _request(
        "anothers-word",
        "refusal.peer_proved = self.peer_proved",
        "refusal.peer_proved = True",
        "a refusal by whoever sits on the way ends a node",
    ),
    _request(
        "refusal-not-told",
        "            connection.send(frame(Refusal.of(error)))\n",
        "            frame(Refusal.of(error))\n",
        "nobody learns why it was refused",
    ),
    _request(
        "bound-of-the-message-before",
        "self._frames.most, self._frames.items = most, items",
        "self._frames.most, self._frames.items = max(most, self._frames.most, 1 << 14), items",
        "a stranger's message may be as long as another one",
    ),
    _judging(
        "own-key",
        "if trust.is_own_key(certificate.spki_sha256):",
        "if not certificate.spki_sha256:",
        "a mirror gets as far as the session",
    ),
    _judging(
        "own-name",
        "if not known or trust.is_own_name(claims.node):",
        "if not known:",
        "another process under this node's own name is its peer",
    ),
    _judging(
        "unknown-node",
        "not known or trust.is_own_name(claims.node):",
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
        "covered = report_data(evidence.claims)",
        "covered = evidence.quote[368:432]",
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
        "covered = report_data(judged.claims.to_cbor())",
        "covered = judged.quote.report_data",
        "a certificate's quote is not judged where collateral is stapled",
        survives="The screening has compared them within the handshake; the rest is still judged.",
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
    _context(
        "any-finding",
        "if error not in _ACCEPTED_ERRORS or depth != 0:",
        "if depth != 0:",
        "OpenSSL's findings on the certificate are ignored",
    ),
    _context(
        "no-certificate",
        "SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT",
        "SSL.VERIFY_PEER",
        "a peer without a certificate finishes the handshake",
    ),
    _context(
        "tls-1.2",
        "    context.set_min_proto_version(SSL.TLS1_3_VERSION)\n",
        "    context.set_min_proto_version(SSL.TLS1_2_VERSION)\n",
        "TLS 1.2 is spoken",
    ),
    _context(
        "another-key-than-judged",
        "        if judge(der) != _public_key(certificate):\n",
        "        if not judge(der):\n",
        "the judged key is not the one that TLS uses",
    ),
    _context(
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
    _context(
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
    _context(
        "stateless-tickets",
        "context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)",
        "context.set_options(SSL.OP_NO_RENEGOTIATION)",
        "sessions could be resumed without judging anybody",
        survives="Every connection has a context of its own, so ticket keys and cache end with it: the "
        "option only says so once more.",
    ),
)
