"""Follows a receipt back to the receipts of the runs that its run started from.

A run's contract names its start: a model, the contract that it was trained under, its number of
updates, its optimizers' state, and perhaps its receipt, by the hash of the last entry. A receipt is
the parent if its outcome is this start. Each receipt is verified completely, under its own
contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from coterie.contract import StartSection
from coterie.errors import ReceiptRefused
from coterie.receipts.findings import Findings


def walk(
    found: Findings, parents: Iterable[Path], verify: Callable[[Path], Findings]
) -> tuple[Findings, ...]:
    """Follows a receipt back as far as the given parents reach.

    Args:
        found: The newest receipt, accepted.
        parents: Receipts of earlier runs, in any order.
        verify: Verifies one receipt.

    Returns:
        The receipts of earlier runs, the latest first.

    Raises:
        ReceiptRefused: A receipt is refused, or belongs to none of the earlier runs.
    """
    left = {path: _verified(path, verify) for path in dict.fromkeys(parents)}
    line: list[Findings] = []
    start = found.contract.start
    while start is not None and left:
        path = next((p for p, one in left.items() if _is_named(one, start)), None)
        if path is None:
            break
        _check_outcome(path, left[path], start)
        line.append(left.pop(path))
        start = line[-1].contract.start
    for path, one in left.items():
        raise _broken(
            path,
            "it is of no run in the line that the receipt goes on from",
            _named(start) if start is not None else "none: the first run of the line began anew",
            f"receipt {one.head}, model {one.model_digest or 'none'}",
        )
    return tuple(line)


def _verified(path: Path, verify: Callable[[Path], Findings]) -> Findings:
    try:
        return verify(path)
    except ReceiptRefused as error:
        what = f"the receipt {path} of a run before is refused: {error.what}"
        raise ReceiptRefused.because_of(error, what, place=error.place) from error


def _is_named(one: Findings, start: StartSection) -> bool:
    if one.cluster is not None:
        return False  # it has no outcome that a run could start from
    if start.receipt is not None:
        return one.head == start.receipt
    return one.model_digest == start.model


def _check_outcome(path: Path, parent: Findings, start: StartSection) -> None:
    """Checks that the earlier run's outcome is what the next run started from."""
    before = parent.contract.start
    began = before.optimizers_began if before is not None else 0
    pairs = [
        ("model", start.model, parent.outcome.model_digest),
        ("contract", start.contract, parent.contract_digest),
        ("number of updates", str(start.step), str(parent.updates)),
    ]
    if start.state_digest is not None:
        kept = parent.outcome.optimizer_state or "none"
        pairs.append(("optimizer state", start.state_digest, kept))
        pairs.append(
            ("update of the optimizers' beginning", str(start.optimizers_began), str(began))
        )
    for what, expected, seen in pairs:
        if expected != seen:
            raise _broken(path, f"its {what} is not what the next run went on from", expected, seen)


def _named(start: StartSection) -> str:
    return f"receipt {start.receipt}" if start.receipt is not None else f"model {start.model}"


def _broken(path: Path, what: str, expected: str, seen: str) -> ReceiptRefused:
    return ReceiptRefused(
        f"the receipt {path} does not fit: {what}",
        expected,
        seen,
        place="the line of runs",
        remedy="give the receipts of the runs that this one went on from, each once",
    )
