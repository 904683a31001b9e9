"""Attestation: quotes, the vendor's statements on platforms, and what a contract accepts.

A relying party gets one of two things from an ``Appraiser``: a ``Verdict`` that lists every check, or
an ``EvidenceRefused`` that names the failing one. Parsing and appraisal are pure; devices, networks,
files and clocks are at the edges (``tee/``, ``pccs``, ``collateral_source``, ``clock``). Terms are
those of RFC 9334 (RATS).

Nothing is imported here: a node loads no code of kinds of TEE that its contract does not list.
"""
