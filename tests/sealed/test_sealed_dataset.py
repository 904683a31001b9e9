"""A sealed data set gives what was prepared, to the holder of its key and to nobody else."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, parse_contract
from coterie.data.dataset import open_dataset
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from coterie.errors import (
    CoterieError,
    DataSetDamaged,
    DataSetMismatch,
    KeyFileRefused,
    OutputInUse,
    SealBroken,
)
from coterie.sealed.data_key import DataKey
from coterie.sealed.sealed_dataset import (
    SealedDataSet,
    check_owner,
    open_sealed_dataset,
    seal_dataset,
)
from faults.disk import PowerCut

TEXT = """
format = 1
name = "small"
mode = "hfl"
parties = [{name = "acme"}, {name = "bolt"}]
nodes = [
    {name = "ps0", role = "ps", party = "acme"},
    {name = "w0", role = "worker", party = "acme"},
    {name = "w1", role = "worker", party = "bolt"},
]
[data]
rows = 50
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
CONTRACT: Contract = parse_contract(TEXT.encode(), "small")
OTHER: Contract = parse_contract(TEXT.replace("rows = 50", "rows = 51").encode(), "other")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    synthesize(folder / "raw.tsv", rows=600, seed=3)
    prepare(folder / "raw.tsv", folder / "data", CONTRACT, deal="round-robin")
    return folder / "data"


@pytest.fixture
def key() -> DataKey:
    return DataKey.generate("acme")


@pytest.fixture
def sealed(prepared: Path, tmp_path: Path, key: DataKey) -> SealedDataSet:
    return seal_dataset(prepared / "acme", tmp_path / "sealed", CONTRACT.data, key)


def test_a_sealed_data_set_is_the_prepared_one(
    prepared: Path, sealed: SealedDataSet, key: DataKey
) -> None:
    plain = open_dataset(prepared / "acme", CONTRACT.data, party="acme")
    found = open_sealed_dataset(sealed, key.key, CONTRACT.data, party="acme")
    assert found.manifest == plain.manifest
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(found, split).words, getattr(plain, split).words)
    assert not found.train.words.flags.writeable


def test_the_cover_says_what_to_ask_for(sealed: SealedDataSet, key: DataKey) -> None:
    assert SealedDataSet.at(sealed.directory) == sealed
    assert sealed.set_id == key.set_id


def test_a_data_set_that_is_not_sealed_has_no_cover(prepared: Path) -> None:
    assert SealedDataSet.at(prepared / "acme") is None


def test_no_file_holds_what_the_prepared_ones_hold(prepared: Path, sealed: SealedDataSet) -> None:
    records = (prepared / "acme" / "train.shard").read_bytes()[128:400]
    for path in sealed.directory.iterdir():
        content = path.read_bytes()
        assert records not in content
        assert b"raw.tsv" not in content
    assert sorted(p.name for p in sealed.directory.iterdir()) == [
        "manifest.json.sealed",
        "sealed.json",
        "test.shard.sealed",
        "train.shard.sealed",
        "validation.shard.sealed",
    ]


def reopened(sealed: SealedDataSet, key: DataKey) -> None:
    """Reads the cover again, then everything."""
    found = SealedDataSet.at(sealed.directory)
    assert found is not None
    open_sealed_dataset(found, key.key, CONTRACT.data, party="acme")


def flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        octets = bytearray((folder / name).read_bytes())
        octets[len(octets) // 2] ^= 1
        (folder / name).write_bytes(octets)

    return change


def swap(folder: Path) -> None:
    (folder / "test.shard.sealed").replace(folder / "validation.shard.sealed")


@pytest.mark.parametrize(
    ("change", "kind", "what"),
    [
        (flip("train.shard.sealed"), SealBroken, "train.shard cannot be opened"),
        (flip("manifest.json.sealed"), SealBroken, "manifest.json cannot be opened"),
        (swap, SealBroken, "validation.shard cannot be opened"),
        (
            lambda f: (f / "test.shard.sealed").unlink(),
            SealBroken,
            "test.shard.sealed cannot be read",
        ),
        (lambda f: (f / "sealed.json").write_text("{}"), SealBroken, "sealed.json cannot be read"),
    ],
    ids=["altered shard", "altered manifest", "swapped", "missing", "cover"],
)
def test_a_changed_data_set_is_refused(
    sealed: SealedDataSet,
    key: DataKey,
    change: Callable[[Path], None],
    kind: type[CoterieError],
    what: str,
) -> None:
    change(sealed.directory)
    with pytest.raises(kind, match=what):
        reopened(sealed, key)


def test_a_cover_that_names_another_set_opens_nothing(sealed: SealedDataSet, key: DataKey) -> None:
    cover = json.loads((sealed.directory / "sealed.json").read_text())
    cover["set_id"] = "00" * 32
    (sealed.directory / "sealed.json").write_text(json.dumps(cover))
    with pytest.raises(SealBroken):
        reopened(sealed, key)


def test_files_of_two_sealings_do_not_mix(
    prepared: Path, sealed: SealedDataSet, key: DataKey, tmp_path: Path
) -> None:
    other = seal_dataset(
        prepared / "acme", tmp_path / "other", CONTRACT.data, DataKey.generate("acme")
    )
    name = "train.shard.sealed"
    (other.directory / name).replace(sealed.directory / name)
    with pytest.raises(SealBroken):
        open_sealed_dataset(sealed, key.key, CONTRACT.data, party="acme")


@pytest.mark.parametrize(
    ("contract", "party", "what"),
    [(OTHER, "acme", "another contract's data section"), (CONTRACT, "bolt", "another party")],
)
def test_it_opens_for_its_party_and_data_section_only(
    sealed: SealedDataSet, key: DataKey, contract: Contract, party: str, what: str
) -> None:
    with pytest.raises(DataSetMismatch, match=what):
        open_sealed_dataset(sealed, key.key, contract.data, party=party)

    with pytest.raises(DataSetMismatch, match=what):  # before anybody is asked for its key
        check_owner(sealed, contract.data, party=party)


def test_sealed_files_are_on_the_disk_before_the_set_has_its_name(
    prepared: Path, tmp_path: Path, key: DataKey
) -> None:
    """Whoever has sealed a data set may remove the open one."""
    disk = PowerCut(tmp_path)
    with disk.watching():
        sealed = seal_dataset(prepared / "acme", tmp_path / "sealed", CONTRACT.data, key)
    paths = list(sealed.directory.glob("*.sealed"))
    assert len(paths) == 4
    for path in paths:
        assert disk.content(path) == path.read_bytes()


@pytest.mark.parametrize("kind", ["an empty folder", "a file"])
def test_what_is_there_stays_there(prepared: Path, tmp_path: Path, key: DataKey, kind: str) -> None:
    out = tmp_path / "sealed"
    out.mkdir() if kind == "an empty folder" else out.write_bytes(b"mine")
    before = out.stat().st_ino
    with pytest.raises(OutputInUse) as refusal:
        seal_dataset(prepared / "acme", out, CONTRACT.data, key)
    assert refusal.value.seen == "it exists"
    assert out.stat().st_ino == before


def test_a_damaged_data_set_is_not_sealed(prepared: Path, key: DataKey, tmp_path: Path) -> None:
    folder = tmp_path / "acme"
    folder.mkdir()
    for path in (prepared / "acme").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    flip("train.shard")(folder)
    with pytest.raises(DataSetDamaged):
        seal_dataset(folder, tmp_path / "sealed", CONTRACT.data, key)
    assert [p.name for p in tmp_path.iterdir()] == ["acme"]


def test_nothing_is_overwritten(prepared: Path, sealed: SealedDataSet, key: DataKey) -> None:
    with pytest.raises(OutputInUse):
        seal_dataset(prepared / "acme", sealed.directory, CONTRACT.data, key)


def test_a_key_file_is_its_owners_and_is_not_overwritten(tmp_path: Path, key: DataKey) -> None:
    path = tmp_path / "acme.key"
    key.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert DataKey.read(path) == key
    with pytest.raises(OutputInUse):
        key.write(path)


@pytest.mark.parametrize("text", ["", "{}", "[" * 3000, '{"format": 1, "key": "secret"}'])
def test_what_is_no_key_file_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "acme.key"
    path.write_text(text)
    with pytest.raises(KeyFileRefused) as refusal:
        DataKey.read(path)
    assert "secret" not in str(refusal.value)


def test_another_kind_of_key_file_is_refused(tmp_path: Path, key: DataKey) -> None:
    path = tmp_path / "acme.key"
    key.write(path)
    other = {**json.loads(path.read_text()), "kind": "coterie party key"}
    (tmp_path / "other.key").write_text(json.dumps(other))
    with pytest.raises(KeyFileRefused) as refusal:
        DataKey.read(tmp_path / "other.key")
    assert key.key.hex() not in str(refusal.value)


def test_a_key_does_not_show_itself(key: DataKey) -> None:
    assert key.key.hex() not in repr(key)
    assert repr(key.key) not in repr(key)
