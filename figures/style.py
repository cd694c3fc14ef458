"""How every figure looks: sizes, colours, themes, and how it is saved.

Colours are those of Okabe and Ito, told apart with any common colour blindness; marks and line
styles repeat what colour says. `theme` and `venue` say for a block of code in which colours and
for which proceedings figures are drawn, `output` where they are written and as what.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.colors
import pandas
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.study import write_atomically
from arvdm_theory.errors import ParameterError

__all__ = [
    "BLACK_OR_WHITE",
    "FORMATS",
    "PAGE",
    "RUNG_COLOURS",
    "SERIES",
    "TERM_COLOURS",
    "TERM_NAMES",
    "THEMES",
    "VENUES",
    "WIDE",
    "Sheet",
    "Theme",
    "Venue",
    "faint",
    "ink",
    "new_figure",
    "output",
    "paper",
    "save",
    "small",
    "theme",
    "tinted",
    "venue",
]

PAGE, WIDE = 6.75, 9.0
"""Widths in inches for the screen, where no venue says how wide a figure is."""

SKY, BLUE, GREEN, YELLOW = "#56B4E9", "#0072B2", "#009E73", "#F0E442"
ORANGE, VERMILION, PURPLE, GREY = "#E69F00", "#D55E00", "#CC79A7", "#999999"

BLACK_OR_WHITE = "ink"
"""Stands for the theme's own foreground in the tables below; `ink` resolves it."""

TERM_COLOURS = {
    "nie": SKY,
    "see": VERMILION,
    "de": ORANGE,
    "see_plus_de": PURPLE,
    "mb": BLUE,
}
TERM_NAMES = {
    "nie": "noise initialisation (NIE)",
    "see": "score estimation (SEE)",
    "de": "discretisation (DE)",
    "see_plus_de": "SEE + DE (2.2)",
    "mb": "memory bottleneck (MB)",
}
RUNG_COLOURS = {"output": GREEN, "clip": GREEN, "chain": BLACK_OR_WHITE, "bound": GREY}
SERIES = (
    (BLUE, "o", "-"),
    (VERMILION, "s", "--"),
    (GREEN, "^", "-."),
    (ORANGE, "D", ":"),
    (PURPLE, "v", (0, (5, 1, 1, 1, 1, 1))),
    (SKY, "P", (0, (8, 2))),
)
"""Colour, mark and line style of the first, second, .. series."""


@dataclass(frozen=True)
class Theme:
    """Foreground, background and faint lines; `suffix` of the file names."""

    ink: str
    paper: str
    faint: str
    suffix: str


THEMES = {
    "light": Theme("#1b1b1b", "#ffffff", "#d9d9d9", ""),
    "dark": Theme("#e6e6e6", "#1a1d21", "#454b52", "_dark"),
}

_theme: ContextVar[Theme] = ContextVar("theme", default=THEMES["light"])


@contextmanager
def theme(name: str) -> Iterator[Theme]:
    """Draw in the theme `name` (`light`, `dark`) within the block."""
    token = _theme.set(THEMES[name])
    try:
        yield _theme.get()
    finally:
        _theme.reset(token)


def ink(colour: str = BLACK_OR_WHITE) -> str:
    """`colour`, or the theme's foreground if it is `BLACK_OR_WHITE`."""
    return _theme.get().ink if colour == BLACK_OR_WHITE else colour


def faint() -> str:
    """The theme's colour of grids and guides."""
    return _theme.get().faint


def paper() -> str:
    """The theme's background."""
    return _theme.get().paper


# --- for which proceedings ------------------------------------------------------------------------


@dataclass(frozen=True)
class Venue:
    """Width in inches that figures get (None: as they were designed), and text in its own sizes."""

    name: str
    width: float | None
    parameters: dict[str, Any]


VENUES = {"plain": (), "neurips": ("",), "icml": ("_half", "_full"), "cvpr": ("_half", "_full")}
"""Name → its widths by number of columns, as `tueplots` names them."""
_TUEPLOTS_YEAR = "2024"
SMALLEST = 6.0
"""Points of the smallest text of a venue: figures get 2, 1 or 0 points less than its text, the
smallest that leave it so large."""
PLAIN = Venue("plain", None, {})

_venue: ContextVar[Venue] = ContextVar("venue", default=PLAIN)


def venue_of(name: str, columns: int | None = None) -> Venue:
    """Sizes and fonts of a venue (from `tueplots`), for a figure over so many columns of its page.

    `columns`: 1 or 2, default: the whole width of the text. Needs no LaTeX: of the venue's fonts
    those are used that are installed, then the Times-like one that matplotlib brings.

    Raises `ParameterError` for a venue that is not in `VENUES` and for columns that it has not.
    """
    if name not in VENUES:
        raise ParameterError("style", f"one of {', '.join(VENUES)}", name)
    sizes = VENUES[name]
    if not sizes:
        if columns is not None:
            raise ParameterError("columns", "left out for plain, which has no page", columns)
        return PLAIN
    if columns is not None and not 1 <= columns <= len(sizes):
        allowed = "1" if len(sizes) == 1 else f"in 1..{len(sizes)}"
        raise ParameterError("columns", f"{allowed} for {name}", columns)
    from tueplots import figsizes, fonts, fontsizes

    year = f"{name}{_TUEPLOTS_YEAR}"
    width = getattr(figsizes, year + sizes[(columns or len(sizes)) - 1])()["figure.figsize"][0]
    every = (getattr(fontsizes, year)(default_smaller=points) for points in (2, 1, 0))
    text = next(sizes for sizes in every if min(sizes.values()) >= SMALLEST)
    letters = getattr(fonts, year)()
    installed = set(font_manager.get_font_names())
    family = letters["font.family"]
    wanted = [font for font in letters[f"font.{family}"] if font in installed]
    text["font.family"] = [*wanted, "STIXGeneral", "DejaVu Sans"]
    text["mathtext.fontset"] = "stix"
    return Venue(name, float(width), text)


@contextmanager
def venue(name: str, columns: int | None = None) -> Iterator[Venue]:
    """Draw for the proceedings `name` (`VENUES`) within the block; see `venue_of`."""
    token = _venue.set(venue_of(name, columns))
    try:
        yield _venue.get()
    finally:
        _venue.reset(token)


def tinted(colour: str, share: float = 0.16) -> str:
    """A little of `colour` on the theme's background: text can be read on it."""
    pair = [mpl.colors.to_rgb(ink(colour)), mpl.colors.to_rgb(paper())]
    red, green, blue = (share * a + (1.0 - share) * b for a, b in zip(*pair, strict=True))
    return mpl.colors.to_hex((red, green, blue))


def small() -> float:
    """Points of text inside drawings: as of the ticks."""
    return float(_parameters()["xtick.labelsize"])


def _parameters() -> dict[str, Any]:
    now = _theme.get()
    return {
        "font.size": 8.0,
        "axes.titlesize": 8.0,
        "axes.titlelocation": "left",
        "axes.labelsize": 8.0,
        "xtick.labelsize": 7.0,
        "ytick.labelsize": 7.0,
        "legend.fontsize": 7.0,
        "legend.frameon": False,
        "lines.linewidth": 1.3,
        "lines.markersize": 4.0,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4,
        "ytick.minor.width": 0.4,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.4,
        "hatch.linewidth": 0.5,
        "grid.color": now.faint,
        "text.color": now.ink,
        "axes.labelcolor": now.ink,
        "axes.edgecolor": now.ink,
        "xtick.color": now.ink,
        "ytick.color": now.ink,
        "axes.facecolor": now.paper,
        "figure.facecolor": now.paper,
        "savefig.facecolor": now.paper,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 180.0,
        "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
        "ps.fonttype": 42,
        "svg.hashsalt": "figure",  # the same figure is the same file
    } | _venue.get().parameters


WRAPPED, NARROWEST, ONE_COLUMN = 1.25, 0.85, 4.0
"""Inches: below the first a row of panels is broken, below the second (on pages wider than the
third; else the first) a grid of panels is refused."""


class Sheet(Figure):
    """A figure that fits the venue's width: panels in a row wrap, legends get fewer columns.

    `design`: the size it has where there is no venue; `pictures`: whether its panels keep their
    shape.
    """

    design: tuple[float, float] = (PAGE, PAGE)
    pictures: bool = False

    def subplots(
        self, nrows: int = 1, ncols: int = 1, *, least: float = WRAPPED, **options: Any
    ) -> Any:
        """As of any figure; a single row of panels narrower than `least` inches becomes several.

        Raises `ParameterError` if several rows of panels are too narrow.
        """
        width, height = self.get_size_inches()
        limit = least if nrows == 1 else WRAPPED if width < ONE_COLUMN else NARROWEST
        room = max(1, int(width / limit))
        if _venue.get().width is None or ncols <= room:
            return super().subplots(nrows, ncols, **options)
        if nrows > 1:
            raise ParameterError(
                "columns", f"more than 1: {ncols} panels stand side by side", "1 column"
            )
        columns = -(-ncols // -(-ncols // room))
        rows = -(-ncols // columns)
        if self.pictures:
            height = self.design[1] * (width / columns) / (self.design[0] / ncols)
        options.pop("width_ratios", None)
        squeeze = options.pop("squeeze", True)
        self.set_size_inches(width, height * rows)
        axes = super().subplots(rows, columns, squeeze=False, **options).ravel()
        for spare in axes[ncols:]:
            spare.remove()
        return axes[:ncols] if squeeze else axes[:ncols].reshape(1, ncols)

    def legend(self, *handles: Any, ncols: int = 1, **options: Any) -> Any:
        """As of any figure, with at most `ncols` columns: as many as fit."""
        shared = "left" in options.get("loc", "") or "right" in options.get("loc", "")
        room = float(self.bbox.width) * (0.5 if shared else 1.0)
        while True:
            made = super().legend(*handles, ncols=ncols, **options)
            if _venue.get().width is None or ncols == 1:
                return made
            if made.get_window_extent(FigureCanvasAgg(self).get_renderer()).width <= room:
                return made
            made.remove()
            ncols -= 1


@contextmanager
def new_figure(width: float, height: float, *, pictures: bool = False) -> Iterator[Sheet]:
    """An empty figure of that size in inches; draw on it, and save it, within the block.

    For a venue it gets the venue's width, and a height that shrinks with it, but less than it, as
    text does not shrink; all of it if the figure shows `pictures`.
    """
    design, given = (width, height), _venue.get().width
    if given is not None:
        ratio = given / width
        height *= ratio if pictures else min(1.0, math.sqrt(ratio))
        width = given
    parameters: Any = _parameters()
    with mpl.rc_context(parameters):
        sheet = Sheet(figsize=(width, height))
        sheet.design, sheet.pictures = design, pictures
        FigureCanvasAgg(sheet)
        yield sheet


def _wrap(figure: Figure) -> None:
    """Break the lines of titles and labels that are longer than their panel, or cut off."""
    gap = 1.04 if len(figure.axes) > 1 else 1.0
    for _ in range(3):  # a label of more lines makes its panel smaller
        figure.draw_without_rendering()
        for ax in figure.axes:
            panel = ax.get_window_extent()
            titles = (ax._left_title, ax.title)  # type: ignore[attr-defined]
            for text in (ax.xaxis.label, *titles):
                _shorten(text, panel.width * gap, figure.bbox.intervalx, "intervalx")
            _shorten(ax.yaxis.label, panel.height * gap, figure.bbox.intervaly, "intervaly")


def _shorten(text: Text, room: float, inside: Any, interval: str) -> None:
    """Break `text` until it is at most `room` long and lies `inside`, or has four lines."""
    words = " ".join(text.get_text().split("\n"))
    if not words:
        return
    for lines in range(text.get_text().count("\n") + 2, 5):
        start, end = getattr(text.get_window_extent(), interval)
        if end - start <= room and inside[0] <= start and end <= inside[1]:
            return
        text.set_text(_broken(words, lines))


def _broken(words: str, lines: int) -> str:
    """`words` on about so many lines of equal length; never beside an equals sign."""
    kept = re.sub(r" *([=<≤]) *", "\u00a0\\1\u00a0", words)
    room = math.ceil(len(kept) / lines)
    broken = textwrap.wrap(kept, room, break_long_words=False, break_on_hyphens=False)
    while len(broken) > lines:
        room += 1
        broken = textwrap.wrap(kept, room, break_long_words=False, break_on_hyphens=False)
    return "\n".join(broken).replace("\u00a0", " ")


# --- how it is saved ------------------------------------------------------------------------------

FORMATS = ("pdf", "png", "svg")
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},  # the same figure is the same file
    "png": {"Software": None},
    "svg": {"Date": None},
}


@dataclass(frozen=True)
class _Output:
    folder: Path
    formats: tuple[str, ...]


_output: ContextVar[_Output | None] = ContextVar("output", default=None)


@contextmanager
def output(folder: Path, formats: Sequence[str]) -> Iterator[None]:
    """Within the block `save` writes to `folder`, one file for each of `formats` (`FORMATS`)."""
    for kind in formats:
        if kind not in FORMATS:
            raise ParameterError("format", f"one of {', '.join(FORMATS)}", kind)
    token = _output.set(_Output(folder, tuple(dict.fromkeys(formats))))
    try:
        yield
    finally:
        _output.reset(token)


def save(figure: Figure, name: str, data: pandas.DataFrame, out: Path) -> list[Path]:
    """Write a figure and return its files, each of them whole or not there.

    Within `output` these are the files asked for. Else `out/figures/<name>.png`, and in the light
    theme also `.pdf` and the plotted `.csv`.
    """
    suffix, asked = _theme.get().suffix, _output.get()
    folder = out / "figures" if asked is None else asked.folder
    formats = asked.formats if asked else ("png",) if suffix else ("png", "pdf")
    written = []
    if asked is None and not suffix:
        write_atomically(folder / f"{name}.csv", data.to_csv(index=False).encode())
    if _venue.get().width is not None:
        _wrap(figure)
    for kind in formats:
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=_METADATA[kind])
        path = folder / f"{name}{suffix}.{kind}"
        write_atomically(path, content.getvalue())
        written.append(path)
    return written
