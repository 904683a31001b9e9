"""Checkpoints: incremental, whole and of this run, or refused; nothing older in their place."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
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
from coterie.ps.checkpoints.records import DurableCheckpoint, RunRecord
from coterie.ps.checkpoints.store import CheckpointStore
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.membership import TrainingData
from coterie.ps.core.state import ModelState
from coterie.runs.records import WorkerAbsence
from coterie.sealed.sealed_checkpoints import SealedFileCodec
from faults.disk import PowerCut, no_room
from tests.conftest import REPOSITORY
from tests.ps.checkpoints.test_segments import Worn
from tests.ps.conftest import digest_of, small_contract

ROOT = REPOSITORY
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
        casing = SealedFileCodec(digest[::-1], digest, (shard, shards)) if self.sealed else None
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

    def save(
        self, state: ModelState, run_id: str = RUN, *, kept_step: int = 0
    ) -> DurableCheckpoint:
        if self.store.run_id != run_id:
            self.store.begin(run_id)
        record = RECORD.model_copy(update={"run_id": run_id, "kept_step": kept_step})
        self.store.save(state.snapshot(), record)
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


@pytest.mark.long
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=10))
def test_merging_loses_nothing(sizes: list[int], tmp_path: Path) -> None:
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
    assert not list(folder.glob("*.partial"))


def test_the_number_of_segments_does_not_grow_with_the_number_of_steps(tmp_path: Path) -> None:
    """Their sizes at least double: of 900 rows in pieces of 20 or more there are at most six."""
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    for seed in range(30):
        train(state, seed)
        opened.save(state)
        opened.store.retire(state.step)
    opened.store.close()
    # Besides those there are the newest increment, and what it was merged into since.
    assert len(list(tmp_path.glob("segment-*.bin"))) <= 6 + 2


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


def trouble(opened: Opened) -> EnvironmentUnfit:
    """Waits until the writer has met the disk's refusal."""
    while (found := opened.store.trouble) is None:
        assert not opened.store.flush(0.01)
    return found


def test_a_folder_that_cannot_be_written_is_tried_again_until_it_can(tmp_path: Path) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path / "folder", contract)
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    train(state, 0)
    opened.store.begin(RUN)
    opened.store.save(state.snapshot(), RECORD)
    error = trouble(opened)
    assert error.what == f"the checkpoint of step 1 in {tmp_path / 'folder'} cannot be written"
    assert error.seen == os.strerror(errno.ENOENT)
    assert opened.store.writing
    assert opened.durable == []
    (tmp_path / "elsewhere").rename(tmp_path / "folder")
    opened.store.flush()
    assert opened.store.trouble is None
    assert [found.step for found in opened.durable] == [1]
    assert opened.failures == []
    restored = ModelState(contract)
    Opened(tmp_path / "folder", contract).store.restore(1, restored)
    assert digest_of(contract, restored) == digest_of(contract, state)


@pytest.mark.parametrize("octets", [0, 100, 500])
def test_a_full_disk_loses_nothing_that_was_durable_and_nothing_that_was_to_be(
    tmp_path: Path, octets: int
) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    train(state, 0)
    first = opened.save(state)
    train(state, 1)
    with no_room(octets):
        opened.store.save(state.snapshot(), RECORD)
        assert trouble(opened).seen == os.strerror(errno.EFBIG)
        assert opened.store.available() == (first,)
        assert not list(tmp_path.glob("*.partial")), "its room may be what is lacking"
    opened.store.flush()
    assert [found.step for found in opened.store.available()] == [1, 2]
    restored = ModelState(contract)
    Opened(tmp_path, contract).store.restore(2, restored)
    assert digest_of(contract, restored) == digest_of(contract, state)


def test_what_the_disk_does_not_take_is_given_up_when_the_run_ends(tmp_path: Path) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    (tmp_path / "segment.partial").mkdir()
    train(state, 0)
    opened.store.begin(RUN)
    opened.store.save(state.snapshot(), RECORD)
    assert trouble(opened).seen == os.strerror(errno.EISDIR)
    opened.store.close()
    assert (opened.durable, opened.failures, opened.store.writing) == ([], [], False)


def test_a_disk_that_does_not_give_a_manifest_back_is_named(tmp_path: Path) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    train(state, 0)
    opened.save(state)
    opened.store.close()
    (manifest,) = tmp_path.glob("step-*.json")
    manifest.unlink()
    manifest.symlink_to("/proc/self/mem")  # which gives EIO or EINVAL, as a broken disk does
    with pytest.raises(EnvironmentUnfit) as error:
        Opened(tmp_path, contract)
    assert error.value.what == f"{manifest} cannot be read"


def test_a_disk_that_does_not_give_a_segment_back_is_named(tmp_path: Path) -> None:
    contract = big()
    state, opened = ModelState(contract), Opened(tmp_path, contract)
    train(state, 0)
    opened.save(state)
    opened.store.close()
    (segment,) = tmp_path.glob("segment-*.bin")
    segment.unlink()
    segment.symlink_to("/proc/self/mem")
    with pytest.raises(EnvironmentUnfit) as error:
        Opened(tmp_path, contract).store.restore(1, ModelState(contract))
    assert error.value.what == f"{segment} cannot be read"


def test_something_else_in_a_partial_files_place_is_an_error_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "segment.partial").mkdir()
    with pytest.raises(EnvironmentUnfit, match="folder of checkpoints"):
        Opened(tmp_path, big())


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


def test_a_shard_that_is_lost_once_nobody_has_refused_holds_nothing_of_the_run_before(
    tmp_path: Path,
) -> None:
    """Another shard may hold a checkpoint of the new run by then."""
    contract = big()
    ended(tmp_path, contract)
    opened = Opened(tmp_path, contract)
    others = [opened.store.others]
    opened.store.begin(OTHER_RUN)
    others.append(opened.store.others)
    opened.store.drop_others()
    others.append(opened.store.others)
    assert others == [False, True, False]
    opened.store.close()
    again = Opened(tmp_path, contract)
    assert (again.store.available(), again.store.run_id) == ((), "")


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


def chained(folder: Path, contract: Contract, run_id: str = RUN, seed: int = 0) -> Path:
    """Three checkpoints of a run, none of them retired."""
    state, opened = ModelState(contract), Opened(folder, contract)
    for step in (1, 2, 3):
        train(state, seed + step)
        opened.save(state, run_id)
    opened.store.close()
    return folder


def test_each_manifest_names_the_one_before_it_and_the_first_one_the_run(tmp_path: Path) -> None:
    contract = big()
    if Opened.sealed:
        pytest.skip("the files are opened here")
    chained(tmp_path, contract)
    named = RUN
    for path in sorted(tmp_path.glob("step-*")):
        text = path.read_bytes()
        assert json.loads(text)["previous"] == named
        named = hashlib.sha256(text).hexdigest()


def test_a_folder_with_a_manifest_left_out_is_refused(tmp_path: Path) -> None:
    contract = big()
    chained(tmp_path, contract)
    one, two, _ = (found.digest.hex() for found in Opened(tmp_path, contract).store.available())
    (left_out,) = tmp_path.glob("step-*2-*")
    left_out.unlink()
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        Opened(tmp_path, contract)
    assert refused.value.expected == (
        f"before step 3 the checkpoint that it follows, SHA-256 {two}"
    )
    assert refused.value.seen == (
        f"one of step 1, SHA-256 {one}: one is missing, or they are of two incarnations"
    )


def test_a_folder_put_together_from_two_lives_of_a_run_is_refused(tmp_path: Path) -> None:
    contract = big()
    chained(tmp_path / "one", contract)
    chained(tmp_path / "two", contract, seed=50)
    for path in (*(tmp_path / "two").glob("step-*3-*"), *(tmp_path / "two").glob("segment-*")):
        shutil.copy(path, tmp_path / "one")
    (last,) = (
        p for p in (tmp_path / "one").glob("step-*3-*") if not (tmp_path / "two" / p.name).exists()
    )
    last.unlink()
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        Opened(tmp_path / "one", contract)
    assert refused.value.expected.startswith("before step 3 the checkpoint that it follows")
    assert refused.value.seen.startswith("one of step 2, SHA-256 ")


def test_the_best_model_stays_as_long_as_a_newer_checkpoint_names_it(tmp_path: Path) -> None:
    contract = big()
    opened, state = Opened(tmp_path, contract), ModelState(contract)
    values: dict[int, bytes] = {}
    for seed, kept_step in enumerate((0, 0, 2, 2, 2, 5, 5)):
        train(state, seed)
        values[state.step] = state.dense.tobytes()
        opened.save(state, kept_step=kept_step)
        opened.store.retire(state.step)
    opened.store.close()

    again = Opened(tmp_path, contract)
    assert [found.step for found in again.store.available()] == [5, 6, 7], "2 and 4 are gone"
    for step in (5, 6, 7):
        back = ModelState(contract)
        again.store.load(step, back)
        assert (back.step, back.dense.tobytes()) == (step, values[step])


def test_a_gap_behind_a_checkpoint_that_nobody_names_is_refused(tmp_path: Path) -> None:
    contract = big()
    opened, state = Opened(tmp_path, contract), ModelState(contract)
    for seed, kept_step in enumerate((0, 1, 1, 2)):
        train(state, seed)
        opened.save(state, kept_step=kept_step)
    opened.store.close()
    for gone in (2, 3):  # step 3 names 1 and step 4 names 2
        (path,) = tmp_path.glob(f"step-{gone:012d}-*")
        path.unlink()
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        Opened(tmp_path, contract)
    assert refused.value.expected.startswith("before step 4 the checkpoint that it follows")


def test_the_chain_goes_on_where_a_life_begins(tmp_path: Path) -> None:
    contract = big()
    chained(tmp_path, contract)
    opened, back = Opened(tmp_path, contract), ModelState(contract)
    opened.store.restore(2, back)
    train(back, 70)
    opened.save(back)
    opened.store.retire(2)
    train(back, 71)
    opened.save(back)
    opened.store.close()
    assert [found.step for found in Opened(tmp_path, contract).store.available()] == [2, 3, 4]


def test_manifests_of_another_format_are_refused_by_name(tmp_path: Path) -> None:
    contract = big()
    if Opened.sealed:
        pytest.skip("the files are written here")
    chained(tmp_path, contract)
    for path in tmp_path.glob("step-*"):
        fields = json.loads(path.read_bytes())
        path.unlink()
        del fields["previous"]
        text = json.dumps({**fields, "format": 3}).encode()
        name = f"step-{fields['step']:012d}-{hashlib.sha256(text).hexdigest()}.json"
        (tmp_path / name).write_bytes(text)
    with pytest.raises(CheckpointDamaged) as refused:
        Opened(tmp_path, contract)
    assert refused.value.expected.endswith(": a manifest, format 5")
    assert refused.value.seen == (
        "format 3, of another version of Coterie: finish the run with that version"
    )


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
    disk = PowerCut(tmp_path / "folder")
    with disk.watching():
        opened = Opened(disk.root, contract)
        opened.heard = lambda found: disk.image(tmp_path / f"left-{found.step}")
        opened.store.begin(RUN)
        for step in range(1, 9):  # with merges between them
            train(state, step, rows=3 * step)
            expected[step] = digest_of(contract, state)
            opened.store.save(state.snapshot(), RECORD)
            opened.store.flush()
            opened.store.retire(step - 1)
        opened.store.put_note("report-w0", b"counts")
        disk.image(tmp_path / "left-at-the-end")
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
    listings = [before]
    disk = PowerCut(tmp_path)
    disk.on_sync = lambda path: (
        None
        if path != tmp_path
        else listings.append(
            {name for name in disk.left() if name.startswith("step-") and name.endswith(".json")}
        )
    )
    with disk.watching():
        train(state, 7)
        opened.save(state, OTHER_RUN)
    assert listings[-1]
    assert not listings[-1] & before
    for earlier, later in itertools.pairwise(listings):
        runs = {name in before for name in earlier | later}
        assert len(runs) <= 1, (earlier, later)


WRITER = """
import sys
from pathlib import Path
from coterie.ps.core.state import ModelState
from tests.ps.checkpoints.test_store import Opened, big, train
Opened.sealed = sys.argv[2] == "sealed"
contract = big()
state, opened = ModelState(contract), Opened(Path(sys.argv[1]), contract)
for step in range(10_000):
    train(state, step)
    print(opened.save(state).step, flush=True)
    opened.store.retire(state.step - 2)
"""


@pytest.mark.system
@pytest.mark.parametrize("lines", [1, 7, 20])
def test_a_killed_writer_leaves_what_it_announced(lines: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "sealed" if Opened.sealed else "open"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
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
