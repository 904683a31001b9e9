"""Prints the findings of ``coterie attest``: one JSON object, or lines for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from coterie.kinds import OF_SNP, OF_VTPM, SIMULATED, TeeKind
from coterie.text import printable

if TYPE_CHECKING:
    from coterie.attestation.appraiser import Appraisal


# What Intel states of a platform, and AMD does not.
_OF_INTEL = frozenset({"advisories", "evaluation_number"})
_MEASUREMENTS = frozenset({"mrenclave", "mrsigner", "mrtd", "launch_measurement"})
# Above a paravisor, whose measurement does not tell the guest.
_PCRS = frozenset(f"pcr{number}" for number in range(24))
_VERDICT = ("accepted", "failed_check", "reason", "expected", "seen", "remedy")


def print_outcome(
    outcome: Appraisal,
    claimed: TeeKind | None,
    shown: tuple[tuple[str, str], ...],
    judged: set[str],
    *,
    tokens: bool,
    remedy: str | None,
    as_json: bool,
) -> None:
    """Prints a verdict or a refusal.

    Args:
        outcome: Outcome of the appraisal.
        claimed: The kind of TEE that the quote claims, for refusals.
        shown: Measurements that the quote claims.
        judged: Names of the policies' checks; missing ones are mentioned.
        tokens: Whether the contract also demands tokens, which stored evidence does not have.
        remedy: Remedy for a refusal.
        as_json: Whether to print one JSON object instead of lines.
    """
    refusal, evidence = outcome.refusal, outcome.evidence
    tee = evidence.kind if evidence else claimed
    open_questions = [
        name
        for name, checks in (
            ("advisories", {"advisories"}),
            ("measurement", _PCRS if tee in OF_VTPM else _MEASUREMENTS),
            ("evaluation_number", {"evaluation_number"}),
            ("report_data", {"report_data"}),
        )
        if not judged & checks and not (tee in OF_SNP and name in _OF_INTEL)
    ]
    open_questions += ["tokens"] if tokens else []
    value: dict[str, object] = {
        "accepted": refusal is None,
        "failed_check": refusal.failed_check if refusal else None,
        "reason": refusal.what if refusal else None,
        "expected": refusal.expected if refusal else None,
        "seen": refusal.seen if refusal else None,
        "remedy": remedy,
        "tee": tee,
        "stamp": "SIMULATED" if tee in SIMULATED else None,
        "tcb_status": evidence.tcb.status if evidence else None,
        "advisories": list(evidence.tcb.advisories) if evidence else [],
        "measurements": dict(shown),
        "not_judged": open_questions,
        "expiry": evidence.expiry.isoformat() if evidence else None,
        "checks": [asdict(check) for check in outcome.checks],
    }
    print_facts(value, as_json=as_json)


def print_facts(value: dict[str, object], *, as_json: bool) -> None:
    """Prints names and values: one JSON object, or a line each with the verdict last."""
    from coterie.cli import console

    if as_json:
        console.print_json(value)
        return
    verdict = {name: item for name, item in value.items() if name in _VERDICT}
    rest = {name: item for name, item in value.items() if name not in _VERDICT}
    for line in _lines(rest | verdict, ""):
        typer.echo(printable(line, None))


def _lines(value: dict[str, object], indent: str) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        label = key.replace("_", " ")
        if isinstance(item, dict):
            lines += [f"{indent}{label}:", *_lines(item, indent + "  ")]
        elif key == "checks" and isinstance(item, list):
            lines.append(f"{indent}checks:")
            lines += [
                f"{indent}  {check['outcome'].replace('_', ' '):<8} {check['name']} "
                f"{check['detail']}".rstrip()
                for check in item
            ]
        elif isinstance(item, bool):
            lines.append(f"{indent}{label}: {'yes' if item else 'no'}")
        elif isinstance(item, list):
            lines.append(f"{indent}{label}: {', '.join(map(str, item)) or 'none'}")
        elif item is not None:
            lines.append(f"{indent}{label}: {item}")
    return lines
