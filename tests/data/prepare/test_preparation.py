"""Preparation splits, deals, counts per party and writes; the same input gives the same bytes."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, DataSection
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.hashing import global_rows
from coterie.data.prepare.preparation import prepare
from coterie.data.split import Deal, deal_rows, split_rows
from coterie.errors import (
    CoterieError,
    DataSetMismatch,
    EnvironmentUnfit,
    OutputInUse,
    RawDataInvalid,
)

MakeContract = Callable[[str, dict[str, int]], Contract]
PARTIES = ("acme", "bolt", "corn")


def open_all(out: Path, contract: Contract) -> list[DataSet]:
    owners = [node.party for node in contract.data_owners()]
    return [open_dataset(out / party, contract.data, party=party) for party in owners]


def row_numbers(data_set: DataSet) -> dict[str, list[int]]:
    """The rows of ``small_file`` in each split, from column I1, which numbers them."""
    return {
        name: np.rint(np.expm1(shard.batch(0, shard.rows).dense_bn[:, 0])).astype(int).tolist()
        for name, shard in (
            ("train", data_set.train),
            ("validation", data_set.validation),
            ("test", data_set.test),
        )
    }


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("deal", ["contiguous", "round-robin"])
def test_every_split_is_dealt_out(
    deal: Deal, small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    contract, split = make_contract("hfl", {}), split_rows(84)
    report = prepare(small_file, tmp_path / "out", contract, deal=deal)
    assert [manifest.party for manifest in report.manifests] == list(PARTIES)
    for i, data_set in enumerate(open_all(tmp_path / "out", contract)):
        assert data_set.manifest == report.manifests[i]
        assert data_set.manifest.deal == deal
        assert row_numbers(data_set) == {
            "train": list(deal_rows(split.train, deal, 3)[i]),
            "validation": list(deal_rows(split.validation, deal, 3)[i]),
            "test": list(deal_rows(split.test, deal, 3)[i]),
        }


def test_the_chief_gets_everything(
    small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    contract = make_contract("sdt", {})
    prepare(small_file, tmp_path / "out", contract, deal="round-robin")
    (data_set,) = open_all(tmp_path / "out", contract)
    assert data_set.manifest.deal == "whole"
    assert row_numbers(data_set) == {
        "train": list(range(72)),
        "test": list(range(72, 78)),
        "validation": list(range(78, 84)),
    }


def test_a_party_prepares_its_own_file(
    small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    contract, out = make_contract("hfl", {}), tmp_path / "out"
    for party in ("bolt", "acme"):
        prepare(small_file, out, contract, party=party)
        data_set = open_dataset(out / party, contract.data, party=party)
        assert data_set.train.rows == 72
        assert data_set.manifest.deal == "whole"
    assert sorted(path.name for path in out.iterdir()) == ["acme", "bolt"]


def test_cells_become_numbers_and_rows(
    small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    contract = make_contract("sdt", {"hash_seed": 11})
    prepare(small_file, tmp_path / "out", contract)
    batch = open_all(tmp_path / "out", contract)[0].train.batch(0, 72)
    assert batch.labels_b.tolist() == [i % 2 for i in range(72)]
    assert batch.dense_bn[:, 0].tolist() == [np.float32(math.log(i + 1)) for i in range(72)]
    assert not batch.dense_bn[:, 1].any(), "negative numbers are clamped to 0"
    for column, cells in enumerate(
        ([f"id{i}" for i in range(72)], [f"c{i % 5}" for i in range(72)])
    ):
        assert (
            batch.ids_bm[:, column].tolist() == global_rows(cells, contract.data, column).tolist()
        )
    missing = [("" if i % 3 else "x") for i in range(72)]
    assert batch.ids_bm[:, 2].tolist() == global_rows(missing, contract.data, 2).tolist()


def test_rare_ids_train_row_zero_and_are_counted_per_party(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    # "rare" comes twice in acme's training rows and once in bolt's; in corn's never.
    cells = [["often"] * 24, ["often"] * 24, ["often"] * 24]
    cells[0][3] = cells[0][4] = cells[1][5] = "rare"
    last_seventh = ["rare"] * 12
    ids = [cell for share in cells for cell in share] + last_seventh
    raw = tmp_path / "raw.tsv"
    raw.write_text("".join(f"1\t1\t\t{cell}\ta\tb\n" for cell in ids))
    contract = make_contract("hfl", {"min_count": 2})
    prepare(raw, tmp_path / "out", contract)
    often, rare = global_rows(["often", "rare"], contract.data, 0).tolist()
    acme, bolt, corn = open_all(tmp_path / "out", contract)
    assert acme.train.batch(0, 24).ids_bm[3:6, 0].tolist() == [rare, rare, often]
    assert bolt.train.batch(0, 24).ids_bm[4:7, 0].tolist() == [often, 0, often]
    for data_set in (acme, bolt, corn):
        for shard in (data_set.validation, data_set.test):
            assert set(shard.batch(0, shard.rows).ids_bm[:, 0].tolist()) == {rare}
    column = bolt.manifest.categorical[0]
    assert (column.unique, column.rare_ids, column.rare_share) == (2, 1, 1 / 24)
    assert corn.manifest.categorical[0].unique == 1, "the last seventh is not looked at"


def test_rows_behind_the_limit_are_not_read(
    small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    contract = make_contract("sdt", {"row_limit": 21})
    small_file.write_bytes(small_file.read_bytes() + b"a bad row\n")
    report = prepare(small_file, tmp_path / "out", contract)
    assert report.source.rows == 21
    assert report.source.sha256 == hashlib.sha256(small_file.read_bytes()).hexdigest()
    assert row_numbers(open_all(tmp_path / "out", contract)[0]) == {
        "train": list(range(18)),
        "test": [18, 19],
        "validation": [20],
    }


def test_the_same_input_gives_the_same_bytes_whatever_its_compression(
    small_file: Path,
    make_contract: MakeContract,
    compressors: dict[str, Callable[[bytes], bytes]],
    tmp_path: Path,
) -> None:
    contract, text = make_contract("hfl", {"min_count": 2}), small_file.read_bytes()
    trees = {}
    for name, compress in compressors.items():
        small_file.write_bytes(compress(text))
        prepare(small_file, tmp_path / name, contract)
        trees[name] = tree(tmp_path / name)
    prepare(small_file, tmp_path / "again", contract)
    assert tree(tmp_path / "again") == trees["zstd"]
    assert len(trees["plain"]) == 12
    for other in trees.values():
        # Manifests differ in the digest of the raw file, and in nothing else.
        assert other.keys() == trees["plain"].keys()
        shards = [name for name in other if name.endswith(".shard")]
        assert all(other[name] == trees["plain"][name] for name in shards)


def test_bad_rows_are_skipped_and_reported(
    small_rows: list[bytes], make_contract: MakeContract, tmp_path: Path
) -> None:
    contract, raw = make_contract("sdt", {}), tmp_path / "raw.tsv"
    raw.write_bytes(b"\n".join([*small_rows[:9], b"bad", *small_rows[9:], b"worse"]))
    report = prepare(raw, tmp_path / "out", contract, max_bad_rows=2)
    assert (report.source.rows, report.source.bad_rows) == (84, 2)
    assert [line.split(":")[0] for line in report.source.bad_lines] == ["line 10", "line 86"]
    assert row_numbers(open_all(tmp_path / "out", contract)[0])["train"] == list(range(72))


def refusals(name: str) -> tuple[bytes, dict[str, str | int], type[CoterieError], str]:
    """Content of the raw file, options, and the refusal they must meet."""
    good = b"1\t1\t2\ta\tb\tc\n"
    cases: dict[str, tuple[bytes, dict[str, str | int], type[CoterieError], str]] = {
        "bad row": (good * 20 + b"bad\n", {}, RawDataInvalid, "do not fit the contract"),
        "too many bad rows": (
            good * 20 + b"bad\n" * 3,
            {"max_bad_rows": 2},
            RawDataInvalid,
            "do not fit the contract",
        ),
        "empty": (b"", {}, RawDataInvalid, "is empty"),
        "only bad rows": (b"bad\n", {"max_bad_rows": 5}, RawDataInvalid, "has no row that fits"),
        "too short": (good * 13, {}, RawDataInvalid, "is too short"),
        "truncated": (b"\x1f\x8b\x08\x00", {}, RawDataInvalid, "truncated or damaged"),
        "unknown party": (good * 20, {"party": "evil"}, DataSetMismatch, "owns no data"),
        "party without data": (good * 20, {"party": "operator"}, DataSetMismatch, "owns no data"),
    }
    return cases[name]


@pytest.mark.parametrize(
    "name",
    [
        "bad row",
        "too many bad rows",
        "empty",
        "only bad rows",
        "too short",
        "truncated",
        "unknown party",
        "party without data",
    ],
)
@pytest.mark.parametrize("exists", [False, True])
def test_refusals_leave_nothing_behind(
    name: str, exists: bool, make_contract: MakeContract, tmp_path: Path
) -> None:
    content, options, error, what = refusals(name)
    raw, out = tmp_path / "raw.tsv", tmp_path / "out"
    raw.write_bytes(content)
    if exists:
        out.mkdir()
    party, bad = options.get("party"), options.get("max_bad_rows", 0)
    with pytest.raises(error, match=what) as refusal:
        prepare(
            raw,
            out,
            make_contract("hfl", {}),
            party=None if party is None else str(party),
            max_bad_rows=int(bad),
        )
    assert refusal.value.expected
    assert refusal.value.seen
    assert refusal.value.remedy
    assert out.exists() == exists
    assert not exists or not list(out.iterdir())


def test_a_used_folder_is_refused_and_left_alone(
    small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "corn").mkdir(parents=True)
    (out / "bolt").mkdir()
    (out / "corn" / "precious").write_text("data")
    with pytest.raises(OutputInUse, match="corn already holds something"):
        prepare(small_file, out, make_contract("hfl", {}))
    assert tree(out) == {"corn/precious": b"data"}
    (out / "corn" / "precious").unlink()
    prepare(small_file, out, make_contract("hfl", {}))
    assert len(tree(out)) == 12, "empty folders are used"


def test_an_output_that_cannot_be_written(
    small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentUnfit, match="cannot be written"):
        prepare(small_file, small_file, make_contract("hfl", {}))


def test_a_failure_while_installing_takes_everything_back(
    small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def intrude(stage: str, done: int, total: int) -> None:
        if stage == "write corn" and done == total:
            (out / "bolt").mkdir(exist_ok=True)
            (out / "bolt" / "intruder").touch()

    with pytest.raises(OutputInUse):
        prepare(small_file, out, make_contract("hfl", {}), progress=intrude)
    assert tree(out) == {"bolt/intruder": b""}


def test_progress_reaches_its_end(
    small_file: Path, make_contract: MakeContract, tmp_path: Path
) -> None:
    last: dict[str, tuple[int, int]] = {}

    def note(stage: str, done: int, total: int) -> None:
        assert last.get(stage, (0, 0))[0] < done <= total
        last[stage] = done, total

    prepare(small_file, tmp_path / "out", make_contract("hfl", {}), progress=note)
    assert list(last) == ["read", "write acme", "write bolt", "write corn"]
    assert all(done == total for done, total in last.values())


@pytest.mark.long
def test_the_real_sample(real_sample: Path, make_contract: MakeContract, tmp_path: Path) -> None:
    contract = make_contract("sdt", {}).model_copy(
        update={"data": DataSection(rows=2_000, min_count=4)}
    )
    report = prepare(real_sample, tmp_path / "out", contract)
    (data_set,) = open_all(tmp_path / "out", contract)
    rows = (data_set.train.rows, data_set.test.rows, data_set.validation.rows)
    assert rows == (117_548, 9_796, 9_795)
    assert report.source.bad_rows == 0
    batch = data_set.train.batch(0, 117_548)
    assert 0.2 < float(batch.labels_b.mean()) < 0.3
    statistics = {column.name: column for column in report.manifests[0].numeric}
    assert statistics["I2"].minimum == -2
    assert statistics["I12"].missing > 0.7 * 117_548
    assert (batch.ids_bm.min(axis=0) == np.array(contract.data.column_offsets)).sum() >= 20
