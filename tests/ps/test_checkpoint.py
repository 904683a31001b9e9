"""Checkpoints: whole and of this run, or refused; nothing older in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie.contract import Contract, contract_digest
from coterie.errors import CheckpointDamaged
from coterie.ps.aggregation import Gradients, mean_gradients
from coterie.ps.checkpoint import CheckpointStore, DurableCheckpoint, NoCheckpoints
from coterie.ps.membership import TrainingData
from coterie.ps.state import ModelState

DATA_SETS = {"w0": TrainingData(8, "ab" * 32), "w1": TrainingData(5, "cd" * 32)}
KINDS = [("sgd", "sgd"), ("adagrad", "adagrad"), ("adagrad", "rowwise_adagrad")]


@pytest.fixture(params=KINDS, ids=["-".join(kinds) for kinds in KINDS])
def contract(request: pytest.FixtureRequest, make_contract: Callable[..., Contract]) -> Contract:
    dense, rows = request.param
    return make_contract(dense={"kind": dense}, rows={"kind": rows})


@pytest.fixture
def adagrad(make_contract: Callable[..., Contract]) -> Contract:
    return make_contract(dense={"kind": "adagrad"}, rows={"kind": "adagrad"})


def store_of(directory: Path, contract: Contract) -> CheckpointStore:
    return CheckpointStore(directory, contract_digest(contract))


def trained(
    contract: Contract, make_gradients: Callable[..., Gradients], steps: int = 3
) -> ModelState:
    state = ModelState(contract)
    train(state, make_gradients, 0, steps)
    return state


def train(
    state: ModelState, make_gradients: Callable[..., Gradients], first: int, last: int
) -> None:
    for step in range(first, last):
        state.apply(mean_gradients([make_gradients(0, step, 4)]), first_of_epoch=step % 4 == 0)


def the_file(directory: Path) -> Path:
    (path,) = directory.glob("*.ckpt")
    return path


def test_a_state_comes_back_whole(
    contract: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    state = trained(contract, make_gradients)
    saved = store_of(tmp_path, contract).save(state, DATA_SETS)
    back = ModelState(contract)
    assert store_of(tmp_path, contract).restore_newest(back) == (saved, DATA_SETS)
    assert back.digest() == state.digest()
    assert back.optimizer.state.tobytes() == state.optimizer.state.tobytes()
    assert back.epoch_loss == state.epoch_loss
    assert (back.step, back.epoch_examples) == (state.step, state.epoch_examples)


def test_training_goes_on_as_if_nothing_had_happened(
    contract: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    state = trained(contract, make_gradients)
    store_of(tmp_path, contract).save(state, DATA_SETS)
    back = ModelState(contract)
    store_of(tmp_path, contract).restore_newest(back)
    for one in (state, back):
        train(one, make_gradients, 3, 7)
    assert back.digest() == state.digest()
    assert back.epoch_loss == state.epoch_loss
    everything = np.arange(15, dtype=np.int32)
    ours, theirs = back.table.state_of(everything), state.table.state_of(everything)
    assert ours.tobytes() == theirs.tobytes()


def test_an_untrained_state_can_be_kept(contract: Contract, tmp_path: Path) -> None:
    store_of(tmp_path, contract).save(ModelState(contract), DATA_SETS)
    back = ModelState(contract)
    assert store_of(tmp_path, contract).restore_newest(back) is not None
    assert back.digest() == ModelState(contract).digest()


def test_the_digest_is_the_sha256_at_the_files_end(
    adagrad: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    saved = store_of(tmp_path, adagrad).save(trained(adagrad, make_gradients), DATA_SETS)
    octets = the_file(tmp_path).read_bytes()
    assert saved == DurableCheckpoint(3, hashlib.sha256(octets[:-32]).digest())
    assert octets[-32:] == saved.digest
    assert the_file(tmp_path).name == "step-000000000003.ckpt"


def test_without_a_checkpoint_nothing_is_restored(adagrad: Contract, tmp_path: Path) -> None:
    state = ModelState(adagrad)
    assert store_of(tmp_path, adagrad).restore_newest(state) is None
    assert state.step == 0


def test_the_two_newest_are_kept_and_the_newest_restored(
    adagrad: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    store, state = store_of(tmp_path, adagrad), ModelState(adagrad)
    for step in range(4):
        train(state, make_gradients, step, step + 1)
        store.save(state, DATA_SETS)
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["step-000000000003.ckpt", "step-000000000004.ckpt"]
    back = ModelState(adagrad)
    store.restore_newest(back)
    assert back.digest() == state.digest()


def test_a_half_written_file_is_cleared_away(
    adagrad: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    store_of(tmp_path, adagrad).save(trained(adagrad, make_gradients), DATA_SETS)
    torn = tmp_path / "step-000000000004.partial"
    torn.write_bytes(the_file(tmp_path).read_bytes()[:100])
    back = ModelState(adagrad)
    store_of(tmp_path, adagrad).restore_newest(back)
    assert not torn.exists()
    assert back.step == 3


def test_other_files_in_the_directory_are_left_alone(adagrad: Contract, tmp_path: Path) -> None:
    for name in ("notes.txt", "step-1.ckpt", "step-000000000009.ckpt.bak"):
        (tmp_path / name).write_text("mine")
    store = store_of(tmp_path, adagrad)
    assert store.restore_newest(ModelState(adagrad)) is None
    store.save(ModelState(adagrad), DATA_SETS)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def damaged_by(change: Callable[[bytes], bytes], directory: Path, contract: Contract) -> str:
    """Changes the file, asserts that it is refused with nothing restored; says what was seen."""
    path = the_file(directory)
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    try:
        with pytest.raises(CheckpointDamaged) as refused:
            store_of(directory, contract).restore_newest(ModelState(contract))
    finally:
        path.write_bytes(whole)
    error = refused.value
    assert str(path) in error.what
    assert error.expected
    assert error.seen
    assert error.remedy
    return error.seen


def test_a_file_torn_at_any_place_is_refused(
    adagrad: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    store_of(tmp_path, adagrad).save(trained(adagrad, make_gradients), DATA_SETS)
    size = the_file(tmp_path).stat().st_size
    header_end = 25 + int.from_bytes(the_file(tmp_path).read_bytes()[21:25], "little")
    edges = {0, 1, 20, 21, 24, 25, 26, header_end - 1, header_end, header_end + 1, size - 33}
    for length in sorted(edges | {size - 32, size - 1} | set(range(0, size, 97))):
        damaged_by(lambda octets, n=length: octets[:n], tmp_path, adagrad)  # type: ignore[misc]
    damaged_by(lambda octets: octets + b"\0", tmp_path, adagrad)
    damaged_by(lambda octets: octets * 2, tmp_path, adagrad)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_refused(
    adagrad: Contract,
    make_gradients: Callable[..., Gradients],
    tmp_path: Path,
    place: int,
    bit: int,
) -> None:
    if not list(tmp_path.glob("*.ckpt")):
        store_of(tmp_path, adagrad).save(trained(adagrad, make_gradients), DATA_SETS)

    def flip(octets: bytes) -> bytes:
        changed = bytearray(octets)
        changed[place % len(octets)] ^= 1 << bit
        return bytes(changed)

    damaged_by(flip, tmp_path, adagrad)


def test_another_contracts_checkpoint_is_refused(
    make_contract: Callable[..., Contract], tmp_path: Path
) -> None:
    mine, other = make_contract(seed=1), make_contract(seed=2)
    store_of(tmp_path, other).save(ModelState(other), DATA_SETS)
    with pytest.raises(CheckpointDamaged) as refused:
        store_of(tmp_path, mine).restore_newest(ModelState(mine))
    assert refused.value.expected == f"contract {contract_digest(mine).hex()}"
    assert refused.value.seen == contract_digest(other).hex()


def test_a_checkpoint_under_another_steps_name_is_refused(
    adagrad: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    """Renaming an old file does not make it the newest."""
    store_of(tmp_path, adagrad).save(trained(adagrad, make_gradients), DATA_SETS)
    the_file(tmp_path).rename(tmp_path / "step-000000000009.ckpt")
    with pytest.raises(CheckpointDamaged, match="sizes \\(9, "):
        store_of(tmp_path, adagrad).restore_newest(ModelState(adagrad))


def test_nothing_older_is_taken_in_place_of_a_damaged_one(
    adagrad: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    store, state = store_of(tmp_path, adagrad), ModelState(adagrad)
    for step in range(2):
        train(state, make_gradients, step, step + 1)
        store.save(state, DATA_SETS)
    newest = tmp_path / "step-000000000002.ckpt"
    newest.write_bytes(newest.read_bytes()[:-1])
    back = ModelState(adagrad)
    with pytest.raises(CheckpointDamaged):
        store.restore_newest(back)
    assert back.digest() == ModelState(adagrad).digest()


def test_saving_the_same_step_again_replaces_the_file(
    adagrad: Contract, make_gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    store, state = store_of(tmp_path, adagrad), trained(adagrad, make_gradients)
    assert store.save(state, DATA_SETS) == store.save(state, DATA_SETS)
    assert len(list(tmp_path.iterdir())) == 1


def test_in_memory_nothing_is_kept(adagrad: Contract) -> None:
    state = ModelState(adagrad)
    checkpoints = NoCheckpoints()
    checkpoints.save(state, DATA_SETS)
    checkpoints.restore_newest(state)
    assert state.digest() == ModelState(adagrad).digest()


# SHA-256 is no MAC, and the disk is the host's: what a checkpoint holds needs the
# same bounds as a message. Row 1000 ends in IndexError, row -1 overwrites the last row, NaN loads.
@pytest.mark.parametrize(
    ("field", "value"), [("row", 1000), ("row", -1), ("row", 14), ("dense", float("nan"))]
)
def test_a_forged_checkpoint_with_a_right_digest_is_refused(
    adagrad: Contract,
    make_gradients: Callable[..., Gradients],
    tmp_path: Path,
    field: str,
    value: float,
) -> None:
    state = trained(adagrad, make_gradients)
    store_of(tmp_path, adagrad).save(state, DATA_SETS)
    rows = state.table.trained_rows().astype("<i4").tobytes()

    def forge(octets: bytes) -> bytes:
        body = bytearray(octets[:-32])
        if field == "row":  # the first of the trained rows
            place, new = body.index(rows), int(value).to_bytes(4, "little", signed=True)
        else:
            place, new = body.index(state.dense.tobytes()), np.float32(value).tobytes()
        body[place : place + 4] = new
        return bytes(body) + hashlib.sha256(body).digest()

    damaged_by(forge, tmp_path, adagrad)
