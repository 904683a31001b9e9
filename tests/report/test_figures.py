"""Figures show the numbers that they are given, and take the page's colours."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from coterie.report import figures, palette, quality
from coterie.report.drawing import Drawing, style
from coterie.runs.curve import Point
from tests.report.runs import HFL, comparison, outcome, released

pytestmark = pytest.mark.long


POINTS = tuple(Point(i, 100, 1 / i, 1 - 1 / i) for i in range(1, 120))


def all_drawings() -> list[Drawing]:
    times = {
        found.node: {key: value for key, value in vars(found).items() if key != "node"}
        for found in outcome(HFL).times
    }
    with style():
        made = [
            figures.loss_figure([figures.Line("one", POINTS), figures.Line("two", POINTS)]),
            figures.accuracy_figure([figures.Line("one", POINTS)]),
            figures.time_figure(
                "time", {"attested": (4.0, 4.4, 4.2), "plaintext": (3.0, 3.2, 3.1)}
            ),
            quality.roc_figure([("one", released())]),
            quality.calibration_figure([("one", released())]),
            figures.worth_figure(comparison()),
            figures.breakdown_figure("breakdown-0", times),
        ]
    found = [drawing for drawing in made if drawing is not None]
    assert len(found) == len(made)
    return found


NAMES = ("loss", "accuracy", "time", "roc", "calibration", "worth", "breakdown-0")


@pytest.fixture(scope="module")
def drawings() -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in all_drawings()}


@pytest.fixture(params=NAMES)
def drawing(request: pytest.FixtureRequest, drawings: dict[str, Drawing]) -> Drawing:
    return drawings[request.param]


def test_all_of_them_are_looked_at(drawings: dict[str, Drawing]) -> None:
    assert tuple(drawings) == NAMES


def test_a_figure_is_a_png_and_an_svg(drawing: Drawing) -> None:
    assert drawing.png.startswith(b"\x89PNG\r\n\x1a\n")
    assert ET.fromstring(drawing.source).tag == "{http://www.w3.org/2000/svg}svg"


def test_on_the_page_it_takes_the_pages_colours(drawing: Drawing) -> None:
    inline = drawing.inline()
    for shade in palette.ALL:
        assert shade.light not in inline.lower()
    left = set(re.findall(r"#[0-9a-f]{6}\b", inline.lower()))
    assert left <= {"#ffffff", "#000000"}, "a colour that the dark page would not change"
    assert "var(--ink)" in inline or "var(--muted)" in inline


def test_on_the_page_it_has_a_title_and_loads_nothing(drawing: Drawing) -> None:
    root = ET.fromstring(drawing.inline())
    assert root.get("role") == "img"
    assert root.get("aria-label") == drawing.title
    for element in root.iter():
        for key, value in element.attrib.items():
            if key.endswith("href"):
                assert value.startswith("#")
            assert "url(" not in value.replace("url(#", "")
        assert not element.tag.endswith(("script", "image", "foreignObject", "metadata"))


def test_ids_of_one_page_are_different_and_lead_somewhere(drawings: dict[str, Drawing]) -> None:
    ids: list[str] = []
    for drawing in drawings.values():
        root = ET.fromstring(drawing.inline())
        own = [value for element in root.iter() if (value := element.get("id"))]
        for reference in re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", drawing.inline()):
            assert (reference[0] or reference[1]) in own
        ids += own
    assert len(ids) == len(set(ids))


def test_the_same_values_give_the_same_figure(drawings: dict[str, Drawing]) -> None:
    again = all_drawings()
    assert [drawing.source for drawing in again] == [
        drawing.source for drawing in drawings.values()
    ]


def test_nothing_is_drawn_of_nothing() -> None:
    with style():
        assert figures.loss_figure([]) is None
        assert figures.loss_figure([figures.Line("empty", ())]) is None
        untold = tuple(Point(i, 10, 0.5, None) for i in range(1, 5))
        assert figures.accuracy_figure([figures.Line("old", untold)]) is None
        assert quality.roc_figure([]) is None
        assert quality.calibration_figure([]) is None
        assert figures.time_figure("time", {}) is None
        assert figures.breakdown_figure("breakdown", {}) is None


def test_epochs_are_marked_where_all_runs_have_the_same() -> None:
    def caption(*epochs: tuple[int, ...]) -> str:
        lines = [figures.Line(str(i), POINTS, (), ends) for i, ends in enumerate(epochs)]
        with style():
            drawn = (figures.loss_figure(lines), figures.accuracy_figure(lines))
        (said,) = {"ends of epochs" in one.caption for one in drawn if one is not None}
        return "marked" if said else "plain"

    assert caption((40, 80)) == caption((40, 80), (40, 80)) == "marked"
    assert caption(()) == caption((40, 80), (60,)) == "plain"
    assert caption(tuple(range(1, 100))) == "plain"  # more lines than curve
