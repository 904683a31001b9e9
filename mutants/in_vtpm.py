"""Mutations of virtual TPMs' evidence: its encoding, its checks, the paravisor below, the guest's own reader."""

from __future__ import annotations

from mutants.mutation import Of

_refusals = "attestation/vtpm/test_vtpm_refusals.py"
_format = Of("attestation/vtpm/quote.py", _refusals, "attestation/vtpm/test_vtpm_quote.py")
_above = Of("attestation/vtpm/authenticity.py", _refusals)
_tpm = Of("attestation/vtpm/tpm_quote.py", _refusals, "attestation/vtpm/test_tpm_quote.py")
_runtime = Of("attestation/vtpm/runtime_data.py", _refusals, "attestation/vtpm/test_hcl_report.py")
_contracted = Of("attestation/vtpm/contracted.py", "attestation/vtpm/test_vtpm_policies.py")
_paravisor = Of("attestation/paravisor.py", "attestation/test_paravisor.py")
_attributes = Of("attestation/attributes.py", "attestation/test_refused_attributes.py")
_collateral = Of("attestation/collateral.py", "attestation/test_fitting.py")
_tee = Of("attestation/tee/azure.py", "attestation/test_azure_tee.py")
_service = Of("attestation/tee/td_quotes.py", "attestation/test_azure_tee.py")
_complete = Of("contract/complete.py", "contract/test_vtpm_trust.py")
_terms = Of("contract/terms.py", "contract/test_vtpm_trust.py")

MUTATIONS = (
    _format(
        "bytes-after-the-pcrs",
        "len(values) != PCR_BYTES * len(tpm.pcrs)",
        "len(values) < PCR_BYTES * len(tpm.pcrs)",
        "evidence has many encodings",
    ),
    _format(
        "hardware-that-is-none",
        'if claimed != "vtpm-dcap":',
        "if claimed and not data:",
        "a stranger has a node of SEV-SNP load the code for TDX",
    ),
    _format(
        "padded-hardware",
        "if quote.tee_type != TEE_TDX or quote.canonical != data:",
        "if quote.tee_type != TEE_TDX:",
        "the TD quote in it has many encodings",
    ),
    _format(
        "an-enclave-below",
        "if quote.tee_type != TEE_TDX or quote.canonical != data:",
        "if quote.canonical != data:",
        "any enclave with these report data stands for a paravisor",
    ),
    _above(
        "not-bound",
        "    verify_binding(quote.runtime, quote.hardware.report_data)\n",
        "",
        "any machine's hardware vouches for any TPM",
    ),
    _above(
        "any-data",
        "extra_data=qualifying_data(quote.report_data),",
        "extra_data=quote.tpm.extra_data,",
        "an old quote of the TPM is accepted for a new session",
    ),
    _tpm(
        "unsigned",
        "        key.verify(signature, quote.message, padding.PKCS1v15(), SHA256())\n",
        "        pass\n",
        "anybody makes the TPM's quotes",
    ),
    _tpm(
        "pcrs-not-compared",
        "or not hmac.compare_digest(digest, quote.pcr_digest):",
        "or not digest:",
        "a guest shows the PCRs of the agreed one",
    ),
    _tpm(
        "any-structure",
        "if (magic, kind) != (_MAGIC, _QUOTE):",
        "if magic != _MAGIC:",
        "another structure that the key has signed is read as a quote",
    ),
    _runtime(
        "name-twice",
        "object_pairs_hook=each_name_once",
        "object_pairs_hook=dict",
        "two readers may read two attestation keys",
    ),
    _runtime(
        "bound-by-a-prefix",
        "expected = hashlib.sha256(data).digest() + bytes(32)",
        "expected = hashlib.sha256(data).digest() + report_data[32:]",
        "half of the report data is open",
    ),
    _runtime(
        "several-keys",
        "    if len(found) != 1:\n",
        "    if not found:\n",
        "two readers may take two keys",
    ),
    _contracted(
        "own-program-not-compared",
        'policies.append(MeasurementIn(f"pcr{PROGRAM_PCR}", own, own=True))',
        "_ = own",
        "any program is accepted in a simulated guest",
    ),
    _contracted(
        "pcrs-not-demanded",
        "for number in section.numbers\n",
        "for number in ()\n",
        "the contract's PCRs are not compared",
    ),
    _paravisor(
        "any-objection",
        "if error.seen != _OBJECTION:",
        "if not error.seen:",
        "what dcap-qvl refuses for another reason is judged by less",
    ),
    _paravisor(
        "statements-unsigned",
        "if not signed_p256(signer.public_key(), signature, text.encode()):",
        "if not signature:",
        "the host writes the TCB info",
    ),
    _paravisor(
        "quote-unsigned",
        "    verify_quote_signatures(quote, CheckList())\n",
        "",
        "the host writes the quote",
    ),
    _paravisor(
        "module-level-ignored",
        'return platform.with_part(_by_isv_svn(identity, td[0], "tdx_module"))',
        "return platform",
        "an old TDX module is up to date",
    ),
    _paravisor(
        "module-at-launch-ignored",
        "if launched not in _OUT_OF_DATE or current in _OUT_OF_DATE:",
        "if launched not in _OUT_OF_DATE:",
        "a guest that runs under a module that is out of date need only be launched again",
    ),
    _paravisor(
        "module-now-ignored",
        "if report.tee_tcb_svn_2 is not None:",
        "if report.tee_tcb_svn_2 == 0:",
        "a guest goes on under a revoked module",
    ),
    _paravisor(
        "late-enclave-ignored",
        'status = _LATE[self.status] if part.status == "OutOfDate" else self.status',
        "status = self.status",
        "a quoting enclave that is out of date does not count",
    ),
    _paravisor(
        "levels-as-they-come",
        'sorted(_objects(info["tcbLevels"]), key=order, reverse=True)',
        '_objects(info["tcbLevels"])',
        "the order in a file decides which level a platform has",
    ),
    _attributes(
        "paravisors-rules-for-all",
        "return PARAVISOR_RULES if kind in OF_VTPM else TDX_RULES",
        "return PARAVISOR_RULES",
        "a trust domain whose host can inject faults is accepted",
    ),
    _collateral(
        "family-alone",
        "return (info.identity.lower(), info.fmspc.hex()) == (platform.tee, platform.fmspc)",
        "return info.fmspc.hex() == platform.fmspc",
        "a receipt's trust domain is judged by TCB info of enclaves",
    ),
    _tee(
        "pcrs-that-changed",
        "if TpmQuote.parse(quoted.message).pcr_digest == digest:",
        "if TpmQuote.parse(quoted.message).pcr_digest:",
        "a node shows PCRs that were not quoted, and is refused by its peers",
    ),
    _tee(
        "kind-not-compared",
        "        if seen != self._kind:\n",
        "        if not seen:\n",
        "a guest above TDX starts under a contract for SNP",
    ),
    _service(
        "any-host",
        "near = host.is_link_local or host.is_loopback",
        "near = True",
        "a node sends its report to any host, in the clear",
    ),
    _complete(
        "own-measurement-of-a-real-tee",
        "if table.measurement is not None and kind not in SIMULATED:",
        "if table.measurement is None and kind not in SIMULATED:",
        "a real guest needs to be no more than what the reader runs",
    ),
    _complete(
        "vtpm-left-open",
        '    elif missing is not None:\n        raise ValueError(f"{where}.vtpm',
        '    elif not where:\n        raise ValueError(f"{where}.vtpm',
        "a contract without PCRs accepts any guest above the paravisor",
    ),
    _terms(
        "a-pcr-less-is-tighter",
        'return "looser" if "looser" in effects else "tighter"',
        'return "tighter" if "tighter" in effects else "looser"',
        "parties sign a contract that compares less, and are told that it compares more",
    ),
)
