"""Trains the models that a joint model is compared with, in the clear or privately by one party."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from coterie.contract import Contract, Node
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.examples import Examples, join_examples
from coterie.metrics.groups import Floats
from coterie.nodes.local import run_local
from coterie.ps.core.disclosure import Disclosure
from coterie.ps.core.schedule import Schedule
from coterie.runs.comparison_file import Comparison, Scored
from coterie.runs.events import Event
from coterie.runs.outcome import RunOutcome
from coterie.training.evaluation import ScoreSink


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """A model's scores of test rows.

    Attributes:
        logits: float32 [n].
        labels: float32 [n], 0 or 1.
    """

    logits: Floats
    labels: Floats


class ScoreKeeper:
    """Keeps the scores of data owners' test rows from ``run_local`` or a node."""

    def __init__(self) -> None:
        self._kept: dict[str, HeldOutScores] = {}

    def add(self, owner: str, split: str, logits: Floats, labels: Floats) -> None:
        """Takes an owner's scores; a repeated evaluation replaces them."""
        if split == "test":
            self._kept[owner] = HeldOutScores(logits, labels)

    def sink_of(self, owner: Node) -> ScoreSink:
        """The sink of an owner's scores."""
        return lambda split, logits, labels: self.add(owner.name, split, logits, labels)

    def of(self, owners: tuple[Node, ...]) -> HeldOutScores | None:
        """The owners' rows, one owner after the other; None if an owner's are missing."""
        found = [self._kept[owner.name] for owner in owners if owner.name in self._kept]
        if len(found) < len(owners):
            return None
        return HeldOutScores(
            np.concatenate([scores.logits for scores in found]),
            np.concatenate([scores.labels for scores in found]),
        )


def compare_in_the_clear(
    contract: Contract, data: Path, joint: RunOutcome, scores: HeldOutScores
) -> Comparison | None:
    """Trains on each company's data alone and on all data in one place; compares on all test rows.

    For public or synthetic data only, since it reads all parties' rows. "In one place" is one
    worker with the batches of all parties together. Ids that are rare in a party's own data stay
    rare.

    Args:
        contract: The joint contract, mode ``hfl``.
        data: Holds every party's prepared data set.
        joint: Result of the joint run.
        scores: The joint model's scores of all parties' test rows in contract order.

    Returns:
        None unless the test rows hold each class at least twice.

    Raises:
        CoterieError: A run failed.
    """
    owners = contract.data_owners()
    everybody = [
        open_dataset(data / node.party, contract.data, party=node.party) for node in owners
    ]
    test = join_examples([data_set.test for data_set in everybody])
    validation = join_examples([data_set.validation for data_set in everybody])

    def trained(kind: str, worker: Node, train: Examples, batch: int) -> Scored:
        # the server compares only the manifest's digest of the training part
        pooled = DataSet(everybody[0].manifest, train, validation, test)
        outcome, logits = _train_alone(contract, worker, pooled, batch)
        if kind == "pooled":
            return Scored("all data in one place", "pooled", outcome.examples, logits)
        return Scored(f"{worker.party} alone", "alone", outcome.examples, logits)

    batch = contract.training.batch
    scored = [Scored("joint", "joint", joint.examples, scores.logits)]
    together = _interleaved(contract, [data_set.train for data_set in everybody])
    scored.append(trained("pooled", owners[0], together, batch * len(owners)))
    scored += [
        trained("alone", worker, data_set.train, batch)
        for worker, data_set in zip(owners, everybody, strict=True)
    ]
    return Comparison.of(scored, scores.labels, scope="everybody")


def compare_privately(
    contract: Contract, worker: Node, data_set: DataSet, joint: HeldOutScores
) -> Comparison | None:
    """Trains a party's own model on its own data and compares on its own test rows. Sends nothing.

    Args:
        contract: The joint contract, mode ``hfl``.
        worker: The party's worker.
        data_set: The party's data.
        joint: The joint model's scores of the party's test rows.

    Returns:
        None unless the test rows hold ``limits.evaluation_minimum`` examples of each class, and at
        least two, since the comparison leaves the TEE.

    Raises:
        CoterieError: The training failed.
    """
    rule = Disclosure(contract.limits.evaluation_minimum, 1)
    positives = int((joint.labels == 1).sum())
    if not rule.allows([[positives, len(joint.labels) - positives]]).all():
        return None
    outcome, logits = _train_alone(contract, worker, data_set, contract.training.batch)
    scored = [
        Scored("joint", "joint", None, joint.logits),
        Scored(f"{worker.party} alone", "alone", outcome.examples, logits),
    ]
    return Comparison.of(scored, joint.labels, scope="own", party=worker.party)


def _train_alone(
    contract: Contract, worker: Node, data_set: DataSet, batch: int
) -> tuple[RunOutcome, Floats]:
    """Trains with one worker and a server in this process, without quorum and cap."""
    alone = contract.model_copy(
        update={
            "nodes": (*contract.by_role("ps"), worker),
            "training": contract.training.model_copy(update={"batch": batch, "party_weight": 1.0}),
            "limits": contract.limits.model_copy(update={"quorum": None, "grace_seconds": None}),
        }
    )
    keeper = ScoreKeeper()
    outcome = run_local(
        alone,
        lambda _: data_set,
        _ignore,
        scores_of=keeper.sink_of,
    )
    scores = keeper.of((worker,))
    if scores is None:  # run_local evaluates before it returns
        raise AssertionError
    return replace(outcome, times=()), scores.logits


def _interleaved(contract: Contract, parts: list[Examples]) -> Examples:
    """All examples in the order in which the joint run's steps train them."""
    schedule = Schedule.of(contract, [part.rows for part in parts])
    spans = [
        (examples, lane.span(step))
        for step in range(schedule.steps_per_epoch)
        for examples, lane in zip(parts, schedule.lanes, strict=True)
    ]
    words = np.concatenate([examples.some_words(span.start, span.stop) for examples, span in spans])
    words.setflags(write=False)
    return Examples(words, parts[0].data)


def _ignore(_event: Event) -> None:
    pass
