"""Checkpoints: incremental, whole and of this run, or refused; nothing older in their place."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

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
from tests.disk import watched
from tests.ps.checkpoints.test_segments import Worn
from tests.ps.conftest import digest_of, small_contract

RUN, OTHER_RUN = "5e" * 32, "07" * 32
RECORD = RunRecord(
    run_id=RUN,
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
    present: ClassVar[list[Opened]] = []

    def __init__(
        self, directory: Path, contract: Contract, shard: int = 0, shards: int = 1
    ) -> None:
        digest = contract_digest(contract)
        casing = SealedCasing(digest[::-1], digest, (shard, shards)) if self.sealed else None
        self.durable: list[DurableCheckpoint] = []
        self.failures: list[CoterieError] = []
        self.heard: Callable[[DurableCheckpoint], object] = lambda _: None
        self.store = CheckpointStore(
            directory,
            digest,
            shard=shard,
            shards=shards,
            casing=casing,
            on_durable=self._told,
            on_failure=self.failures.append,
        )
        self.present.append(self)

    def _told(self, found: DurableCheckpoint) -> None:
        self.heard(found)
        self.durable.append(found)

    def save(self, state: ModelState, run_id: str = RUN) -> DurableCheckpoint:
        if self.store.run_id != run_id:
            self.store.begin(run_id)
        self.store.save(state.snapshot(), RECORD.model_copy(update={"run_id": run_id}))
        self.store.flush()
        return self.durable[-1]


@pytest.fixture(autouse=True, params=["open", "sealed"], scope="module")
def casing(request: pytest.FixtureRequest) -> Iterator[None]:
    Opened.sealed = request.param == "sealed"
    yield
    Opened.sealed = False
    while Opened.present:
        Opened.present.pop().store.close()


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
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=10))
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


def test_the_newest_checkpoint_is_never_retired(tmp_path: Path) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    opened.store.retire(99)
    for step in (1, 2):
        train(state, step)
        opened.save(state)
        assert [found.step for found in opened.store.available()] == [step]


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


def test_a_checkpoint_that_lacks_a_segment_is_not_even_offered(tmp_path: Path) -> None:
    contract, good = saved_once(tmp_path)
    for path in good.glob("segment-*.bin"):
        path.unlink()
    with pytest.raises(CheckpointDamaged) as refusal:
        Opened(good, contract)
    assert refusal.value.expected.startswith("segment ")
    assert refusal.value.seen == "none"


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


def test_a_disk_that_does_not_keep_what_it_was_given_is_told(tmp_path: Path) -> None:
    """The run must end: what cannot be read back cannot be resumed from."""
    contract, failures = big(), list[CoterieError]()
    durable: list[DurableCheckpoint] = []
    store = CheckpointStore(
        tmp_path,
        contract_digest(contract),
        casing=Worn(place=30),
        on_durable=durable.append,
        on_failure=failures.append,
    )
    store.begin(RUN)
    state = ModelState(contract)
    train(state, 0)
    store.save(state.snapshot(), RECORD)
    store.close()
    (failure,) = failures
    assert isinstance(failure, CheckpointDamaged)
    assert "segment.partial is damaged" in failure.what
    assert durable == []


def ended(folder: Path, contract: Contract, run_id: str = RUN, seed: int = 0) -> CheckpointStore:
    """A run's two checkpoints, and notes of its end."""
    state, opened = ModelState(contract), Opened(folder, contract)
    for step in (1, 2):
        train(state, seed + step)
        opened.save(state, run_id)
    opened.store.put_note("report-w0", b"counts")
    opened.store.put_note("left-w0", b"")
    opened.store.put_note("report-w0", b"other counts")
    return opened.store


def test_notes_are_kept_with_the_checkpoint_of_the_end(tmp_path: Path) -> None:
    contract = big()
    ended(tmp_path, contract)
    again = Opened(tmp_path, contract).store
    kept = {"left-w0": b"", "report-w0": b"other counts"}
    assert again.notes() == kept
    again.restore(2, ModelState(contract))
    assert again.notes() == kept
    again.restore(1, ModelState(contract))
    assert again.notes() == {}, "the end that they were made at is forgotten"
    assert not list(tmp_path.glob("note-*"))


def test_a_run_that_begins_anew_counts_nothing_of_the_one_before(tmp_path: Path) -> None:
    contract = big()
    ended(tmp_path, contract)
    before = {path.name for path in tmp_path.glob("step-*")}
    opened = Opened(tmp_path, contract)
    opened.store.begin(OTHER_RUN)
    assert (opened.store.available(), opened.store.notes()) == ((), {})
    assert {path.name for path in tmp_path.glob("step-*")} == before, "nodes may yet refuse"
    state = ModelState(contract)
    train(state, 7)
    saved = opened.save(state, OTHER_RUN)
    opened.store.close()
    again = Opened(tmp_path, contract)
    assert again.store.available() == (saved,)
    assert again.store.run_id == OTHER_RUN
    back = ModelState(contract)
    again.store.restore(1, back)
    assert digest_of(contract, back) == digest_of(contract, state)


def test_checkpoints_of_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    contract = big()
    ended(tmp_path / "one", contract)
    state, other = ModelState(contract), Opened(tmp_path / "two", contract)
    for step in (1, 2, 3):
        train(state, step)
        other.save(state, OTHER_RUN)
    other.store.close()
    for path in (*(tmp_path / "two").glob("step-*3-*"), *(tmp_path / "two").glob("segment-*")):
        shutil.copy(path, tmp_path / "one")
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        Opened(tmp_path / "one", contract)
    assert refused.value.expected == "checkpoints of one run"
    assert refused.value.seen == f"of the runs {OTHER_RUN}, {RUN}"


def test_notes_of_another_run_are_refused(tmp_path: Path) -> None:
    """Contract and key are the same: each note names its run."""
    contract = big()
    ended(tmp_path / "one", contract)
    ended(tmp_path / "two", contract, OTHER_RUN)
    shutil.copy(tmp_path / "two" / "note-report-w0.bin", tmp_path / "one")
    with pytest.raises(
        CheckpointDamaged, match=r"note-report-w0.bin is .* of another run"
    ) as refused:
        Opened(tmp_path / "one", contract).store.notes()
    assert refused.value.expected == f"a note of run {RUN}"
    assert refused.value.seen == f"one of run {OTHER_RUN}"


def test_notes_without_any_checkpoint_are_refused(tmp_path: Path) -> None:
    contract = big()
    ended(tmp_path / "one", contract)
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "note-report-w0.bin", tmp_path / "two")
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        Opened(tmp_path / "two", contract).store.notes()
    assert refused.value.expected == "no note without a checkpoint"
    assert refused.value.seen == f"one of run {RUN}"


def test_notes_of_another_end_of_the_same_run_are_refused(tmp_path: Path) -> None:
    contract = big()
    ended(tmp_path / "one", contract)
    newest = ended(tmp_path / "two", contract, seed=50).available()[-1]
    shutil.copy(tmp_path / "two" / "note-report-w0.bin", tmp_path / "one")
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        Opened(tmp_path / "one", contract).store.notes()
    assert refused.value.expected == f"its checkpoint, SHA-256 {newest.digest.hex()}"
    assert refused.value.seen == "others"


def test_names_of_manifests_do_not_tell_what_is_in_them(tmp_path: Path) -> None:
    contract = big()
    store = ended(tmp_path, contract)
    names = " ".join(path.name for path in tmp_path.iterdir())
    told = [found.digest.hex() in names for found in store.available()]
    assert told == [not Opened.sealed] * 2


def test_a_manifest_under_another_name_is_refused(tmp_path: Path) -> None:
    contract = big()
    ended(tmp_path, contract)
    path = max(tmp_path.glob("step-*"))
    renamed = path.with_name(f"{path.name[:18]}{bytes(32).hex()}.json")
    path.rename(renamed)
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        Opened(tmp_path, contract)
    assert renamed.name in refused.value.expected


@pytest.mark.parametrize("damage", ["altered", "torn", "renamed", "other contract"])
def test_damaged_notes_are_refused(damage: str, tmp_path: Path) -> None:
    contract = big()
    ended(tmp_path, contract)
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


def test_what_was_announced_is_there_when_the_machine_stops_at_that_moment(tmp_path: Path) -> None:
    """Only what was synced is relied on: of the files, and of their names."""
    contract, state = big(), ModelState(big())
    expected: dict[int, bytes] = {}
    with watched(tmp_path / "folder") as disk:
        opened = Opened(tmp_path / "folder", contract)
        opened.heard = lambda found: disk.put_into(tmp_path / f"left-{found.step}")
        opened.store.begin(RUN)
        for step in range(1, 9):  # with merges between them
            train(state, step, rows=3 * step)
            expected[step] = digest_of(contract, state)
            opened.store.save(state.snapshot(), RECORD)
            opened.store.flush()
            opened.store.retire(step - 1)
        opened.store.put_note("report-w0", b"counts")
        disk.put_into(tmp_path / "left-at-the-end")
    assert opened.failures == []
    for step, digest in expected.items():
        back = ModelState(contract)
        Opened(tmp_path / f"left-{step}", contract).store.restore(step, back)
        assert digest_of(contract, back) == digest
    assert Opened(tmp_path / "left-at-the-end", contract).store.notes() == {"report-w0": b"counts"}


def test_no_stop_of_the_machine_leaves_checkpoints_of_two_runs(tmp_path: Path) -> None:
    """Between two syncs of a folder any of the changes may be on the disk, and any may not."""
    contract = big()
    ended(tmp_path, contract)
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    before = {path.name for path in tmp_path.glob("step-*")}
    with watched(tmp_path) as disk:
        train(state, 7)
        opened.save(state, OTHER_RUN)
    listings = [before] + [
        {name for name in listing if name.startswith("step-") and name.endswith(".json")}
        for listing in disk.listings
    ]
    assert listings[-1]
    assert not listings[-1] & before
    for earlier, later in itertools.pairwise(listings):
        runs = {name in before for name in earlier | later}
        assert len(runs) <= 1, (earlier, later)


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
