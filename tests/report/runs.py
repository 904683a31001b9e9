"""Directories as finished runs leave them, written by the code that writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from coterie.contract import Contract, canonical_json, load_contract
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.ps.core.disclosure import Disclosure
from coterie.runs import events
from coterie.runs.comparison_file import Comparison, Scored
from coterie.runs.evaluation_file import Evaluation
from coterie.runs.event_log import event_log
from coterie.runs.outcome import RunEnd, RunOutcome
from coterie.runs.result import RunResult, TransportName, result_of
from coterie.runs.result_file import write_result
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
HFL = load_contract(EXAMPLES / "hfl.toml")
SDT = load_contract(EXAMPLES / "sdt.toml")
MEASUREMENT = "ab" * 32
STEPS = 60


def scores(rows: int = 2000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < 0.25).astype(np.float64)
    return 0.9 * labels - 1.4 + random.standard_normal(rows), labels


def released() -> ReleasedScores:
    """What a server whose contract asks for 100 examples releases of these scores."""
    return ReleasedScores.of([ScoreHistogram.count(*scores())], Disclosure(100, 1).allows)


def outcome(contract: Contract, seconds: float = 4.25) -> RunOutcome:
    counts = released()
    times = [events.ServerTimes("ps0", STEPS, 0.11, 0.42, 0.13, 4.9)] + [
        events.WorkerTimes(node.name, STEPS, 0.01 * (i + 1), 1.4, 1.9, 0.21, 1.3)
        for i, node in enumerate(contract.by_role("worker"))
    ]
    return RunOutcome(
        steps=STEPS,
        model_step=STEPS,
        examples=51_429,
        seconds=seconds,
        train_loss=0.560712345,
        totals={"validation": counts, "test": counts},
        model_digest=bytes(range(32)),
        end=RunEnd("5e" * 32, "c4" * 32),
        times=tuple(times),
    )


def steps(count: int = STEPS) -> list[events.Event]:
    return [
        events.StepDone(step, count, 512, 0.5 + 1 / step, step / 20, 0.75 - 0.2 / step, 1, 512)
        for step in range(1, count + 1)
    ]


def attestations(contract: Contract) -> list[events.Event]:
    """What shard 0 tells of everybody else."""
    return [
        events.Attested("ps0", node.name, node.role, node.party, "UpToDate", MEASUREMENT)
        for node in contract.nodes
        if node.name != "ps0"
    ]


def write_run(
    folder: Path,
    contract: Contract = HFL,
    transport: TransportName = "ra-tls",
    *,
    more: Iterable[events.Event] = (),
    seconds: float = 4.25,
) -> RunResult:
    """A directory of ``coterie run``: the server's log lies in the server's folder."""
    lead = folder / "nodes" / "ps0"
    told = [*attestations(contract)] if transport == "ra-tls" else []
    with event_log(lead) as log:
        for event in (*told, *steps(), *more):
            log(event)
    finished = outcome(contract, seconds)
    result = result_of(finished, contract, transport)
    Evaluation.of(finished).write(lead)
    (folder / "contract.json").write_bytes(canonical_json(contract))
    write_result(folder, result)
    return result


def comparison() -> Comparison:
    logits, labels = scores()
    noise = np.random.default_rng(4).standard_normal((5, len(labels)))
    scored = [Scored("joint", "joint", 51_429, logits)]
    scored.append(Scored("all data in one place", "pooled", 51_429, logits + 0.01 * noise[0]))
    scored += [
        Scored(f"{party} alone", "alone", 12_857, logits + 0.9 * noise[i])
        for i, party in enumerate(("acme", "bolt", "corn", "dune"), 1)
    ]
    found = Comparison.of(scored, labels, scope="everybody")
    assert found is not None
    return found
