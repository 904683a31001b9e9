"""Colours of figures and pages, for light and dark: Okabe and Ito's hues (2008), made to contrast.

Every mark has at least 3:1 and every text at least 4.5:1 against its background (WCAG 2.2, 1.4.3 and
1.4.11); a test computes it. Colour is never the only difference: lines differ in their dashes too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shade:
    """A colour by its use.

    Attributes:
        variable: Name of its CSS variable.
        light: On light backgrounds; also the figure's colour in PNG and SVG files.
        dark: On dark backgrounds.
    """

    variable: str
    light: str
    dark: str


BACKGROUND = Shade("--card", "#ffffff", "#171b21")
INK = Shade("--ink", "#1b2127", "#e8ecf0")
MUTED = Shade("--muted", "#56606b", "#a3aeb9")
GRID = Shade("--grid", "#dfe4e9", "#303842")
IDLE = Shade("--idle", "#8b959f", "#7b8794")
SERIES = (
    Shade("--series-1", "#0072b2", "#56b4e9"),  # blue, sky blue
    Shade("--series-2", "#c85200", "#e69f00"),  # vermilion, orange
    Shade("--series-3", "#007a5a", "#2fc598"),  # bluish green
    Shade("--series-4", "#a2457e", "#e0a0c4"),  # reddish purple
)
ALL = (BACKGROUND, INK, MUTED, GRID, IDLE, *SERIES)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two ``#rrggbb`` colours, 1 to 21."""
    first, second = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
