"""Google's Confidential Space: TDX quotes through the local socket of its launcher.

A workload there is a container without the guest's devices. The launcher takes a challenge and answers
with the quote and event logs. The logs are not needed: a contract lists the registers.

Source: launcher/teeserver of Google's go-tpm-tools, and server/proto/attestation.proto of
confidential-space (as protobuf's JSON).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from coterie.attestation.challenges import confidential_space
from coterie.attestation.local_http import LocalHttp
from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.checking import checked_quote, require_report_data
from coterie.errors import EnvironmentUnfit
from coterie.kinds import TeeKind

SECONDS = 5.0  # half of a handshake's time limit
MAX_ANSWER_BYTES = 1 << 20  # it has the event logs, too
_RESOURCE = "/v1/evidence"
_SOURCE = "Confidential Space's launcher"


class ConfidentialSpaceTee:
    """The TDX guest of Confidential Space in which this workload runs.

    Args:
        path: The launcher's socket.
        seconds: Time for one quote.
    """

    def __init__(self, path: Path, *, seconds: float = SECONDS) -> None:
        self._path = path
        self._http = LocalHttp.at_socket(path, seconds=seconds, most=MAX_ANSWER_BYTES)

    @property
    def kind(self) -> TeeKind:
        """Always ``tdx``."""
        return "tdx"

    def quote(self, report_data: bytes) -> bytes:
        """Returns a quote over the report data that the launcher makes of 64 bytes.

        Raises:
            EnvironmentUnfit: There is no such socket, it does not give evidence or gives that of
                another kind of guest, or the quote is over something else.
        """
        require_report_data(report_data)
        challenge = base64.b64encode(report_data).decode()
        answer = self._http.post(_RESOURCE, {"challenge": challenge})
        return checked_quote(_quote_in(answer), confidential_space(report_data), _SOURCE)

    def describe(self) -> TeeDescription:
        """Describes the guest for people."""
        return TeeDescription(
            kind="tdx",
            measurement=None,
            details=f"Intel TDX through Confidential Space's launcher at {self._path}",
        )


def _quote_in(answer: bytes) -> bytes:
    try:
        said = json.loads(answer)
        return base64.b64decode(said["quote"]["tdxCcelQuote"]["tdQuote"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EnvironmentUnfit(
            f"{_SOURCE} gave no TDX quote",
            expected='JSON with quote.tdxCcelQuote.tdQuote in base64: {"quote": {"tdxCcelQuote": ...}}',
            seen=f"no such value: {error!r}"[:200],
            remedy="use a Confidential Space of TDX machines; those of AMD answer with a TPM's quote",
        ) from error
