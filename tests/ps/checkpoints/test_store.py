"""Checkpoints: incremental, whole and of this run, or refused; nothing older in their place."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie.contract import Contract, contract_digest
from coterie.errors import CheckpointDamaged, CoterieError, EnvironmentUnfit
from coterie.ps.aggregation import Gradients
from coterie.ps.checkpoints import CheckpointStore, DurableCheckpoint, RunRecord, WorkerAbsence
from coterie.ps.membership import TrainingData
from coterie.ps.state import ModelState
from coterie.sealing.casing import SealedCasing
from tests.ps.conftest import digest_of, small_contract

RECORD = RunRecord(
    data_sets={"w0": TrainingData(8, "ab" * 32), "w1": TrainingData(5, "cd" * 32)},
    absences=(WorkerAbsence(worker="w1", start=3, stop=5), WorkerAbsence(worker="w0", start=6)),
)
KINDS = [
    ("sgd", "sgd"),
    ("adagrad", "adagrad"),
    ("adam", "lazy_adam"),
    ("momentum", "rowwise_adagrad"),
]


def big(dense: str = "adagrad", rows: str = "rowwise_adagrad", **options: int) -> Contract:
    small = small_contract(dense={"kind": dense}, rows={"kind": rows}, **options)  # type: ignore[arg-type]
    data = small.data.model_copy(update={"column_rows": {}, "rows": 300})
    return small.model_copy(update={"data": data})


class Opened:
    """A store and what it told; ``sealed`` is set for every test in turn."""

    sealed = False

    def __init__(
        self, directory: Path, contract: Contract, shard: int = 0, shards: int = 1
    ) -> None:
        digest = contract_digest(contract)
        casing = SealedCasing(digest[::-1], digest, (shard, shards)) if self.sealed else None
        self.durable: list[DurableCheckpoint] = []
        self.failures: list[CoterieError] = []
        self.store = CheckpointStore(
            directory,
            digest,
            shard=shard,
            shards=shards,
            casing=casing,
            on_durable=self.durable.append,
            on_failure=self.failures.append,
        )

    def save(self, state: ModelState) -> DurableCheckpoint:
        self.store.save(state.snapshot(), RECORD)
        self.store.flush()
        return self.durable[-1]


@pytest.fixture(autouse=True, params=["open", "sealed"], scope="module")
def casing(request: pytest.FixtureRequest) -> Iterator[None]:
    Opened.sealed = request.param == "sealed"
    yield
    Opened.sealed = False


def train(state: ModelState, seed: int, rows: int = 20) -> None:
    random = np.random.default_rng(seed)
    ids = np.sort(random.choice(900, rows, replace=False)).astype(np.int32)
    values = random.normal(size=(rows, 2)).astype(np.float32)
    dense = random.normal(size=15).astype(np.float32)
    state.apply(Gradients(4, 1.5, dense, ids, values), first_of_epoch=seed % 5 == 0)


@pytest.mark.parametrize(("dense", "rows"), KINDS)
def test_a_chain_of_increments_restores_the_very_same_state(
    dense: str, rows: str, tmp_path: Path
) -> None:
    contract = big(dense, rows)
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    for step in range(12):
        train(state, step, rows=1 + step * 7 % 30)
        saved = opened.save(state)
    opened.store.close()
    again = Opened(tmp_path, contract)
    assert again.store.available()[-1] == saved == DurableCheckpoint(12, saved.digest)
    back = ModelState(contract)
    assert again.store.restore(12, back) == RECORD
    assert digest_of(contract, back) == digest_of(contract, state)
    for seed in (100, 101):
        train(state, seed)
        train(back, seed)
    assert digest_of(contract, back) == digest_of(contract, state)
    assert (back.step, back.epoch_loss, back.epoch_examples) == (
        14,
        state.epoch_loss,
        state.epoch_examples,
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=12))
def test_merging_loses_nothing_and_keeps_few_files(sizes: list[int], tmp_path: Path) -> None:
    folder = tmp_path / "x"
    shutil.rmtree(folder, ignore_errors=True)
    contract = big()
    state, opened = ModelState(contract), Opened(folder, contract)
    for seed, size in enumerate(sizes):
        train(state, seed, size)
        opened.save(state)
        opened.store.retire(state.step)
    train(state, 99, 1)
    opened.save(state)
    opened.store.close()
    back = ModelState(contract)
    Opened(folder, contract).store.restore(state.step, back)
    assert digest_of(contract, back) == digest_of(contract, state)
    rows = state.table.trained_rows()
    assert back.table.state_of(rows).tobytes() == state.table.state_of(rows).tobytes()
    assert len(list(folder.glob("segment-*.bin"))) <= 12
    assert not list(folder.glob("*.partial"))


def test_an_increment_holds_only_the_rows_that_were_touched(tmp_path: Path) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    train(state, 0, rows=800)
    opened.save(state)
    (first,) = tmp_path.glob("segment-*.bin")
    train(state, 1, rows=3)
    opened.save(state)
    opened.store.close()
    (second,) = set(tmp_path.glob("segment-*.bin")) - {first}
    assert second.stat().st_size < first.stat().st_size / 10


def test_older_checkpoints_stay_until_they_are_retired(tmp_path: Path) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    states = {}
    for step in range(1, 6):
        train(state, step)
        opened.save(state)
        states[step] = digest_of(contract, state)
    assert [found.step for found in opened.store.available()] == [1, 2, 3, 4, 5]
    opened.store.retire(4)
    train(state, 6)
    opened.save(state)
    opened.store.close()
    again = Opened(tmp_path, contract)
    assert [found.step for found in again.store.available()] == [4, 5, 6]
    back = ModelState(contract)
    again.store.restore(4, back)
    assert digest_of(contract, back) == states[4]
    assert [found.step for found in again.store.available()] == [4], "newer ones are of a lost life"
    assert [path.name[:17] for path in tmp_path.glob("step-*")] == ["step-000000000004"]


def saved_once(tmp_path: Path) -> tuple[Contract, Path]:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path / "good", contract)
    train(state, 0)
    opened.save(state)
    opened.store.close()
    return contract, tmp_path / "good"


def refused(folder: Path, contract: Contract) -> CheckpointDamaged:
    with pytest.raises(CheckpointDamaged) as refusal:
        Opened(folder, contract).store.restore(1, ModelState(contract))
    assert refusal.value.remedy
    return refusal.value


@pytest.mark.parametrize("kind", ["step-*.json", "segment-*.bin"])
def test_every_torn_file_is_refused(kind: str, tmp_path: Path) -> None:
    contract, good = saved_once(tmp_path)
    (path,) = good.glob(kind)
    whole = path.read_bytes()
    for end in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:end])
        refused(good, contract)
    path.write_bytes(whole + b"\0")
    refused(good, contract)
    path.unlink()
    if kind == "segment-*.bin":
        refused(good, contract)


@pytest.mark.parametrize("kind", ["step-*.json", "segment-*.bin"])
def test_every_altered_byte_is_refused(kind: str, tmp_path: Path) -> None:
    contract, good = saved_once(tmp_path)
    (path,) = good.glob(kind)
    whole = path.read_bytes()
    for place in range(0, len(whole), 13):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        refused(good, contract)


def test_a_renamed_manifest_is_refused(tmp_path: Path) -> None:
    contract, good = saved_once(tmp_path)
    (path,) = good.glob("step-*.json")
    path.rename(good / path.name.replace("000001-", "000002-"))
    expected = "what was sealed" if Opened.sealed else "one checkpoint of step 2"
    assert expected in refused(good, contract).expected


def test_checkpoints_of_another_contract_or_shard_are_refused(tmp_path: Path) -> None:
    contract, good = saved_once(tmp_path)
    other = big(seed=8)
    with pytest.raises(CheckpointDamaged) as refusal:
        Opened(good, other)
    if Opened.sealed:
        assert refusal.value.expected.endswith(f"set {contract_digest(other).hex()}")
        assert refusal.value.seen == f"set {contract_digest(contract).hex()}"
    else:
        assert refusal.value.expected == f"contract {contract_digest(other).hex()}, shard 0 of 1"
    with pytest.raises(CheckpointDamaged) as refusal:
        Opened(good, contract, shard=1, shards=2)
    if Opened.sealed:
        assert refusal.value.seen == "another chunk 0"
    else:
        assert refusal.value.seen == f"contract {contract_digest(contract).hex()}, shard 0 of 1"


def test_half_written_files_are_cleared_away(tmp_path: Path) -> None:
    contract, good = saved_once(tmp_path)
    for name in ("segment.partial", "step-000000000002-x.json.partial"):
        (good / name).write_bytes(b"half")
    Opened(good, contract).store.restore(1, ModelState(contract))
    assert not list(good.glob("*.partial"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path / "folder", contract)
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    train(state, 0)
    opened.store.save(state.snapshot(), RECORD)
    opened.store.close()
    (failure,) = opened.failures
    assert isinstance(failure, EnvironmentUnfit)
    assert failure.what == "the checkpoint of step 1 cannot be written"
    assert opened.durable == []


def test_notes_are_kept_and_forgotten(tmp_path: Path) -> None:
    contract = big()
    store = Opened(tmp_path, contract).store
    store.put_note("report-w0", b"counts")
    store.put_note("left-w0", b"")
    store.put_note("report-w0", b"other counts")
    again = Opened(tmp_path, contract).store
    assert again.notes() == {"left-w0": b"", "report-w0": b"other counts"}
    again.forget_notes()
    assert Opened(tmp_path, contract).store.notes() == {}


@pytest.mark.parametrize("damage", ["altered", "torn", "renamed", "other contract"])
def test_damaged_notes_are_refused(damage: str, tmp_path: Path) -> None:
    contract = big()
    Opened(tmp_path, contract).store.put_note("report-w0", b"counts")
    path = tmp_path / "note-report-w0.bin"
    octets = path.read_bytes()
    if damage == "altered":
        path.write_bytes(octets[:-40] + bytes([octets[-40] ^ 1]) + octets[-39:])
    elif damage == "torn":
        path.write_bytes(octets[:-1])
    elif damage == "renamed":
        path.rename(tmp_path / "note-report-w1.bin")
    else:
        contract = big(seed=8)
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run"):
        Opened(tmp_path, contract).store.notes()


WRITER = """
import sys
from pathlib import Path
from coterie.ps.state import ModelState
from tests.ps.checkpoints.test_store import Opened, big, train
Opened.sealed = sys.argv[2] == "sealed"
contract = big()
state, opened = ModelState(contract), Opened(Path(sys.argv[1]), contract)
for step in range(10_000):
    train(state, step)
    print(opened.save(state).step, flush=True)
    opened.store.retire(state.step - 2)
"""


@pytest.mark.parametrize("lines", [1, 7, 20])
def test_a_killed_writer_leaves_what_it_announced(lines: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "sealed" if Opened.sealed else "open"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout is not None
    for _ in range(lines):
        announced = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    contract, state = big(), ModelState(big())
    newest = Opened(tmp_path, contract).store.available()[-1]
    assert newest.step >= announced
    back = ModelState(contract)
    Opened(tmp_path, contract).store.restore(newest.step, back)
    for step in range(newest.step):
        train(state, step)
    assert digest_of(contract, back) == digest_of(contract, state)
