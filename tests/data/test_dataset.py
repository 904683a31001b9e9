"""A data set is opened only whole, unaltered, by its party, under its contract's data section."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.contract import Contract
from coterie.data.dataset import open_dataset
from coterie.data.manifest import MAX_MANIFEST_BYTES
from coterie.data.prepare.preparation import prepare
from coterie.errors import CoterieError, DataSetDamaged, DataSetMismatch

MakeContract = Callable[[str, dict[str, int]], Contract]
Json = dict[str, object]


@pytest.fixture
def contract(make_contract: MakeContract) -> Contract:
    return make_contract("sdt", {})


@pytest.fixture
def folder(small_file: Path, contract: Contract, tmp_path: Path) -> Path:
    prepare(small_file, tmp_path / "out", contract)
    return tmp_path / "out" / "acme"


def set_key(*path: str, value: object) -> Callable[[Path], None]:
    """Changes one value of the manifest."""

    def change(folder: Path) -> None:
        manifest: Json = json.loads((folder / "manifest.json").read_bytes())
        target = manifest
        for key in path[:-1]:
            inner = target[key]
            assert isinstance(inner, dict)
            target = inner
        target[path[-1]] = value
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return change


def put(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def swap(folder: Path) -> None:
    """Puts the test shard in the place of the validation shard: both whole, both of this run."""
    (folder / "validation.shard").write_bytes((folder / "test.shard").read_bytes())


def test_it_opens(folder: Path, contract: Contract) -> None:
    data_set = open_dataset(folder, contract.data, party="acme")
    assert (data_set.train.rows, data_set.validation.rows, data_set.test.rows) == (72, 6, 6)
    assert data_set.manifest.train.positives == 36


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        (remove("manifest.json"), DataSetDamaged, "acme holds no prepared data set"),
        (remove("train.shard"), DataSetDamaged, "file is wrong"),
        (put("manifest.json", b""), DataSetDamaged, "content is wrong"),
        (put("manifest.json", b"{"), DataSetDamaged, "content is wrong"),
        (put("manifest.json", b"\xff"), DataSetDamaged, "content is wrong"),
        (put("manifest.json", b" " * (MAX_MANIFEST_BYTES + 1)), DataSetDamaged, "size is wrong"),
        (put("test.shard", b"COTSHARD"), DataSetDamaged, "size is wrong"),
        (swap, DataSetDamaged, "SHA-256 is wrong"),
        (set_key("format", value=2), DataSetDamaged, "content is wrong"),
        (set_key("more", value=1), DataSetDamaged, "content is wrong"),
        (set_key("train", "rows", value="72"), DataSetDamaged, "content is wrong"),
        (set_key("train", "rows", value=71), DataSetDamaged, "row count is wrong"),
        (set_key("train", "sha256", value="0" * 64), DataSetDamaged, "SHA-256 is wrong"),
        (set_key("train", "sha256", value="0"), DataSetDamaged, "content is wrong"),
        (set_key("train", "file", value="../../x.shard"), DataSetDamaged, "content is wrong"),
        (set_key("party", value="bolt"), DataSetMismatch, "another party"),
        (set_key("data_digest", value="0" * 64), DataSetMismatch, "another contract"),
    ],
)
def test_refusals(
    change: Callable[[Path], None],
    error: type[CoterieError],
    what: str,
    folder: Path,
    contract: Contract,
) -> None:
    change(folder)
    with pytest.raises(error, match=what) as refusal:
        open_dataset(folder, contract.data, party="acme")
    assert refusal.value.expected
    assert refusal.value.seen
    assert refusal.value.remedy


def test_another_party_is_refused(folder: Path, contract: Contract) -> None:
    with pytest.raises(DataSetMismatch, match="another party") as refusal:
        open_dataset(folder, contract.data, party="bolt")
    assert (refusal.value.expected, refusal.value.seen) == ("party bolt", "party acme")
    assert refusal.value.remedy == "give the data set that was prepared for bolt, or prepare one"


def test_the_folder_of_ones_own_data_set_is_named_where_it_lies_beside(
    folder: Path, contract: Contract
) -> None:
    """The usual slips: a neighbour's folder, and the folder of all."""
    shutil.copytree(folder, folder.parent / "bolt")
    set_key("party", value="bolt")(folder.parent / "bolt")
    remedy = (
        f"a node of bolt gets --data {folder.parent}/bolt; a whole run gets --data {folder.parent}"
    )
    with pytest.raises(DataSetMismatch) as mismatch:
        open_dataset(folder, contract.data, party="bolt")
    with pytest.raises(DataSetDamaged, match="holds no prepared data set") as absent:
        open_dataset(folder.parent, contract.data, party="bolt")
    with pytest.raises(DataSetDamaged, match="holds no prepared data set") as below:
        open_dataset(folder.parent / "bolt" / "bolt", contract.data, party="bolt")
    remedies = [refusal.value.remedy for refusal in (mismatch, absent, below)]
    assert remedies == [remedy] * 3


def test_a_file_in_place_of_a_folder_is_not_called_damaged(
    folder: Path, contract: Contract
) -> None:
    (folder.parent / "raw.csv").touch()
    with pytest.raises(DataSetDamaged, match="holds no prepared data set"):
        open_dataset(folder.parent / "raw.csv" / "acme", contract.data, party="acme")


@pytest.mark.parametrize("key", ["hash_seed", "min_count", "rows", "row_limit"])
def test_another_data_section_is_refused(
    key: str, folder: Path, make_contract: MakeContract
) -> None:
    other = make_contract("sdt", {key: 77})
    with pytest.raises(DataSetMismatch, match="another contract's data section") as refusal:
        open_dataset(folder, other.data, party="acme")
    assert refusal.value.expected != refusal.value.seen
    assert "prepare the data set again" in refusal.value.remedy


def test_other_sections_do_not_matter(folder: Path, contract: Contract) -> None:
    training = contract.training.model_copy(update={"batch": 7})
    other = contract.model_copy(update={"training": training})
    assert open_dataset(folder, other.data, party="acme").train.rows == 72
