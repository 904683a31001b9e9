"""Everybody can read the report: contrast as WCAG 2.2 demands it, in light and dark."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import combinations

import pytest

from coterie.report import palette
from coterie.report.palette import Shade, contrast

TEXT = (palette.INK, palette.MUTED)
MARKS = (*palette.SERIES, palette.IDLE)
TEMPLATE = (files("coterie.report") / "templates" / "style.css.j2").read_text()


def own_colours(scheme: str) -> dict[str, str]:
    """The template's few colours beside the palette's, of one scheme."""
    rules = re.findall(r":root\{(--page[^}]*)\}", TEMPLATE)
    assert len(rules) == 2
    pairs = (rule.split(":") for rule in rules[scheme == "dark"].split(";"))
    return dict(pairs)


def test_contrast_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#ffffff") == pytest.approx(1)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shade", TEXT, ids=lambda shade: shade.variable)
def test_text_can_be_read(shade: Shade, scheme: str) -> None:
    own = own_colours(scheme)
    for background in (getattr(palette.BACKGROUND, scheme), own["--page"]):
        assert contrast(getattr(shade, scheme), background) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shade", MARKS, ids=lambda shade: shade.variable)
def test_marks_stand_out(shade: Shade, scheme: str) -> None:
    assert contrast(getattr(shade, scheme), getattr(palette.BACKGROUND, scheme)) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_stamps_and_praise_can_be_read(scheme: str) -> None:
    own = own_colours(scheme)
    assert contrast(own["--chip-ink"], own["--chip"]) >= 4.5
    assert contrast(own["--good"], own["--page"]) >= 4.5


def test_no_two_colours_are_one() -> None:
    for one, other in combinations(palette.ALL, 2):
        assert one.light != other.light
        assert one.variable != other.variable
