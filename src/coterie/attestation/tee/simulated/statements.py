"""TCB info v3 and QE identity v2 of the simulated vendor: the JSON that its TCB signer signs.

Source: Intel PCS API v4, "Get TCB Info" and "Get Quoting Enclave Identity".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class SimulatedLevel:
    """One TCB level of the platform or of the quoting enclave.

    Attributes:
        status: TCB status of platforms that reach the level.
        advisories: Advisories that are open at the level.
        svn: Lowest security version that reaches it (all SGX components alike).
        date: The level's date; of the statement's issue if None.
    """

    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()
    svn: int = 2
    date: datetime | None = None


def tcb_info(
    levels: tuple[SimulatedLevel, ...],
    *,
    tee: str,
    issued: datetime,
    next_update: datetime,
    fmspc: bytes,
    pce_id: bytes,
    evaluation_number: int,
    module_signer: bytes,
) -> str:
    """TCB info v3 (id ``SGX`` or ``TDX``) as compact JSON."""
    body: dict[str, object] = {
        "id": tee,
        "version": 3,
        "issueDate": _iso(issued),
        "nextUpdate": _iso(next_update),
        "fmspc": fmspc.hex().upper(),
        "pceId": pce_id.hex().upper(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": evaluation_number,
    }
    if tee == "TDX":
        body["tdxModule"] = {
            "mrsigner": module_signer.hex(),
            "attributes": "00" * 8,
            "attributesMask": "FF" * 8,
        }
    body["tcbLevels"] = [
        {
            "tcb": {
                "sgxtcbcomponents": [{"svn": level.svn}] * 16,
                "pcesvn": level.svn,
                **({"tdxtcbcomponents": _tdx_components(level)} if tee == "TDX" else {}),
            },
            **_outcome(level, issued),
        }
        for level in levels
    ]
    return json.dumps(body, separators=(",", ":"))


def qe_identity(
    levels: tuple[SimulatedLevel, ...],
    *,
    identity: str,
    issued: datetime,
    next_update: datetime,
    evaluation_number: int,
    mrsigner: bytes,
) -> str:
    """QE identity v2 (id ``QE`` or ``TD_QE``) as compact JSON."""
    body = {
        "id": identity,
        "version": 2,
        "issueDate": _iso(issued),
        "nextUpdate": _iso(next_update),
        "tcbEvaluationDataNumber": evaluation_number,
        "miscselect": "00" * 4,
        "miscselectMask": "FF" * 4,
        "attributes": "11" + "00" * 15,
        "attributesMask": "FB" + "FF" * 7 + "00" * 8,
        "mrsigner": mrsigner.hex().upper(),
        "isvprodid": 1,
        "tcbLevels": [
            {"tcb": {"isvsvn": level.svn}, **_outcome(level, issued)} for level in levels
        ],
    }
    return json.dumps(body, separators=(",", ":"))


def _tdx_components(level: SimulatedLevel) -> list[dict[str, int]]:
    # Component 1 is the TDX module's major version: 0 is the version without an identity of its
    # own.
    return [{"svn": 0 if i == 1 else level.svn} for i in range(16)]


def _outcome(level: SimulatedLevel, issued: datetime) -> dict[str, object]:
    outcome: dict[str, object] = {"tcbDate": _iso(level.date or issued), "tcbStatus": level.status}
    if level.advisories:
        outcome["advisoryIDs"] = list(level.advisories)
    return outcome


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
