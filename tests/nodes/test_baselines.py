"""Models are compared with the joint one on the same rows: in the clear, or privately by a party."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, Node, parse_contract
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.examples import Examples
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from coterie.errors import ContractInvalid, DataError, OutputInUse
from coterie.metrics.binary import roc_auc
from coterie.metrics.histogram import MAX_GROUPS, ScoreHistogram
from coterie.nodes.baselines import HeldOutScores, ScoreKeeper, _interleaved, compare_privately
from coterie.nodes.launch import run_in_process
from coterie.nodes.local import run_local
from coterie.nodes.options import NodeOptions
from coterie.nodes.process import run_node
from coterie.ps.core.schedule import Schedule
from coterie.report.record import read_run
from coterie.runs import events
from coterie.runs.comparison_file import Comparison
from coterie.runs.result import RunResult
from tests.system.conftest import contract_text

ROWS = 2389  # 1,024 to train on for each of two companies: sixteen batches of 64
CONTRACT = parse_contract(contract_text("hfl", ("acme", "bolt", "corn")).encode(), "small")
OWNERS = CONTRACT.data_owners()


def quiet(_event: events.Event) -> None:
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    synthesize(folder / "raw.tsv", rows=ROWS, seed=1)
    prepare(folder / "raw.tsv", folder / "prepared", CONTRACT, deal="round-robin")
    return folder / "prepared"


@dataclass(frozen=True)
class Finished:
    """A run in this process and what it left."""

    folder: Path
    result: RunResult
    comparison: Comparison


@pytest.fixture(scope="module")
def local(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("local") / "run"
    result = run_in_process(CONTRACT, data, quiet, out=folder, compare=True)
    comparison = Comparison.read(folder)
    assert comparison is not None
    return Finished(folder, result, comparison)


def joint_scores(contract: Contract, data: Path) -> ScoreKeeper:
    keeper = ScoreKeeper()
    run_local(
        contract,
        lambda node: open_dataset(data / node.party, contract.data, party=node.party),
        quiet,
        scores_of=keeper.sink_of,
    )
    return keeper


@pytest.mark.tensorflow
def test_who_has_all_data_on_one_machine_is_told_of_each_party_s_however_few(data: Path) -> None:
    limits = CONTRACT.limits.model_copy(update={"evaluation_minimum": 100_000})
    contract = CONTRACT.model_copy(update={"limits": limits})
    result = run_in_process(contract, data, quiet, out=None, compare=False)
    assert set(result.by_party) == {"acme", "bolt", "corn"}
    assert all(one.log_loss is not None for one in result.by_party.values())


@pytest.mark.tensorflow
def test_every_company_alone_and_all_data_are_compared_with_the_joint_model(
    local: Finished,
) -> None:
    compared = local.comparison
    assert [(model.name, model.kind) for model in compared.models] == [
        ("joint", "joint"),
        ("all data in one place", "pooled"),
        ("acme alone", "alone"),
        ("bolt alone", "alone"),
        ("corn alone", "alone"),
    ]
    joint, pooled, *alone = compared.models
    assert joint.examples == pooled.examples == local.result.examples
    assert sum(model.examples or 0 for model in alone) == local.result.examples
    assert (compared.scope, compared.party) == ("everybody", None)
    assert local.result.test_auc == joint.auc, "exactly"
    for model in compared.models[1:]:
        assert model.gain == pytest.approx(joint.auc - model.auc)
        assert model.gain_low is not None
        assert model.gain_high is not None
        assert model.gain_low <= joint.auc - model.auc <= model.gain_high


@pytest.mark.tensorflow
def test_all_data_in_one_place_trains_the_joint_model_but_for_the_order_of_sums(
    local: Finished,
) -> None:
    joint, pooled, *_ = local.comparison.models
    assert joint.auc == pytest.approx(pooled.auc, abs=0.02)


@pytest.mark.tensorflow
def test_a_run_in_this_process_leaves_all_that_a_report_is_made_of(local: Finished) -> None:
    run = read_run(local.folder)
    assert run.result == local.result
    assert run.stamp == "LOCAL"
    assert run.comparison == local.comparison
    assert len(run.curve) == local.result.steps
    counts = run.evaluation.test
    assert counts is not None
    metrics = counts.metrics()
    assert (metrics.auc, metrics.log_loss) == (local.result.test_auc, local.result.test_logloss)
    assert metrics.examples == local.comparison.test_examples


@pytest.mark.tensorflow
def test_a_directory_that_is_in_use_is_left_as_it_is(local: Finished, data: Path) -> None:
    before = (local.folder / "result.json").read_bytes()
    assert run_in_process(CONTRACT, data, quiet, out=local.folder) == local.result
    epochs = CONTRACT.training.model_copy(update={"epochs": 5})
    with pytest.raises(OutputInUse):
        run_in_process(
            CONTRACT.model_copy(update={"training": epochs}), data, quiet, out=local.folder
        )
    assert (local.folder / "result.json").read_bytes() == before


@pytest.mark.tensorflow
def test_the_scores_of_an_evaluation_are_those_that_were_counted(
    local: Finished, data: Path
) -> None:
    scores = joint_scores(CONTRACT, data).of(OWNERS)
    assert scores is not None
    exact = ScoreHistogram.count(scores.logits, scores.labels).metrics()
    assert exact.examples == local.comparison.test_examples
    assert exact.auc == local.comparison.models[0].auc == local.result.test_auc
    assert exact.log_loss == pytest.approx(local.result.test_logloss)
    assert exact.accuracy == local.result.test_accuracy


@pytest.mark.tensorflow
def test_in_one_process_every_score_counts_however_many_there_are(data: Path) -> None:
    """Over a network more than 32,768 scores go in groups, and the AUC has an error."""
    random = np.random.default_rng(0)

    def with_many_test_rows(node: Node) -> DataSet:
        found = open_dataset(data / node.party, CONTRACT.data, party=node.party)
        if node != OWNERS[0]:
            return found
        words = np.tile(found.train.some_words(0, 200), (500, 1))
        dense = random.random((100_000, len(CONTRACT.data.numeric)), np.float32)
        words[:, 1 : 1 + dense.shape[1]] = dense.view(np.int32)
        return replace(found, test=Examples(words, CONTRACT.data))

    keeper = ScoreKeeper()
    outcome = run_local(CONTRACT, with_many_test_rows, quiet, scores_of=keeper.sink_of)
    scores = keeper.of(OWNERS)
    assert scores is not None
    assert len(np.unique(scores.logits)) > MAX_GROUPS
    metrics = outcome.totals["test"].metrics()
    assert (metrics.auc, metrics.auc_error) == (roc_auc(scores.logits, scores.labels), 0)


@pytest.mark.tensorflow
def test_a_party_compares_on_its_own_rows_alone(data: Path) -> None:
    worker = OWNERS[1]
    data_set = open_dataset(data / "bolt", CONTRACT.data, party="bolt")
    scores = joint_scores(CONTRACT, data).of((worker,))
    assert scores is not None
    private = compare_privately(CONTRACT, worker, data_set, scores)
    assert private is not None
    assert (private.scope, private.party) == ("own", "bolt")
    assert private.test_examples == data_set.test.rows == len(scores.labels)
    joint, alone = private.models
    assert joint.auc == roc_auc(scores.logits, scores.labels)
    assert joint.examples is None, "how much the others trained on is not told"
    assert (alone.name, alone.examples) == ("bolt alone", data_set.train.rows)


def test_few_test_rows_of_a_class_are_not_compared(data: Path) -> None:
    data_set = open_dataset(data / "bolt", CONTRACT.data, party="bolt")
    labels = (np.arange(100) < 9).astype(np.float32)
    for few in (labels, 1 - labels):
        scores = HeldOutScores(np.linspace(-1, 1, 100, dtype=np.float32), few)
        assert compare_privately(CONTRACT, OWNERS[1], data_set, scores) is None


@pytest.mark.tensorflow
def test_quorum_and_caps_of_the_joint_contract_do_not_hinder_one_party(data: Path) -> None:
    limits = CONTRACT.limits.model_copy(update={"quorum": 2, "grace_seconds": 5.0})
    training = CONTRACT.training.model_copy(update={"party_weight": 0.5})
    strict = CONTRACT.model_copy(update={"limits": limits, "training": training})
    data_set = open_dataset(data / "acme", CONTRACT.data, party="acme")
    scores = joint_scores(CONTRACT, data).of(OWNERS[:1])
    assert scores is not None
    one = compare_privately(CONTRACT, OWNERS[0], data_set, scores)
    other = compare_privately(strict, OWNERS[0], data_set, scores)
    assert one == other


def test_interleaving_keeps_every_example_once_and_in_the_order_of_the_batches(
    data: Path,
) -> None:
    shards = [
        open_dataset(data / node.party, CONTRACT.data, party=node.party).train for node in OWNERS
    ]
    together = _interleaved(CONTRACT, shards)
    assert together.rows == sum(shard.rows for shard in shards)
    schedule = Schedule.of(CONTRACT, [shard.rows for shard in shards])
    begin = 0
    for step in range(schedule.steps_per_epoch):
        for shard, lane in zip(shards, schedule.lanes, strict=True):
            span = lane.span(step)
            rows = together.words[begin : begin + len(span)]
            assert (rows == shard.words[span.start : span.stop]).all()
            begin += len(span)
    assert begin == together.rows


def test_scores_of_an_owner_that_told_none_are_missing() -> None:
    keeper = ScoreKeeper()
    keeper.add("acme-worker", "validation", np.zeros(3), np.zeros(3))
    assert keeper.of(OWNERS[:1]) is None
    keeper.add("acme-worker", "test", np.zeros(3), np.zeros(3))
    keeper.add("acme-worker", "test", np.ones(2), np.ones(2))
    found = keeper.of(OWNERS[:1])
    assert isinstance(found, HeldOutScores)
    assert found.logits.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("node", "out", "seen"),
    [
        ("ps0", True, "a ps of a contract of mode hfl, a directory"),
        ("acme-worker", False, "a worker of a contract of mode hfl, no directory"),
    ],
)
def test_who_has_nothing_to_compare_is_told_before_it_starts(
    node: str, out: bool, seen: str, tmp_path: Path
) -> None:
    entry = next(found for found in CONTRACT.nodes if found.name == node)
    heard: list[events.Event] = []
    with pytest.raises(ContractInvalid, match="nothing to compare") as refusal:
        run_node(
            CONTRACT,
            entry,
            NodeOptions(out=tmp_path if out else None, compare_alone=True),
            lambda *_: pytest.fail("no connection is made"),
            "ra-tls",
            on_event=heard.append,
        )
    assert refusal.value.seen == seen
    assert heard == []


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "null"])
def test_a_comparison_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(DataError, match="holds no comparison of this version"):
        Comparison.read(tmp_path)


@pytest.mark.tensorflow
def test_a_comparison_is_read_as_it_was_written(local: Finished, tmp_path: Path) -> None:
    assert Comparison.read(tmp_path) is None
    local.comparison.write(tmp_path)
    assert Comparison.read(tmp_path) == local.comparison
    assert json.loads((tmp_path / "comparison.json").read_text())["models"][0]["gain"] is None
