"""How report data are made of what a node binds, where a launcher below the node asks for quotes.

Confidential Space's launcher does not let a workload choose report data: it hashes what the workload
gives, with a label of its own, so that its quotes cannot be taken for a workload's on another system.

Source: ``report_data`` of ``VmAttestation`` in Google's confidential-space, server/proto/attestation.proto.
"""

from __future__ import annotations

import hashlib

from coterie.contract.trust import TrustSection
from coterie.kinds import Role, TeeKind

_LABEL = b"WORKLOAD_ATTESTATION"


def confidential_space(challenge: bytes) -> bytes:
    """The report data (64 bytes) of a quote that Confidential Space makes for a challenge.

    Args:
        challenge: What the workload gives: for a node, the 64 bytes that it binds.
    """
    return hashlib.sha512(_LABEL + hashlib.sha512(challenge).digest()).digest()


def quoted_report_data(trust: TrustSection, role: Role, kind: TeeKind, bound: bytes) -> bytes:
    """The report data (64 bytes) that a role's quotes must carry.

    Args:
        trust: The contract's section, which may name a launcher.
        role: The role.
        kind: The kind of TEE that it runs in.
        bound: The 64 bytes that a node of the role binds.
    """
    table = trust.tables(role).get(kind)
    if table is not None and table.launcher == "confidential-space":
        return confidential_space(bound)
    return bound
