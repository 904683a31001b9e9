"""TCB info and QE identity: the parts of the vendor's signed JSON that our own checks need.

dcap-qvl checks the signatures and matches TCB levels. This module reads the dates, the platform
family, the PCE id (which dcap-qvl ignores) and the evaluation number. Source: Intel PCS API v4.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.canonical import each_name_once
from coterie.errors import EvidenceRefused

_T = TypeVar("_T", str, int)


@dataclass(frozen=True)
class Statement:
    """The common fields of TCB info and QE identity.

    Attributes:
        identity: ``SGX`` or ``TDX``; ``QE`` or ``TD_QE``.
        version: Version of the format.
        issued: Time of the vendor's signature.
        next_update: Time of expiry.
        evaluation_number: TCB evaluation data number.
        fmspc: Platform family, 6 bytes; empty in QE identities.
        pce_id: Provisioning enclave, 2 bytes; empty in QE identities.
    """

    identity: str
    version: int
    issued: datetime
    next_update: datetime
    evaluation_number: int
    fmspc: bytes = b""
    pce_id: bytes = b""


@lru_cache(maxsize=64)
def parse_statement(text: str, check: str) -> Statement:
    """Reads TCB info (``check`` is ``tcb_info``) or QE identity (``qe_identity``).

    Raises:
        EvidenceRefused: The text is not such a statement (check ``<check>_format``).
    """
    try:
        value = json.loads(text, object_pairs_hook=each_name_once, parse_constant=_no_constant)
        # Type 0 is the only defined rule for comparing TCB levels (PCS API v4).
        if check == "tcb_info" and typed(value["tcbType"], int) != 0:
            raise _malformed(check, "another tcbType than 0")
        platform = (
            (octets_of(value["fmspc"], 6), octets_of(value["pceId"], 2))
            if check == "tcb_info"
            else (b"", b"")
        )
        return Statement(
            typed(value["id"], str),
            typed(value["version"], int),
            moment_of(value["issueDate"]),
            moment_of(value["nextUpdate"]),
            typed(value["tcbEvaluationDataNumber"], int),
            *platform,
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _malformed(check, f"{type(error).__name__}: {error}"[:200]) from error


def verify_statement(
    statement: Statement,
    check: str,
    *,
    identity: str,
    versions: tuple[int, ...],
    at: datetime,
    checks: CheckList,
) -> None:
    """Verifies a statement's kind and that it is current.

    Raises:
        EvidenceRefused: It fails ``<check>_kind`` or ``<check>_validity``.
    """
    if statement.identity != identity or statement.version not in versions:
        raise collateral_refused(
            f"{check}_kind",
            f"the {_title(check)} is for another kind of TEE",
            expected=f"{identity}, version {' or '.join(map(str, versions))}",
            seen=f"{statement.identity[:32]}, version {statement.version}",
        )
    checks.passed(f"{check}_kind", f"{identity}, version {statement.version}")
    if not statement.issued <= at <= statement.next_update:
        raise collateral_refused(
            f"{check}_validity",
            f"the {_title(check)} is not current",
            expected=f"current at {at.isoformat()}",
            seen=f"from {statement.issued.isoformat()} to {statement.next_update.isoformat()}",
        )
    checks.passed(f"{check}_validity", f"until {statement.next_update.isoformat()}")


def _malformed(check: str, seen: str) -> EvidenceRefused:
    return collateral_refused(
        f"{check}_format",
        f"the {_title(check)} is malformed",
        expected="the vendor's signed JSON",
        seen=seen,
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def typed(value: object, kind: type[_T]) -> _T:
    """A text or a number.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{kind.__name__} expected")
    return value


def octets_of(value: object, octets: int) -> bytes:
    """So many octets, written in hex.

    Raises:
        TypeError: It is no text.
        ValueError: It is another one.
    """
    raw = bytes.fromhex(typed(value, str))
    if len(raw) != octets:
        raise ValueError(f"{octets} bytes expected")
    return raw


def moment_of(value: object) -> datetime:
    """A moment, written as ``2026-01-31T12:00:00Z``.

    Raises:
        TypeError: It is no text.
        ValueError: It is another one.
    """
    return datetime.strptime(typed(value, str), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _title(check: str) -> str:
    return "TCB info" if check == "tcb_info" else "QE identity"
