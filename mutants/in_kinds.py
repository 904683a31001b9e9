"""Mutations of what gives every node one kind of TEE: the contract's tables, nodes and who judges by them."""

from __future__ import annotations

from mutants.mutation import Of

_complete = Of("contract/complete.py", "contract/test_alternatives.py")
_schema = Of("contract/schema.py", "contract/test_alternatives.py")
_tables = Of("contract/trust.py", "contract/test_alternatives.py")
_judging = Of("ratls/verify.py", "ratls/test_kinds.py")
_appraiser = Of("attestation/appraiser.py", "attestation/test_policy.py")
_policy = Of("keys/server/policy.py", "keys/server/test_policy.py")
_files = Of("cli/evidence_files.py", "cli/test_node_certificates.py")
_pinning = Of("contract/pinning.py", "contract/test_pinning.py")

MUTATIONS = (
    _complete(
        "alternative-without-check",
        "        _check_table(place, other.tee, other, trust_tee)\n",
        "",
        "the table of a further kind may leave everything open",
    ),
    _complete(
        "alternative-of-the-default-kind",
        "        if other.tee is None:\n",
        "        if other is None:\n",
        "a further table is for a kind that nobody named",
    ),
    _complete(
        "nested-alternatives",
        "        if other.alternatives:\n",
        "        if not other:\n",
        "tables that nobody checks and nobody judges by stand in the contract",
    ),
    _complete(
        "two-tables-for-a-kind",
        "        if other.tee in kinds:\n",
        "        if not kinds:\n",
        "the later of two tables counts, whatever the parties read first",
    ),
    _complete(
        "unnamed-kind",
        "    if tee is None and len(listed) > 1:\n",
        "    if tee is None and not listed:\n",
        "the order of tables decides what a node runs in",
    ),
    _complete(
        "unlisted-kind",
        "    if tee is not None and tee not in listed:\n",
        "    if tee is not None and not listed:\n",
        "a node names a kind for which the contract has no reference values",
    ),
    _schema(
        "nodes-without-check",
        "            check_node_kind(node.name, node.tee, where, listed)\n",
        "",
        "nodes name any kind, or none",
    ),
    _schema(
        "kind-of-the-role",
        "        if node.tee is not None:\n            return node.tee\n",
        "",
        "every node is judged by its role's first table",
    ),
    _tables(
        "alternatives-unknown",
        "        return {one.tee or self.tee: one for one in (table, *table.alternatives)}\n",
        "        return {table.tee or self.tee: table}\n",
        "no collateral, stamp or rule knows the further kinds",
    ),
    _judging(
        "kind-that-is-shown",
        "    return trust.contract.kind_of(trust.contract.node(claims.node))\n",
        "    role = trust.contract.node(claims.node).role\n    return [*trust.contract.trust.tables(role)][-1]\n",
        "a node may come in a kind that another node of its role runs in",
    ),
    _appraiser(
        "kind-without-table",
        "        table = tables.get(kind)\n",
        "        table = tables.get(kind) or next(iter(tables.values()))\n",
        "an owner who lists fewer kinds than the contract gives keys to all of them",
    ),
    _policy(
        "machines-of-the-role",
        "node.role: self.trust.tables(node.role).get(self.contract.kind_of(node))",
        "node.role: self.trust.roles.of(node.role)",
        "machines that are listed for another kind silence the warning of a model in the clear",
    ),
    _files(
        "certificates-kind",
        "            return agreed.kind_of(agreed.node(node))\n",
        "            return claimed\n",
        "a certificate is accepted in a kind that its node may not run in",
    ),
    _pinning(
        "measurement-stays",
        '        gone.add("measurement")\n',
        "        gone.clear()\n",
        "a simulated contract goes on accepting what the reader runs",
    ),
    _pinning(
        "paravisor-takes-the-guests-place",
        'return references.tee not in OF_VTPM or "vtpm" in references.values',
        "return True",
        "values of the paravisor take out what identifies the guest",
    ),
    _pinning(
        "other-pcrs-go",
        "return {**before, **given} if isinstance(given, dict) else {}",
        "return given if isinstance(given, dict) else {}",
        "PCRs that the parties demand besides are no longer compared",
    ),
    _pinning(
        "edit-not-compared",
        "        if before != tomllib.loads(after):  # the edit of lines must have changed nothing else\n",
        "        if not before:\n",
        "a table that is written in an unusual way gets values in a wrong place",
    ),
)
