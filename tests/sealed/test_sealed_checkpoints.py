"""Sealed checkpoints: nothing of the model is on the disk, and only the run's own files open."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, contract_digest
from coterie.errors import CheckpointDamaged, SealBroken
from coterie.ps.checkpoints.codec import FileCodec, PlainFileCodec
from coterie.ps.checkpoints.records import RunRecord
from coterie.ps.checkpoints.store import CheckpointStore
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.membership import TrainingData
from coterie.ps.core.state import ModelState
from coterie.sealed.sealed_checkpoints import SealedFileCodec
from tests.ps.conftest import digest_of, small_contract

CONTRACT = small_contract()
KEY = bytes(range(32))
PLANTED = np.array([1.2345678, -8.7654321], "<f4")  # a row's values, and dense parameters'
RECORD = RunRecord(
    run_id="5e" * 32,
    data_sets={"w0": TrainingData(8, "ab" * 32), "w1": TrainingData(5, "cd" * 32)},
)


def sealed(key: bytes = KEY, contract: Contract = CONTRACT, shard: int = 0) -> SealedFileCodec:
    return SealedFileCodec(key, contract_digest(contract), (shard, 1))


def opened(folder: Path, casing: FileCodec, contract: Contract = CONTRACT) -> CheckpointStore:
    return CheckpointStore(
        folder,
        contract_digest(contract),
        casing=casing,
        on_durable=lambda _: None,
        on_failure=lambda error: pytest.fail(str(error)),
    )


def trained(folder: Path, casing: FileCodec, steps: int = 4) -> ModelState:
    """Checkpoints of a model whose values are known; all are kept."""
    state, store = ModelState(CONTRACT), opened(folder, casing)
    store.begin(RECORD.run_id)
    for step in range(steps):
        ids = np.arange(0, 12 - 3 * step, 2, dtype=np.int32)
        push = Gradients(4, 1.0, np.zeros(15, np.float32), ids, np.zeros((ids.size, 2), np.float32))
        state.apply(push, first_of_epoch=False)
        state.table.restore(ids, np.tile(PLANTED, (ids.size, 1)), state.table.state_of(ids))
        state.dense[:2] = PLANTED
        store.save(state.snapshot(), RECORD)
        store.flush()
    store.put_note("report-w0", b"a party's counts")
    store.close()
    return state


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "secret",
    [
        PLANTED.tobytes(),
        PLANTED[:1].tobytes() + PLANTED[1:].tobytes(),
        b"a party's counts",
        b"ab" * 16,  # a data set's digest, in the manifest's record
        b'"rows"',
        b"coterie segment",
    ],
    ids=["row", "dense", "note", "record", "footer", "magic"],
)
def test_nothing_of_a_checkpoint_is_on_the_disk_in_plaintext(secret: bytes, tmp_path: Path) -> None:
    trained(tmp_path / "open", PlainFileCodec())
    assert any(secret in octets for octets in contents(tmp_path / "open").values()), "not planted"
    trained(tmp_path / "sealed", sealed())
    assert [n for n, o in contents(tmp_path / "sealed").items() if secret in o] == []


def test_a_sealed_chain_restores_the_very_same_state(tmp_path: Path) -> None:
    state = trained(tmp_path, sealed())
    back = ModelState(CONTRACT)
    store = opened(tmp_path, sealed())
    assert store.restore(4, back) == RECORD
    assert digest_of(CONTRACT, back) == digest_of(CONTRACT, state)
    assert store.notes() == {"report-w0": b"a party's counts"}


def test_names_of_segments_do_not_tell_what_is_in_them(tmp_path: Path) -> None:
    trained(tmp_path / "open", PlainFileCodec())
    trained(tmp_path / "sealed", sealed())
    names = [
        {path.name for path in (tmp_path / kind).glob("segment-*")} for kind in ("open", "sealed")
    ]
    assert names[0]
    assert names[1]
    assert not names[0] & names[1]


@pytest.mark.parametrize(
    ("casing", "seen"),
    [
        (sealed(bytes(32)), "another chunk 0"),
        (sealed(contract=small_contract(seed=8)), f"set {contract_digest(CONTRACT).hex()}"),
        (sealed(shard=1), "another chunk 0"),
        (PlainFileCodec(), "another"),
    ],
    ids=["another key", "another contract", "another shard", "no key"],
)
def test_sealed_checkpoints_open_for_their_own_run_only(
    casing: FileCodec, seen: str, tmp_path: Path
) -> None:
    trained(tmp_path, sealed())
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        opened(tmp_path, casing)
    assert refused.value.seen == seen


def test_open_checkpoints_do_not_pass_for_sealed_ones(tmp_path: Path) -> None:
    trained(tmp_path, PlainFileCodec())
    with pytest.raises(CheckpointDamaged) as refused:
        opened(tmp_path, sealed())
    assert refused.value.seen == "another header"


@pytest.mark.parametrize(
    ("casing", "name", "opens"),
    [
        (sealed(), "segment", True),
        (sealed(), "step-1.json", False),
        (sealed(shard=1), "segment", False),
        (SealedFileCodec(KEY, contract_digest(CONTRACT), (0, 2)), "segment", False),
        (sealed(bytes(32)), "segment", False),
    ],
    ids=["itself", "another file", "another shard", "another number of shards", "another key"],
)
def test_a_file_opens_in_its_own_place_only(
    tmp_path: Path, casing: SealedFileCodec, name: str, opens: bool
) -> None:
    with (tmp_path / "file").open("wb") as file:
        target = sealed().writer(file, 4, "segment")
        target.write(b"rows")
        target.finish()
    with (tmp_path / "file").open("rb") as file:
        source = casing.reader(file, name)
        if opens:
            assert source.read(4) == b"rows"
            return
        with pytest.raises(SealBroken) as refused:
            source.read(4)
    assert refused.value.seen == "another chunk 0"


def swap(kind: str) -> Callable[[Path], None]:
    def swapped(folder: Path) -> None:
        first, second = sorted(folder.glob(kind))[:2]
        octets = first.read_bytes(), second.read_bytes()
        first.write_bytes(octets[1])
        second.write_bytes(octets[0])

    return swapped


def flip(kind: str, place: int) -> Callable[[Path], None]:
    def flipped(folder: Path) -> None:
        path = max(folder.glob(kind))
        octets = bytearray(path.read_bytes())
        octets[place] ^= 1
        path.write_bytes(octets)

    return flipped


def cut(kind: str) -> Callable[[Path], None]:
    def shortened(folder: Path) -> None:
        path = max(folder.glob(kind))
        path.write_bytes(path.read_bytes()[:-1])

    return shortened


def replay(folder: Path) -> None:
    """The same run's file of an earlier time in a later one's place, names and all kept."""
    paths = sorted(folder.glob("step-*"))
    paths[-1].write_bytes(paths[0].read_bytes())


DAMAGE: list[tuple[str, Callable[[Path], None]]] = [
    ("segments swapped", swap("segment-*")),
    ("manifests swapped", swap("step-*")),
    ("an older manifest under a newer name", replay),
    *((f"{kind} cut", cut(kind)) for kind in ("segment-*", "step-*", "note-*")),
    *(
        (f"a bit of {kind}, byte {place}", flip(kind, place))
        for kind in ("segment-*", "step-*", "note-*")
        for place in (0, 20, 40, 70, 100, -1)
    ),
]


@pytest.mark.parametrize("damage", [row[1] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_damage_is_refused(damage: Callable[[Path], None], tmp_path: Path) -> None:
    trained(tmp_path / "good", sealed())
    bad = tmp_path / "bad"
    shutil.copytree(tmp_path / "good", bad)
    damage(bad)
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        _open_all(bad)
    assert refused.value.remedy
    _open_all(tmp_path / "good")


def _open_all(folder: Path) -> None:
    store = opened(folder, sealed())
    assert store.notes() == {"report-w0": b"a party's counts"}
    for step in (4, 3, 2, 1):
        store.restore(step, ModelState(CONTRACT))
    store.close()


def test_files_of_another_run_of_the_same_contract_need_its_manifest(tmp_path: Path) -> None:
    """Same parties, same contract, so the same key: what a manifest lists is what counts."""
    trained(tmp_path / "one", sealed(), steps=1)
    trained(tmp_path / "two", sealed(), steps=1)
    (first,) = (tmp_path / "one").glob("segment-*")
    (second,) = (tmp_path / "two").glob("segment-*")
    assert first.name == second.name, "same content: the name is keyed by it"
    assert first.read_bytes() != second.read_bytes()
    second.write_bytes(first.read_bytes())
    opened(tmp_path / "two", sealed()).restore(1, ModelState(CONTRACT))
