"""A figure in three forms: PNG, SVG, and an SVG for the page whose colours follow its theme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coterie.files import make_folder, write_whole
from coterie.report import palette

DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), "-.")
SIZE = (4.5, 3.1)  # inches: in CSS pixels, what a phone shows without shrinking the text much
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)|^#(.+)$")
_COLOURS = {shade.light: f"var({shade.variable})" for shade in palette.ALL}
_COLOUR = re.compile("|".join(map(re.escape, _COLOURS)), re.IGNORECASE)


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: Name of its files, without a suffix.
        title: What it shows, in a few words.
        caption: How to read it.
        source: The SVG as Matplotlib made it.
        png: The PNG.
    """

    name: str
    title: str
    caption: str
    source: bytes
    png: bytes

    def save(self, folder: Path) -> None:
        """Writes the two files.

        Raises:
            OSError: They cannot be written.
        """
        make_folder(folder)
        write_whole(folder / f"{self.name}.svg", self.source)
        write_whole(folder / f"{self.name}.png", self.png)

    def renamed(self, title: str) -> Drawing:
        """The same figure under another title."""
        return replace(self, title=title)

    def inline(self) -> str:
        """The SVG as an element of a page: colours by CSS variable, ids of its own, a title."""
        return _inlined(self.source, self.name, self.title)


@contextmanager
def style() -> Iterator[None]:
    """Applies Matplotlib's settings; figures are made and finished inside this context."""
    with mpl.rc_context(
        {
            "font.size": 9.5,
            "font.family": ["DejaVu Sans"],
            "axes.edgecolor": palette.IDLE.light,
            "axes.labelcolor": palette.MUTED.light,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.facecolor": palette.BACKGROUND.light,
            "grid.color": palette.GRID.light,
            "grid.linewidth": 0.8,
            "text.color": palette.INK.light,
            "xtick.color": palette.IDLE.light,
            "ytick.color": palette.IDLE.light,
            "xtick.labelcolor": palette.MUTED.light,
            "ytick.labelcolor": palette.MUTED.light,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.linewidth": 1.8,
            "figure.facecolor": palette.BACKGROUND.light,
            "svg.fonttype": "none",
            "text.parse_math": False,  # draw names as they are: no mathematics, no TeX
        }
    ):
        yield


def new_figure(height: float = SIZE[1]) -> Figure:
    """An empty figure of the usual width, in inches."""
    return Figure(figsize=(SIZE[0], height), layout="constrained")


def legend(axes: Axes, lines: int) -> None:
    """Adds a legend if there is more than one line."""
    if lines > 1:
        axes.legend(labelcolor=palette.MUTED.light)


@dataclass(frozen=True)
class Bar:
    """What was timed, perhaps several times.

    Attributes:
        label: Its name.
        seconds: The times.
        colour: The bar's.
    """

    label: str
    seconds: Sequence[float]
    colour: str


def bars_of_seconds(bars: Sequence[Bar]) -> Figure:
    """A bar for each median, a tick for each time where there are several; call it inside ``style``."""
    figure = new_figure(1.0 + 0.36 * len(bars))
    axes = figure.subplots()
    for place, bar in enumerate(bars):
        middle = median(bar.seconds)
        axes.barh(place, middle, 0.65, color=bar.colour)
        if len(bar.seconds) > 1:
            axes.plot(
                bar.seconds, [place] * len(bar.seconds), "|", color=palette.INK.light, markersize=8
            )
        axes.annotate(
            f"{middle:.{1 if middle >= 100 else 2}f} s",
            (max(bar.seconds), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=palette.INK.light,
        )
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.tick_params(axis="y", labelcolor=palette.INK.light, labelsize=8.5)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, max(max(bar.seconds) for bar in bars) * 1.25)
    axes.set_xlabel("seconds of training")
    axes.grid(visible=False, axis="y")
    return figure


def finish(figure: Figure, name: str, title: str, caption: str) -> Drawing:
    """Renders a figure; call it inside ``style``."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=144)
    with mpl.rc_context({"svg.hashsalt": name}):  # makes the ids of the SVG deterministic
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Drawing(name, title, caption, svg.getvalue(), png.getvalue())


def _inlined(source: bytes, name: str, title: str) -> str:
    # Matplotlib has just made this XML from our own figure; it is not input.
    root = ET.fromstring(source)  # noqa: S314
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{{{_SVG}}}metadata":
                parent.remove(child)
    used = {match for element in root.iter() for match in _references(element)}
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"{name}-{identity}")
        for key, value in list(element.attrib.items()):
            element.set(key, _rewritten(key, value, name))
        if element.tag == f"{{{_SVG}}}style":
            element.text = ""  # line joins only, which nobody sees; it would style the page
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", title)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return ET.tostring(root, encoding="unicode")


def _references(element: ET.Element) -> Iterator[str]:
    for key, value in element.attrib.items():
        if key == f"{{{_XLINK}}}href" or "url(" in value:
            for match in _REFERENCE.finditer(value):
                yield match[1] or match[2]


def _rewritten(key: str, value: str, name: str) -> str:
    if key == f"{{{_XLINK}}}href":
        return f"#{name}-{value[1:]}"
    value = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", value)
    if key in ("style", "fill", "stroke"):
        value = _COLOUR.sub(lambda match: _COLOURS[match[0].lower()], value)
    return value
