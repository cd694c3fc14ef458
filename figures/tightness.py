"""Every inequality's range of bound over exact value, from tightest to loosest world found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.study import OUT, table_of
from analysis.tightness import KINDS, STUDY
from figures import style

NAME = "tightness"
TITLE = "How tight every inequality is"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Bound as a share of the exact value, for every inequality, from the tightest (filled) to the "
    "loosest (open) world that a seeded hunt found: random worlds, then moves of the best ones "
    "(seed {seed}). Lower bounds end at 1 from the left, upper bounds from the right; an arrow "
    "goes beyond the axis. Right, equalities: the largest relative difference of the two sides. "
    "Worlds with an exact value below 0.001 are not scored. No world broke an inequality; the "
    "table of the study holds each attaining world. Exact: calculators against dense joint laws; "
    "only the worlds are drawn."
)
LEAST, MOST = 1e-4, 1e4
"""Ends of the axis of ratios."""
FLOOR = 1e-16
"""Differences are shown down to here: a rounding of 1."""


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    data = table[["label", "inequality", "kind", "tightest_ratio", "loosest_ratio", "worlds"]]
    bounds = data[data["kind"] != "equality"]
    equal = data[data["kind"] == "equality"]
    rows = max(len(bounds), 1)
    with style.new_figure(style.WIDE, 0.9 + 0.17 * rows) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[2.0, 1.0])
        _ranges(left, bounds)
        _differences(right, equal)
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        style.save(figure, NAME, data, out)
    return figure, data


def _name_rows(ax: Axes, rows: pandas.DataFrame) -> None:
    names = [f"{row.label}: {row.inequality}" for row in rows.itertuples()]
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def _ranges(ax: Axes, rows: pandas.DataFrame) -> None:
    ax.set_xscale("log")
    ax.set_xlim(LEAST, MOST)
    ax.axvline(1.0, color=style.ink(), lw=0.8)
    for kind, colour in ((KINDS["at most"], style.BLUE), (KINDS["at least"], style.VERMILION)):
        places = np.flatnonzero(rows["kind"] == kind)
        tight, loose = (rows.iloc[places][f"{end}_ratio"] for end in ("tightest", "loosest"))
        inside = np.clip(loose, LEAST, MOST)
        ax.hlines(places, np.minimum(tight, inside), np.maximum(tight, inside), color=colour, lw=2)
        ax.plot(tight, places, "o", color=colour, ms=4, label=f"{kind}, tightest")
        ax.plot(loose, places, "o", color=colour, mfc=style.paper(), ms=4, label=f"{kind}, loosest")
        for mark, end, gone in (("<", LEAST, loose < LEAST), (">", MOST, loose > MOST)):
            beyond = places[gone.to_numpy()]
            if beyond.size:
                ends = np.full(beyond.size, end)
                ax.plot(ends, beyond, mark, color=colour, ms=4, clip_on=False)
    _name_rows(ax, rows)
    ax.set_xlabel("bound as a share of the exact value (log scale)")
    ax.set_title("inequalities")


def _differences(ax: Axes, rows: pandas.DataFrame) -> None:
    both = rows[["tightest_ratio", "loosest_ratio"]].to_numpy()
    worst = np.abs(both - 1.0).max(axis=1)
    ax.set_xscale("log")
    ax.set_xlim(FLOOR, 1e-8)
    ax.plot(np.maximum(worst, FLOOR), range(len(rows)), "D", color=style.GREEN, ms=4, clip_on=False)
    _name_rows(ax, rows)
    ax.set_xlabel("largest |ratio − 1| (share)")
    ax.set_title("equalities")
