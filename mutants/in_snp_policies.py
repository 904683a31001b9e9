"""Mutations of judging SEV-SNP evidence: guests, platforms, policies, the contract's table."""

from __future__ import annotations

from mutants.mutation import Of

_TESTS = (
    "attestation/snp/test_snp_refusals.py",
    "attestation/snp/test_snp_evidence.py",
    "attestation/snp/test_snp_report.py",
)
_platform = Of("attestation/snp/platform.py", *_TESTS)
_authenticity = Of("attestation/snp/authenticity.py", *_TESTS)
_policies = Of("attestation/snp/policies.py", *_TESTS)
_report = Of("attestation/snp/report.py", *_TESTS)
_contracted = Of("attestation/snp/contracted.py", "attestation/snp/test_snp_contracted.py")
_collateral = Of("attestation/snp/collateral.py", "attestation/snp/test_kds.py")
_trust = Of("contract/complete.py", "contract/test_snp_trust.py")
_table = Of("contract/snp_trust.py", "contract/test_snp_trust.py")

MUTATIONS = (
    _platform(
        "debug-allowed",
        "if report.policy & DEBUG:",
        "if not report.policy:",
        "a guest whose host can read its memory is accepted",
    ),
    _platform(
        "migration-allowed",
        "if report.policy & MIGRATION_AGENT or report.report_id_ma != NO_AGENT:",
        "if report.report_id_ma != NO_AGENT:",
        "a guest that a migration agent may move is accepted",
    ),
    _platform(
        "migration-agent",
        "if report.policy & MIGRATION_AGENT or report.report_id_ma != NO_AGENT:",
        "if report.policy & MIGRATION_AGENT:",
        "a guest with a migration agent is accepted",
    ),
    _platform(
        "running-firmware-counts",
        "if report.committed_firmware.abi < report.policy_abi:",
        "if report.current_firmware.abi < report.policy_abi:",
        "the host goes back to firmware that the guest's policy refuses",
    ),
    _platform(
        "author-without-digest",
        "if report.author_key_en is not any(report.author_key_digest):",
        "if any(report.author_key_digest) and not report.author_key_en:",
        "a guest says that its id key has an author, and not which",
    ),
    _platform(
        "digest-without-author",
        "if report.author_key_en is not any(report.author_key_digest):",
        "if report.author_key_en and not any(report.author_key_digest):",
        "a listed author's digest stands where there is no author",
    ),
    *(
        _platform(
            f"{name}-above-{above}",
            f'        ("{name} above {above}", {name}, {above}),\n',
            "",
            f"a platform whose {name} TCB is above its {above} one is accepted",
        )
        for name, above in (("reported", "committed"), ("committed", "current"))
    ),
    _platform(
        "firmware-below-committed",
        "    if running < kept:\n",
        "    if not running:\n",
        "a platform runs firmware that it has committed not to go back to",
    ),
    _platform(
        "smt-for-clear",
        '"smt_disabled": (1 << 0, False)',
        '"smt_disabled": (1 << 0, True)',
        "a platform with SMT passes for one without, and none without is accepted",
    ),
    _platform(
        "rapl-for-ciphertext",
        '"ciphertext_hiding": (1 << 4, True)',
        '"ciphertext_hiding": (1 << 3, True)',
        "a platform that hides power readings passes for one that hides ciphertext",
    ),
    _authenticity(
        "guest-not-checked",
        "    platform.verify_guest(report, checks)\n",
        "",
        "a guest with debugging or a migration agent is accepted",
    ),
    _authenticity(
        "report-unsigned",
        "if not _signed(leaf.spki, report.signature, report.signed):",
        "if not leaf.spki:",
        "anybody writes reports",
    ),
    _authenticity(
        "crl-not-verified",
        '    end = verify_crl(crl, "root_crl", issuer=root, at=at, checks=checks)\n',
        "    end = crl.next_update_utc or at\n",
        "anybody's list of revoked CAs is taken",
    ),
    _authenticity(
        "root-revocation-skipped",
        '    verify_not_revoked((root,), crl, "root_revocation", checks)\n',
        "",
        "a revoked root is accepted",
    ),
    _authenticity(
        "ca-revocation-skipped",
        '    verify_not_revoked((ca,), crl, "vek_ca_revocation", checks)\n',
        "",
        "a revoked CA is accepted",
    ),
    _authenticity(
        "outlives-chain",
        "expiry=min(end, certificates.chain_end(quote.chain))",
        "expiry=end",
        "a verdict outlives the chain",
    ),
    _authenticity(
        "outlives-crl",
        "expiry=min(end, certificates.chain_end(quote.chain))",
        "expiry=certificates.chain_end(quote.chain)",
        "a verdict outlives the revocation list",
    ),
    _report(
        "family-is-image",
        '("family_id", self.family_id.hex())',
        '("family_id", self.image_id.hex())',
        "a guest's family is compared with its image's values",
    ),
    _policies(
        "any-image",
        '        if seen < self.minimum:\n            raise EvidenceRefused(\n                "guest_svn"',
        '        if seen < 0:\n            raise EvidenceRefused(\n                "guest_svn"',
        "an image with known flaws is accepted",
    ),
    _policies(
        "image-off-by-one",
        '        if seen < self.minimum:\n            raise EvidenceRefused(\n                "guest_svn"',
        '        if seen <= self.minimum:\n            raise EvidenceRefused(\n                "guest_svn"',
        "the very version that is demanded is refused",
    ),
    _policies(
        "any-provider",
        "if seen is not None and seen not in self.accepted:",
        "if seen is not None and self.accepted and seen not in self.accepted:",
        "an empty list of cloud providers accepts all",
    ),
    _policies(
        "product-without-floor",
        "floor = dict(self.floors).get(platform.family)",
        "floor = dict(self.floors).get(platform.family, platform.launch)",
        "a product line that is not listed has no floor",
    ),
    _policies(
        "committed-counts-for-all",
        "seen: Tcb = getattr(platform, name)",
        "seen: Tcb = platform.committed",
        "a guest that was started on old firmware is accepted after the update",
    ),
    _policies(
        "running-firmware-counts",
        'snp_report(evidence, "firmware").committed_firmware',
        'snp_report(evidence, "firmware").current_firmware',
        "a platform that may go back to old firmware is accepted",
    ),
    _policies(
        "property-of-any-value",
        "if bool(info & bit) is not wanted:",
        "if wanted and not info & bit:",
        "what must be off may be on",
    ),
    *(
        _contracted(
            f"{name}-left-out", old, new, f"what the contract lists as {name} is not demanded"
        )
        for name, old, new in (
            ("guest-policy", '"guest_policy", "vmpl"', '"vmpl"'),
            ("vmpl", '"vmpl", "family_id"', '"family_id"'),
            ("author-key-digest", '"author_key_digest", "host_data"', '"host_data"'),
            ("signing-key", '"host_data", "signing_key"', '"host_data"'),
            (
                "guest-svn",
                "    policies.append(GuestSvnFrom(section.minimum_guest_svn))\n",
                "",
            ),
            ("csp-id", "    policies.append(CloudIn(section.csp_id))\n", ""),
            ("chip-id", "    if section.chip_id:\n", "    if not section:\n"),
            ("minimum-tcb", "    if floors := _floors(section):\n", "    if floors := ():\n"),
            (
                "minimum-firmware",
                "    if section.minimum_firmware is not None:\n",
                "    if section.minimum_firmware == '':\n",
            ),
            (
                "required-platform",
                "    policies += [PlatformHas(name) for name in section.required_platform]\n",
                "",
            ),
        )
    ),
    _contracted(
        "own-means-any",
        '        policies.append(MeasurementIn("launch_measurement", own, own=True))\n',
        '        policies.append(MeasurementIn("launch_measurement", own, own=True)) if own else None\n',
        "a node that does not know its own measurement accepts every guest",
    ),
    _contracted(
        "fmc-left-out",
        "floor.microcode, fmc)",
        "floor.microcode, fmc and 0)",
        "a floor of Turin's first code is not demanded",
    ),
    _collateral(
        "older-list",
        "newer = candidate.freshness().newest > self.freshness().newest",
        "newer = candidate.freshness().newest != self.freshness().newest",
        "an older list hides a revoked CA",
    ),
    _trust(
        "simulated-among-real",
        "if (kind in SIMULATED) is not (trust_tee in SIMULATED):",
        "if kind in SIMULATED and not kind:",
        "one role's evidence proves nothing under a contract for real TEEs",
    ),
    _trust(
        "values-of-dcap",
        "    if table.of_dcap:\n",
        "    if not where:\n",
        "a value is listed, and never demanded",
    ),
    _trust(
        "nothing-listed",
        "    elif kind not in SIMULATED and missing is not None:\n",
        "    elif kind not in SIMULATED and not where:\n",
        "a role for guests accepts what it does not list",
    ),
    _table(
        "no-floor",
        "        if self.minimum_tcb == TcbFloors():\n",
        "        if self.minimum_tcb is None:\n",
        "a contract for real guests accepts any TCB",
    ),
    _table(
        "no-provider",
        '"csp_id" if "vlek" in self.signing_key and not self.csp_id else None',
        "None",
        "a contract accepts VLEKs, and says of no provider's",
    ),
)
