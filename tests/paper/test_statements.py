"""What the page says of a run is what ran: rows, epochs, tables and hyperparameters beside every figure."""

from __future__ import annotations

import re

import pytest

from coterie.paper.results import PaperResults
from coterie.paper.statements import FIGURES, PaperFigure, deviations
from tests.conftest import REPOSITORY
from tests.paper.results import results

every_figure = pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.number)


def said(figure: PaperFigure, ran: PaperResults | None = None) -> str:
    return "\n".join(deviations(figure, ran or results()))


@every_figure
@pytest.mark.parametrize(
    "subject",
    ["Rows", "Epochs", "Split", "Ids", "Numbers", "Model", "Batches", "Updates", "Optimizer “paper”", "Optimizer “tuned”"],
)  # fmt: skip
def test_beside_each_figure_is_all_that_changes_it(figure: PaperFigure, subject: str) -> None:
    assert re.search(f"^{subject}: ", said(figure), re.MULTILINE)


@every_figure
def test_the_rows_are_those_that_ran(figure: PaperFigure) -> None:
    ran = results()
    assert "Rows: the first 4,000 of the given file. The paper has one tenth" in said(figure, ran)
    made = ran.model_copy(
        update={"data": ran.data.model_copy(update={"synthetic": True, "rows": 60_000})}
    )
    assert "Rows: 60,000 synthetic ones, made here. The paper" in said(figure, made)


@every_figure
def test_the_epochs_are_those_that_ran(figure: PaperFigure) -> None:
    assert "Epochs: 1. The published program has 5." in said(figure)
    assert "Epochs: 3. " in said(figure, results().model_copy(update={"epochs": 3}))
    assert "Epochs" not in said(figure, results().model_copy(update={"epochs": 5}))


@every_figure
def test_the_tables_are_those_that_ran(figure: PaperFigure) -> None:
    larger = results().model_copy(update={"table_rows": 1_000_000})
    assert "into 1,000,000 rows for each column" in said(figure, larger)


@every_figure
def test_rare_ids_are_those_of_the_scheme(figure: PaperFigure) -> None:
    fewer = {"hfl": 2, "sdt": 4}[figure.scheme]
    assert f"with “tuned” ids that occur fewer than {fewer} times in a party's" in said(figure)


@every_figure
def test_the_hyperparameters_are_those_of_the_plan(figure: PaperFigure) -> None:
    assert "“paper”: SGD with rate 0.1 and batches of 128, as recorded" in said(figure)
    assert "“tuned”: Adagrad, batches of 64." in said(figure)
    assert "fall to 0 over the last 15% of the steps" in said(figure)


def test_the_shuffling_is_that_of_the_program() -> None:
    program = (REPOSITORY / "examples" / "tensorflow" / "dlrm_between_graph.py").read_text()
    assert "\nSHUFFLED = 1 << 16 " in program
    assert f"shuffled among {1 << 16:,} rows" in said(FIGURES[0])
