"""``paper.json`` is strict, and holds all that the page shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from coterie.errors import DataError
from coterie.paper.results import FILE, PaperResults, read_results
from tests.paper.results import results


def test_what_is_written_is_read(tmp_path: Path) -> None:
    results().write(tmp_path)
    assert read_results(tmp_path) == results()


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert read_results(tmp_path) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), 2),
        (("turns",), "2"),
        (("another",), 1),
        (("cases", 0, "scheme"), "vertical"),
        (("cases", 0, "native", "seconds"), []),
        (("cases", 0, "native", "seconds"), [-1.0]),
        (("cases", 0, "native", "quality", "auc"), 1.5),
        (("cases", 0, "native", "model_digest"), "ab"),
        (("cases", 0, "native", "curve", 0, "loss"), float("nan")),
        (("data", "sha256"), "0"),
    ],
)
def test_what_is_no_result_is_refused(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    whole = results().model_dump(mode="json")
    target = whole
    for step in place[:-1]:
        target = target[step]  # type: ignore[index]
    target[place[-1]] = value  # type: ignore[index]
    (tmp_path / FILE).write_text(json.dumps(whole))
    with pytest.raises(DataError):
        read_results(tmp_path)
    with pytest.raises(ValidationError):
        PaperResults.model_validate_json(json.dumps(whole))


def test_the_ratio_is_the_median_of_the_turns() -> None:
    case = results().cases[0]
    assert case.ratio("simulated") == pytest.approx((1.2 + 1.5) / 2)
    assert case.ratio("native") is None
    assert case.ratio("sgx") is None
