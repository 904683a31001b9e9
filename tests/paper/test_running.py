"""What `coterie paper` refuses before anything runs, and where it finds its programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coterie.data.examples import Examples, examples_from_records, pack_records
from coterie.data.prepare.synthetic import synthesize
from coterie.errors import OutputInUse, RawDataInvalid
from coterie.paper.plan import Case, cases, contract_of, program_of
from coterie.paper.preparing import LEAST_ROWS, count_rows, write_records
from coterie.paper.running import program_file, run_paper


def silent(_text: str) -> None:
    pass


def test_the_rows_are_counted_up_to_the_limit(tmp_path: Path) -> None:
    synthesize(tmp_path / "raw.tsv", rows=3000, seed=1)
    assert count_rows(tmp_path / "raw.tsv", 10_000) == 3000
    assert count_rows(tmp_path / "raw.tsv", 2500) == 2500


@pytest.mark.system  # builds it where it is not
@pytest.mark.usefixtures("native_part")
def test_a_file_in_another_format_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "raw.tsv").write_text("a\tb\n" * 5000)
    out = tmp_path / "out"
    with pytest.raises(RawDataInvalid):
        run_paper(tmp_path / "raw.tsv", out, say=silent)
    assert not (out / "runs").exists()
    assert not (out / "paper.json").exists()


def test_a_file_that_is_too_short_is_refused(tmp_path: Path) -> None:
    synthesize(tmp_path / "raw.tsv", rows=LEAST_ROWS - 1, seed=1)
    with pytest.raises(RawDataInvalid, match="too short"):
        count_rows(tmp_path / "raw.tsv", 10_000)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RawDataInvalid):
        count_rows(tmp_path / "raw.tsv", 10_000)


def test_a_directory_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(OutputInUse):
        run_paper(None, tmp_path, say=silent)
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_its_program_is_found(case: Case) -> None:
    assert program_file(program_of(case)).is_file()


def test_records_for_programs_are_the_examples_without_a_header(tmp_path: Path) -> None:
    data = contract_of(cases()[0], rows=4000, tables=100).data
    labels, dense = np.array([0, 1], np.float32), np.ones((2, 13), np.float32)
    ids = np.array([data.column_offsets] * 2, np.int32)
    words = pack_records(labels, dense, ids)
    examples: Examples = examples_from_records(words.tobytes(), data)
    write_records(examples, tmp_path / "acme" / "train")
    assert (tmp_path / "acme" / "train").read_bytes() == words.tobytes()
