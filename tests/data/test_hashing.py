"""Ids hash to rows 1 .. rows - 1 of their own column, the same for every party."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import DataSection
from coterie.data.hashing import column_key, global_rows, hash_strings, rows_of_hashes

KNOWN_ROWS = [7605, 6035, 5499]
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=50)


@given(TEXTS, st.integers(2, 10_000), st.integers(0, 2**63 - 1))
def test_rows_stay_within_the_table_and_off_row_zero(ids: list[str], rows: int, seed: int) -> None:
    seen = rows_of_hashes(hash_strings(ids, column_key(seed, "C1")), rows)
    assert ((seen >= 1) & (seen < rows)).all()


@given(TEXTS)
def test_global_rows_stay_within_their_column(ids: list[str]) -> None:
    data = DataSection(categorical=("C1", "C2"), rows=7, column_rows={"C2": 3})
    for column, (low, high) in enumerate([(0, 7), (7, 10)]):
        rows = global_rows(ids, data, column)
        assert ((rows > low) & (rows < high)).all()


def test_the_key_is_what_the_documentation_says() -> None:
    text = b"coterie id hash 1\x00" + bytes([5, 1, 0, 0, 0, 0, 0, 0]) + b"C7"
    assert column_key(261, "C7") == hashlib.sha256(text).digest()[:16]


def test_known_rows_never_change() -> None:
    # Prepared data of older versions must keep their meaning.
    data = DataSection(hash_seed=2022)
    assert global_rows(["", "05db9164", "68fd1e64"], data, 0).tolist() == KNOWN_ROWS


def test_seed_and_column_change_every_hash() -> None:
    ids = [str(i) for i in range(100)]
    keys = [column_key(0, "C1"), column_key(1, "C1"), column_key(0, "C2")]
    hashes = [set(hash_strings(ids, key).tolist()) for key in keys]
    assert len(set.union(*hashes)) == 300


def test_case_and_spaces_are_part_of_an_id() -> None:
    key = column_key(0, "C1")
    assert len(set(hash_strings(["a", "A", " a", "a "], key).tolist())) == 4
