"""How every figure looks: sizes, colours, themes, and how it is saved.

Colours are those of Okabe and Ito, told apart with any common colour blindness; marks and line
styles repeat what colour says.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas
from matplotlib.figure import Figure

from analysis.study import write_atomically

__all__ = [
    "BLACK_OR_WHITE",
    "COLUMN",
    "PAGE",
    "RUNG_COLOURS",
    "SERIES",
    "TERM_COLOURS",
    "TERM_NAMES",
    "TEXT",
    "WIDE",
    "Theme",
    "ink",
    "new_figure",
    "save",
    "theme",
]

COLUMN, TEXT, PAGE, WIDE = 3.25, 5.5, 6.75, 9.0
"""Widths in inches: a column and the page of two-column proceedings (ICML, CVPR), the text block of
NeurIPS and ICLR, and a figure for the screen."""

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
    }


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of that size in inches; draw on it, and save it, within the block."""
    parameters: Any = _parameters()
    with mpl.rc_context(parameters):
        yield Figure(figsize=(width, height))


def save(figure: Figure, name: str, data: pandas.DataFrame, out: Path) -> None:
    """Write `out/figures/<name>.png`, and in the light theme also `.pdf` and the plotted `.csv`."""
    folder, suffix = out / "figures", _theme.get().suffix
    kinds: dict[str, dict[str, Any]] = {"png": {"Software": None}}
    if not suffix:
        kinds["pdf"] = {"CreationDate": None}  # the same figure is the same file
        write_atomically(folder / f"{name}.csv", data.to_csv(index=False).encode())
    for kind, metadata in kinds.items():
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=metadata)
        write_atomically(folder / f"{name}{suffix}.{kind}", content.getvalue())
