"""A small experiment's results, for tests of the file and the page."""

from __future__ import annotations

from datetime import UTC, datetime

from coterie.paper.plan import Case, cases
from coterie.paper.results import CaseResult, CurvePoint, DataUsed, Measured, PaperResults, Quality


def measured(case: Case, seconds: tuple[float, ...], *, auc: float | None = 0.75) -> Measured:
    points = [
        CurvePoint(examples=1000 * i, loss=0.6 - 0.001 * i, accuracy=0.7 + 0.001 * i)
        for i in range(1, 40)
    ]
    low, high = (None, None) if auc is None else (auc - 0.01, auc + 0.01)
    return Measured(
        seconds=seconds,
        curve=tuple(points),
        quality=Quality(auc=auc, auc_low=low, auc_high=high, log_loss=0.48, accuracy=0.78),
        model_digest="ab" * 32 if case.engine == "coterie" else None,
    )


def results(*, name: str = "sample.tsv", auc: float | None = 0.75) -> PaperResults:
    return PaperResults(
        version="0.1.0",
        finished=datetime(2026, 11, 30, 12, 0, tzinfo=UTC),
        machine={"processor": "a processor", "cores": "2"},
        data=DataUsed(
            name=name, sha256="cd" * 32, synthetic=False, rows=4000, train=3428, test=286
        ),
        table_rows=100_000,
        epochs=1,
        turns=2,
        seconds=600.0,
        cases=tuple(
            CaseResult(
                scheme=case.scheme,
                setting=case.setting,
                engine=case.engine,
                synchronous=case.synchronous,
                steps=39,
                native=measured(case, (10.0, 20.0), auc=auc),
                simulated=measured(case, (12.0, 30.0), auc=auc),
            )
            for case in cases()
        ),
    )
