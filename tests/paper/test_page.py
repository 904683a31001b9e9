"""The page: the paper's statements beside what was measured, and empty columns that say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coterie.paper import statements
from coterie.paper.page import COLUMNS, PAGE, write_page
from tests.paper.results import results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(results(), tmp_path_factory.mktemp("paper")).parent


@pytest.fixture
def text(folder: Path) -> str:
    return (folder / PAGE).read_text(encoding="utf-8")


def test_every_figure_of_the_paper_has_its_section(text: str) -> None:
    titles = re.findall(r"<h2>(Figures? [^<.]+)\.", text)
    assert titles == ["Figures 4 and 5", "Figure 6", "Figure 7", "Figure 8"]


def test_the_papers_ratios_are_its_own_and_ours_are_measured(text: str) -> None:
    assert "2.2 times as long" in text
    assert "1.6 times as long" in text
    assert text.count('<data value="1.35">1.35x</data>') == 5


def test_deviations_stand_beside_every_figure(text: str) -> None:
    assert text.count("What deviates from the paper here") == len(statements.FIGURES)
    assert text.count("Ids: hashed with a seed") == len(statements.FIGURES)


def test_columns_that_did_not_run_are_empty_and_say_so(text: str) -> None:
    for column in COLUMNS:
        assert f"<th>{column}</th>" in text
    rows = 2 * len(results().cases)  # curves and times
    assert text.count("not run here") == 2 * rows


def test_equal_models_are_told(text: str) -> None:
    assert text.count("the native model, bit for bit") == 4


def test_what_is_withheld_or_comes_from_outside_is_text(tmp_path: Path) -> None:
    odd = results(name="<b>x</b>.tsv", auc=None)
    few = odd.model_copy(update={"cases": odd.cases[:1]})
    text = write_page(few, tmp_path).read_text(encoding="utf-8")
    assert "AUC withheld" in text
    assert "&lt;b&gt;x" in text
    assert "<b>x</b>" not in text
    assert text.count("Not run here.") == 2  # SDT's two figures


def test_figures_are_in_the_page_with_a_text_for_those_who_do_not_see_them(
    text: str, folder: Path
) -> None:
    figures = re.findall(r"<svg[^>]*>", text)
    assert len(figures) == 10  # loss and accuracy of two settings, and times, of two schemes
    assert all('role="img"' in one and "aria-label=" in one for one in figures)
    assert len(list((folder / "figures").glob("*.png"))) == 10


def test_the_page_loads_nothing(text: str) -> None:
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert "<script" not in text
