"""Mutations of what guards every call after the handshake, and of keys and bounds."""

from __future__ import annotations

from mutants.mutation import Of

_pins = Of("ratls/pins.py", "ratls/test_pins.py")
_permissions = Of("permissions.py", "test_permissions.py")
_interceptor = Of("ratls/interceptor.py", "ratls/test_transport.py", "ratls/test_hostile_peers.py")
_trust = Of("ratls/trust.py", "ratls/test_identity.py")
_credentials = Of("ratls/credentials.py", "ratls/test_identity.py")
_identity = Of("ratls/identity.py", "ratls/test_identity.py")
_calls = Of("ratls/call_limits.py", "ratls/test_hostile_peers.py")
_frames = Of("ratls/frames.py", "ratls/test_frames.py")
_schema = Of(
    "ratls/schema.py", "ratls/test_schema.py", "ratls/test_messages.py", "ratls/test_claims.py"
)
_visitors = Of("ratls/guests.py", "ratls/test_guests.py")
_records = Of("ratls/records.py", "ratls/test_records.py")
_protection = Of("ratls/record_protection.py", "ratls/test_record_protection.py")
_apart = Of("ratls/tls.py", "ratls/test_traffic_secrets.py")
_streams = Of("ratls/tls_stream.py", "ratls/test_tls_stream.py")
_listener = Of("ratls/listener.py", "ratls/test_listener.py")

MUTATIONS = (
    _records(
        "records-without-end",
        "if self._without_data == MOST_WITHOUT_DATA:",
        "if self._without_data < 0:",
        "key updates hold a place and a core until the deadline",
    ),
    _records(
        "past-the-deadline",
        "            if left <= 0:\n                raise self._too_slow()\n",
        "",
        "who always has something to say is listened to beyond the deadline",
    ),
    _protection(
        "a-key-without-end",
        "if number == MOST_RECORDS:",
        "if number < 0:",
        "a connection goes on beyond what AES-GCM protects",
    ),
    _protection(
        "a-nonce-twice",
        "self.records = number + 1",
        "self.records = number",
        "every record has the nonce of the first, and may be repeated",
    ),
    _protection(
        "any-alert-is-the-end",
        "if kind == _ALERT and inner[:-1] == _CLOSE_NOTIFY:",
        "if kind == _ALERT:",
        "an alert about a failure looks like the end in order",
    ),
    _protection(
        "any-type-is-data",
        "        if kind == _DATA:\n",
        "        if kind != _ALERT:\n",
        "a message of a handshake, or padding, becomes part of the message",
    ),
    _apart(
        "tickets-before-the-records",
        "if not (self._listener and self.protocol in self._apart):",
        "if self.protocol:",
        "the dialler takes OpenSSL's tickets for the first records",
    ),
    _apart(
        "secrets-of-all",
        "            self._secrets.forget()\n",
        "            pass\n",
        "every handshake's traffic secrets stay in memory as long as its connection",
    ),
    _streams(
        "short-records",
        "                if begun and not self._full:\n",
        "                if not self:\n",
        "a peer's message of records of one byte costs this node a thousand times what it costs the peer",
    ),
    _streams(
        "used-beyond-its-keys",
        " or records > MOST_RECORDS // 2:",
        ":",
        "a long run ends when the keys of its connection do",
    ),
    _visitors(
        "exceptions-of-the-library",
        "except UNREADABLE as error:",
        "except ValueError as error:",
        "a certificate that the library does not know ends who asks a key server",
    ),
    _listener(
        "a-traceback-for-each",
        "        if not known:\n            _log.error(",
        "        if place:\n            _log.error(",
        "a defect that a peer can cause fills the log",
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
    _pins(
        "no-token-is-one",
        "if not token or not fits:",
        "if not fits:",
        "a call without a token takes a place of whoever has none",
    ),
    _pins(
        "run-out-sessions-count",
        "and token and now < until",
        "and token",
        "the token of a session that has run out opens connections",
    ),
    _pins(
        "no-token-proves",
        "and token and now < until",
        "and now < until",
        "whoever knows no token proves that",
    ),
    _pins("version-stays", "self._version += 1", "self._version += 0", "readers miss changes"),
    _pins(
        "newest-forgotten",
        "            self._newest[peer.node] = peer.incarnation\n",
        "",
        "an older process comes back after a newer one",
    ),
    _interceptor(
        "any-role",
        "check_role(peer.node, peer.role, call.method, self._permissions[call.method])",
        "check_role(peer.node, peer.role, call.method, frozenset({peer.role}))",
        "a worker calls what is for the chief",
    ),
    _permissions(
        "any-role",
        "if role in roles:",
        "if role:",
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
        "            end = self._calls.enter(self._pins.holder(token))\n",
        "            end = lambda: self._pins.holder(token)  # noqa: E731\n",
        "one peer takes all threads",
    ),
    _interceptor(
        "whoever-comes",
        "            return _refusing(error, grpc.StatusCode.UNAUTHENTICATED)\n",
        "            end = lambda: None  # noqa: E731\n",
        "a thief of a key takes all threads, with calls of which no message comes",
    ),
    _interceptor(
        "judged-too-early",
        "                    request = read(requests)\n"
        "                    self._admit(call, context)\n"
        "                    return",
        "                    self._admit(call, context)\n"
        "                    request = read(requests)\n"
        "                    return",
        "a call whose message comes late outlives its caller's pin",
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
    _credentials(
        "old-keys-are-not-own",
        "any(item.identity.spki_digest == spki_sha256 for item in self._held)",
        "self._held[0].identity.spki_digest == spki_sha256",
        "a mirror of this node's former certificate is a peer",
    ),
    _credentials(
        "own-voucher-not-verified",
        "        verify_voucher(voucher, identity.claims, contract=self._contract, at=now)\n",
        "",
        "a wrong party key is noticed by some peer only",
    ),
    _credentials(
        "renewed-too-late",
        "self._renew_at = fresh.expires_at - margin",
        "self._renew_at = fresh.expires_at",
        "peers' pins end with the certificate, and calls fail",
    ),
    _credentials(
        "expired-key-shown",
        "if renewal is None or (shown is not None and self._clock() < shown.expires_at):",
        "if renewal is None or shown is not None:",
        "a node whose party does not vouch any more goes on",
    ),
    _trust(
        "another-tee",
        "if tee.kind != wanted:",
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
    _frames(
        "frame-of-any-length",
        "if length > self.most:",
        "if length < 0:",
        "a stranger makes this node hold any amount",
    ),
    _frames(
        "sent-far-ahead",
        "if len(self._buffer) > _PREFIX + self.most + _AHEAD_BYTES:",
        "if not self._buffer and data:",
        "a stranger makes this node hold any amount",
    ),
    _schema(
        "another-version",
        "if type(version) is not int or version != model.VERSION:",
        "if type(version) is not int:",
        "another version's hello is answered",
    ),
    _schema(
        "true-for-one",
        "if type(version) is not int or version != model.VERSION:",
        "if version != model.VERSION:",
        "a key server's hello may say true for its version; the reason that is told is another",
    ),
    _schema(
        "not-encoded-again",
        "if record.to_cbor() != data:",
        "if not record.to_cbor():",
        "a Literal takes true for 1, and a default stands for a missing key",
    ),
    _schema(
        "other-keys-ignored",
        'extra="forbid",',
        'extra="ignore",',
        "keys that this version does not know are skipped",
    ),
    _schema(
        "values-converted",
        "strict=True,",
        "strict=False,",
        "a number may be sent as text",
    ),
    _schema(
        "names-for-terminals",
        'Name = Annotated[str, Field(pattern=r"^[\\x20-\\x7e]{1,63}$")]',
        'Name = Annotated[str, Field(pattern=r"^[\\x00-\\x7e]{1,63}$")]',
        "a peer's name steers the terminal of whoever reads the log",
    ),
    _schema(
        "short-nonce",
        "Nonce = Annotated[bytes, Field(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]",
        "Nonce = Annotated[bytes, Field(max_length=NONCE_BYTES)]",
        "a nonce of no bytes ends in an assertion",
    ),
    _visitors(
        "any-curve",
        "if not isinstance(key.curve, ec.SECP256R1):",
        "if not key.curve:",
        "a visitor's key may be of any curve",
    ),
)
