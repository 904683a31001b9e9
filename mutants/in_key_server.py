"""Mutations of key servers: who gets what, on which session, and what the log keeps."""

from __future__ import annotations

from mutants.mutation import Of

_policy = Of("keys/server/policy.py", "keys/server/test_policy.py")
_service = Of("keys/server/service.py", "keys/server/test_service.py", "keys/server/test_shares.py")
_client = Of("keys/server/client.py", "keys/server/test_service.py")
_journal = Of("keys/server/journal.py", "keys/server/test_journal.py")
_log = Of("chained_log.py", "test_chained_log.py")
_VOUCHER_CHECKS = "        self._check_contract(claims)\n        self._check_party(claims)\n\n"
_DATA_CHECKS = (
    "        self._check_contract(claims)\n        self._check_party(claims)\n        release ="
)
_MODEL_CHECKS = (
    "        self._check_contract(claims)\n        self._check_party(claims)\n        recipients ="
)

MUTATIONS = (
    _policy(
        "voucher-under-any-contract",
        _VOUCHER_CHECKS,
        "        self._check_party(claims)\n\n",
        "the party vouches for a node under a contract that it never agreed to",
    ),
    _policy(
        "voucher-for-any-party",
        _VOUCHER_CHECKS,
        "        self._check_contract(claims)\n\n",
        "the party vouches for another party's node",
    ),
    _policy(
        "data-under-any-contract",
        _DATA_CHECKS,
        "        self._check_party(claims)\n        release =",
        "a node under another contract opens the data",
    ),
    _policy(
        "data-for-any-party",
        _DATA_CHECKS,
        "        self._check_contract(claims)\n        release =",
        "another party's node opens the data",
    ),
    _policy(
        "data-for-any-role",
        "if claims.role not in release.roles:",
        "if not claims.role:",
        "a parameter server opens the data",
    ),
    _policy(
        "any-data",
        "release = self.releases.get(request.set_id)",
        "release = self.releases.get(request.set_id) or next(iter(self.releases.values()))",
        "the key of another data set is given out",
    ),
    _policy(
        "model-under-any-contract",
        _MODEL_CHECKS,
        "        self._check_party(claims)\n        recipients =",
        "a node under another contract gets the model's key",
    ),
    _policy(
        "model-for-any-party",
        _MODEL_CHECKS,
        "        self._check_contract(claims)\n        recipients =",
        "another party's node gets the model's key",
    ),
    _policy(
        "model-for-all",
        "if claims.node not in recipients:",
        "if not recipients:",
        "a node that does not get the model gets its key",
    ),
    _policy(
        "share-under-any-contract",
        '        self._check_contract(claims)\n        if claims.role != "ps":',
        '        if claims.role != "ps":',
        "a server under another contract gets the checkpoints' share",
    ),
    _policy(
        "share-for-any-role",
        'if claims.role != "ps":',
        "if not claims.role:",
        "a worker gets the checkpoints' share",
    ),
    _policy(
        "share-where-nothing-is-sealed",
        "if not self.contract.trust.checkpoints_sealed:",
        "if not self.contract.trust:",
        "a share is given out under a contract without sealed checkpoints",
    ),
    _policy(
        "share-without-voucher",
        "        verify_voucher(Voucher.from_cbor(voucher), claims, contract=self.contract, at=at)\n",
        "        Voucher.from_cbor(voucher)\n",
        "whoever starts the genuine program gets the share",
    ),
    _policy(
        "share-with-a-stale-voucher",
        "contract=self.contract, at=at)\n\n    def _check_contract",
        "contract=self.contract, at=datetime.min.replace(tzinfo=at.tzinfo))\n\n"
        "    def _check_contract",
        "a server whose party does not vouch any more gets the share",
    ),
    _policy(
        "anothers-key",
        "if key.party != party:",
        "if not key.party:",
        "a policy gives out another party's key",
    ),
    _policy(
        "key-twice",
        "if key.set_id in releases:",
        "if not key.set_id:",
        "of two entries for a data set the later one's roles count",
    ),
    _policy(
        "one-key-for-data-and-model",
        "if isinstance(model, DataKey) and model.set_id in releases:",
        "if isinstance(model, DataKey) and not model.set_id:",
        "a worker's key opens the model",
    ),
    _policy(
        "another-kind-of-tee",
        "if not trust.kinds <= contract.trust.kinds or trust.tee != contract.trust.tee:",
        "if not trust.kinds:",
        "a policy's simulated section stands under a contract for real TEEs",
    ),
    _policy(
        "roles-in-other-kinds",
        "if not trust.kinds <= contract.trust.kinds or trust.tee != contract.trust.tee:",
        "if trust.tee != contract.trust.tee:",
        "a policy's roles run in a kind of TEE that the contract names for none",
    ),
    _policy(
        "other-kind-without-table",
        "if not trust.kinds <= contract.trust.kinds or trust.tee != contract.trust.tee:",
        "if not trust.kinds <= contract.trust.kinds:",
        "a policy is for another kind of TEE wherever it does not say it of a role",
    ),
    _policy(
        "contracts-section-counts",
        "trust = found.trust or contract.trust",
        "trust = contract.trust",
        "the owner's stricter section is ignored",
    ),
    _policy(
        "party-not-in-the-contract",
        "if found.party not in contract.party_names:",
        "if not found.party:",
        "a key server of nobody starts",
    ),
    _service(
        "refusals-not-in-the-log",
        "            refusal = error\n        self._journal.add(",
        "            refusal = error\n            raise\n        self._journal.add(",
        "nobody sees who tried",
    ),
    _service(
        "answered-before-it-is-noted",
        "        except CoterieError as error:\n            refusal = error\n        self._journal",
        "            return content\n        except CoterieError as error:\n"
        "            refusal = error\n        self._journal",
        "a key is given out that the log does not show",
    ),
    _service(
        "refused-and-given",
        "        if refusal is not None:\n            raise refusal\n        return content",
        "        return content",
        "whoever is refused gets an answer",
    ),
    _service(
        "session-not-judged",
        "        exchange.judge(\n"
        "            judged,\n"
        "            request.quote,\n"
        "            request.collateral,\n"
        "            request.tokens,\n"
        "            nonce=hello.nonce,\n"
        "            trust=self._trust,\n"
        "            at=at,\n"
        "        )\n",
        "",
        "a thief of a node's key gets the party's keys",
    ),
    _service(
        "evidence-not-judged",
        "CertificateJudge(self._trust, expected_node=None, at=at)",
        "CertificateJudge(self._trust, expected_node=None, at=at.replace(year=2024))",
        "certificates are judged at another time",
    ),
    _client(
        "signature-not-checked",
        "        verify_statement(client.contract, client.party, statement, signature, at=client.clock())\n",
        "        assert signature\n",
        "anybody answers for the party's key server",
    ),
    _log(
        "not-synced",
        "            if durably:\n                self.sync()\n",
        "",
        "a key is given out that the log does not show after the machine stopped",
    ),
    _log(
        "torn-line-stays",
        "            os.ftruncate(self._file, size)\n        self.size = size\n",
        "            pass\n        self.size = size\n",
        "the next line is glued to a torn one",
    ),
    _log(
        "torn-line-of-one-piece",
        "            end = start\n        return 0\n",
        "            break\n        return 0\n",
        "a torn line that is longer than a piece takes all lines before it along",
    ),
    _log(
        "follows-links",
        "os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW",
        "os.O_CREAT | os.O_APPEND",
        "whoever writes the folder chooses which file is cut and written",
    ),
    _log(
        "half-a-line-stays",
        "                os.ftruncate(self._file, self.size)\n",
        "                pass\n",
        "once the disk is full, the log refuses itself at the next start",
    ),
    _log(
        "half-a-line-is-enough",
        "if os.write(self._file, octets) != len(octets):",
        "if not os.write(self._file, octets):",
        "keys are given out though the log was not written to its end",
    ),
    _log(
        "two-writers",
        "        hold(self._file, self._path)\n",
        "        pass\n",
        "two key servers write one log, and break its chain",
    ),
    _log(
        "name-not-synced",
        "        sync_folder(self._path.parent)\n",
        "",
        "a new log is not there after the machine stopped, and keys were given out",
    ),
    _log(
        "chain-not-checked",
        "return previous == self.head",
        "return bool(previous)",
        "a line was altered, removed or put in",
    ),
    _log(
        "chain-not-kept",
        "        self.head = digest\n",
        "",
        "the log refuses itself at the next start",
    ),
    _journal(
        "chain-not-asked",
        'if not chain.continues(value.get("previous")):',
        'if not value.get("previous"):',
        "a line was altered, removed or put in",
    ),
    _journal(
        "not-appended-durably",
        "self._file.append(line)",
        "self._file.append(line, durably=False)",
        "a key is given out that the log does not show after the machine stopped",
    ),
    _journal(
        "last-not-kept",
        '            self._last = line_digest(line + b"\\n")\n',
        "",
        "the log refuses itself at the next start",
    ),
    _journal(
        "torn-line-not-cut",
        "                self._file.cut(chain.octets)  # no key was given out for an incomplete line\n",
        "                pass\n",
        "the next line is glued to a torn one",
    ),
    _journal(
        "others-may-read",
        "AppendOnlyFile(path, mode=0o600)",
        "AppendOnlyFile(path, mode=0o644)",
        "everybody on the machine reads who asked for what",
    ),
    _journal(
        "begins-anew",
        "chain = verify_journal(path)",
        "chain = Chain(_START, 0)",
        "a restart empties the log",
    ),
    _journal(
        "long-lines",
        'if not line.endswith(b"\\n") and len(line) < _MAX_LINE:',
        'if not line.endswith(b"\\n"):',
        "a line that is too long is taken for a torn one, and cut with all that follows it",
    ),
    _journal(
        "not-written-and-given",
        "                raise _unwritten(self._path, error) from error\n            self._last",
        "                assert error\n            self._last",
        "keys are given out though the log cannot be written",
    ),
    _journal(
        "not-held",
        "            self._file.hold()  # lock before reading: another server may add lines\n",
        "",
        "two key servers write one log, and break its chain",
    ),
)
