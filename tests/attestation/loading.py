"""Appraises evidence by a contract's rules: ``python -m tests.attestation.loading FILE``.

FILE is JSON: the rules of a contract, evidence in hex that they accept with its collateral, and other
and broken evidence, which they refuse. What is loaded of the code of attestation then is printed, one a line.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.authentic import Vetted
from coterie.attestation.evidence import read_collateral
from coterie.contract.trust import TrustSection
from coterie.errors import EvidenceRefused


def main() -> None:
    """Does it."""
    said = json.loads(Path(sys.argv[1]).read_text())
    trust = TrustSection.model_validate(said["trust"])
    appraiser = Appraiser(trust, own_measurement=bytes.fromhex(said["own"]))
    at, data = datetime.fromisoformat(said["at"]), bytes.fromhex(said["report_data"])
    quote = appraiser.screen(
        bytes.fromhex(said["evidence"]), report_data=data, role="ps", kind=trust.tee, at=at
    )
    collateral = Vetted(read_collateral(said["collateral"], trust.kinds))
    appraiser.appraise(
        quote, report_data=data, role="ps", kind=trust.tee, collateral=collateral, at=at
    )
    refused = []
    for other in said["others"]:
        try:
            appraiser.screen(
                bytes.fromhex(other), report_data=data, role="ps", kind=trust.tee, at=at
            )
        except EvidenceRefused as error:
            refused.append(error.failed_check)
    if refused != ["tee_kind"] * len(said["others"]):
        raise SystemExit(f"evidence of other kinds: {refused}")
    for broken in said["broken"]:
        try:
            appraiser.screen(
                bytes.fromhex(broken), report_data=data, role="ps", kind=trust.tee, at=at
            )
        except EvidenceRefused:
            continue
        raise SystemExit("broken evidence was accepted")
    print(
        "\n".join(name for name in sorted(sys.modules) if name.startswith("coterie.attestation."))
    )


if __name__ == "__main__":
    main()
