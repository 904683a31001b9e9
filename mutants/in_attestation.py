"""Mutations of appraisal: policies, dcap-qvl's refusals, freshness, clock, roots."""

from __future__ import annotations

from mutants.mutation import Of

_policy = Of(
    "attestation/policy.py", "attestation/test_refused_policies.py", "attestation/test_policy.py"
)
_platform = Of(
    "attestation/platform_policy.py",
    "attestation/test_refused_policies.py",
    "attestation/test_policy.py",
)
_appraiser = Of(
    "attestation/appraiser.py", "attestation/test_policy.py", "attestation/test_simulated.py"
)
_contracted = Of(
    "attestation/dcap_contracted.py", "attestation/test_policy.py", "attestation/test_simulated.py"
)
_dcap = Of(
    "attestation/dcap.py", "attestation/test_refused_signatures.py", "attestation/test_policy.py"
)
_freshness = Of("attestation/freshness.py", "attestation/test_collateral.py")
_clock = Of("attestation/clock.py", "attestation/test_clock.py")
_authentic = Of("attestation/authentic.py", "attestation/test_vetted.py")
_source = Of(
    "attestation/collateral_source.py",
    "attestation/test_vetted.py",
    "attestation/test_collateral.py",
)
_by_kind = Of("attestation/tee/by_kind.py", "attestation/test_simulated.py")

MUTATIONS = (
    _authentic(
        "anothers-evidence",
        "found.quote is quote and found.at == at",
        "found.at == at",
        "one node's verdict is another's",
    ),
    _authentic(
        "evidence-of-another-moment",
        "found.quote is quote and found.at == at",
        "found.quote is quote",
        "evidence that has run out is accepted",
    ),
    _source(
        "judged-by-what-was-stapled",
        "Vetted(joined, evidence if joined == collateral else None)",
        "Vetted(joined, evidence)",
        "a peer staples old collateral, and is judged by it though newer is held",
    ),
    _policy(
        "any-status",
        "if evidence.tcb.status not in self.accepted:",
        "if self.accepted and evidence.tcb.status not in self.accepted:",
        "an empty list of statuses accepts all",
    ),
    _policy(
        "any-advisory",
        "if unlisted := sorted(set(evidence.tcb.advisories) - set(self.accepted)):",
        "if unlisted := sorted(set(self.accepted) - set(evidence.tcb.advisories)):",
        "open advisories that are not listed are accepted",
    ),
    _policy(
        "refused-advisory",
        "if found := sorted(set(evidence.tcb.advisories) & set(self.refused)):",
        "if found := sorted(set(self.refused) - set(evidence.tcb.advisories)):",
        "an open advisory that is refused is accepted",
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
        "if product != str(self.isv_prod_id):",
        "if product is None:",
        "another product of the signer is accepted",
    ),
    _policy(
        "version-off-by-one",
        "if svn is None or int(svn) < self.minimum_isv_svn:",
        "if svn is None or int(svn) <= self.minimum_isv_svn:",
        "the very version that is demanded is refused",
    ),
    _policy(
        "any-version",
        "if svn is None or int(svn) < self.minimum_isv_svn:",
        "if svn is None:",
        "a version with known flaws is accepted",
    ),
    _platform(
        "out-of-date-for-ever",
        "if oldest is None or oldest.date + timedelta(days=self.days) < evidence.at:",
        "if oldest is None:",
        "a platform that is out of date for longer than is granted is accepted",
    ),
    _platform(
        "out-of-date-without-date",
        "if oldest is None or oldest.date + timedelta(days=self.days) < evidence.at:",
        "if oldest is not None and oldest.date + timedelta(days=self.days) < evidence.at:",
        "what is out of date since nobody knows when is accepted",
    ),
    _platform(
        "newest-date-counts",
        "oldest = min(late,",
        "oldest = max(late,",
        "of platform and quoting enclave only the younger one's age counts",
    ),
    _platform(
        "feature-not-said",
        "if seen is not False:",
        "if seen:",
        "a platform whose certificate does not say that a feature is off is accepted",
    ),
    _platform(
        "platform-for-family",
        'seen = platform.family if self.field == "fmspc" else platform.identifier',
        "seen = platform.family",
        "platform ids are never compared",
    ),
    _platform(
        "any-platform",
        "        if seen not in self.accepted:\n",
        "        if not seen:\n",
        "a platform that is not listed is accepted",
    ),
    _policy(
        "any-report-data",
        "if not hmac.compare_digest(seen, self.expected):",
        "if not hmac.compare_digest(seen[:32], self.expected[:32]):",
        "the upper half of the report data may be anything",
    ),
    *(
        _contracted(
            f"{name}-left-out",
            old,
            new,
            f"what the contract lists as {name.replace('-', '_')} is not demanded",
        )
        for name, old, new in (
            ("statuses", "        TcbStatusIn(table.accepted_tcb_statuses),\n", ""),
            (
                "accepted-advisories",
                "        else AdvisoriesWithin(table.accepted_advisories),\n",
                "        else AdvisoriesWithout(()),\n",
            ),
            (
                "refused-advisories",
                "        AdvisoriesWithout(table.refused_advisories)\n",
                "        AdvisoriesWithout(())\n",
            ),
            (
                "out-of-date-grace-days",
                "    if table.out_of_date_grace_days is not None:\n",
                "    if not table:\n",
            ),
            ("features", 'if getattr(table, f"refuse_{name}")]', "if not table]"),
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
    _contracted(
        "own-means-any",
        '        policies.append(MeasurementIn("mrenclave", own, own=True))\n',
        '        policies.append(MeasurementIn("mrenclave", own, own=True)) if own else None\n',
        "a node that does not know its own measurement accepts every program",
    ),
    _appraiser(
        "report-data-left-out",
        "            policies = (*policies, self._bound(report_data, role, kind))\n",
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
    _by_kind(
        "intels-root-for-all",
        "return simulated_root() if kind in SIMULATED else _intels_root()",
        "return _intels_root()",
        "simulated runs do not start",
    ),
    _by_kind(
        "simulated-root-for-all",
        "return simulated_root() if kind in SIMULATED else _intels_root()",
        "return simulated_root()",
        "anybody makes evidence for a contract that demands SGX",
    ),
    _by_kind(
        "simulated-amd-for-all",
        "return simulated_snp_roots() if kind in SIMULATED else _amds_roots()",
        "return simulated_snp_roots()",
        "anybody makes evidence for a contract that demands SEV-SNP",
    ),
    _by_kind(
        "amds-roots-for-all",
        "return simulated_snp_roots() if kind in SIMULATED else _amds_roots()",
        "return _amds_roots()",
        "simulated runs of guests do not start",
    ),
)
