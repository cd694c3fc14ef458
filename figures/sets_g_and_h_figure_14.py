"""Which vectors of the chain an AR step creates (G) and which were there before (H)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.cases import LEVELS
from analysis.study import OUT
from arvdm_theory.checks import positive_integer
from arvdm_theory.schedule import Schedule
from figures import style

NAME = "sets_g_and_h_figure_14"
TITLE = "The sets G and H of an AR step"
STUDIES: tuple[str, ...] = ()
KIND = "exact"
STEP, SUBSTEPS = 3, 2
CAPTION = (
    "The sets that the proof of Theorem A sorts the chain by, in our reading (mirrors the paper’s "
    f"Figure 14), for AR step k = {STEP} of four schedules with M = {SUBSTEPS} sub-steps. Each "
    "point is one vector of the chain, a frame at a level; a frame that does not move is one "
    "vector. H<sub>k</sub> (blue): all that was created before step k. G<sub>k</sub> (orange): "
    "what step k creates, its pure-noise frames included; H<sub>k+1</sub> = H<sub>k</sub> ∪ "
    "G<sub>k</sub>. Rings: Input<sub>k</sub>, the window at its input levels. Squares: "
    "Output<sub>k</sub>. The blue points without a ring are Past<sub>k</sub> (no references, no "
    "memory): what the memory bottleneck I(Output; Past | Input) is about. Exact: listed from the "
    "schedules (T = 3, δ = 0.02, OU time)."
)

SCHEDULES: dict[str, dict[str, Any]] = {
    "FIFO": {"method": "fifo", "window": 4},
    "staircase": {"method": "staircase", "window": 6, "stride": 2},
    "outpainting": {"method": "outpainting", "window": 4, "stride": 2},
    "chunk": {"method": "chunk", "window": 3},
}
"""The schedules that are drawn, without T, δ and M."""


def vectors(schedule: Schedule, step: int) -> pandas.DataFrame:
    r"""Every vector of the chain up to AR step k, without references and memory (Theorem A).

    Columns: `frame` from 1; `level` (OU time); `created`, the AR step that creates it, 0 for the
    re-noised frames of the initialisation; `set`, `H` if created before step k, else `G`; `input`
    and `output`, whether it belongs to $Input_k$ and $Output_k$; `past`, to $Past_k$.

    Raises `ParameterError` if `step` is not at least 1.
    """
    step = positive_integer("step", step)
    window, stride = schedule.window, schedule.stride
    grid = np.asarray(schedule.grid)
    # (frame, sub-step level, created): window frame j of AR step k is frame (k - 1) Δ + j
    rows = [(j + 1, float(grid[0, j]), 0) for j in range(window - stride)]
    for k in range(1, step + 1):
        first = (k - 1) * stride + 1
        rows += [(first + j, float(grid[0, j]), k) for j in range(window - stride, window)]
        for n in range(1, len(grid)):
            moved = np.flatnonzero(grid[n] < grid[n - 1])
            rows += [(first + int(j), float(grid[n, j]), k) for j in moved]
    table = pandas.DataFrame(rows, columns=["frame", "level", "created"])
    table["set"] = np.where(table["created"] < step, "H", "G")
    place = table["frame"] - (step - 1) * stride - 1
    inside = (place >= 0) & (place < window)
    for name, levels in (("input", grid[0]), ("output", grid[-1])):
        at = np.where(inside, levels[np.clip(place, 0, window - 1)], np.nan)
        table[name] = table["level"].to_numpy() == at
    table["past"] = (table["set"] == "H") & ~table["input"]
    return table


def draw_sets(ax: Axes, schedule: Schedule, step: int) -> pandas.DataFrame:
    """Draw H and G of AR step `step` of any schedule on `ax`; returns the plotted vectors."""
    table = vectors(schedule, step)
    size = float(np.clip(46.0 / table["frame"].max(), 2.5, 5.0))
    for _, rows in table.groupby("frame"):
        ax.plot(rows["frame"], rows["level"], color=style.faint(), lw=0.8, zorder=1)
    for name, colour in (("H", style.BLUE), ("G", style.ORANGE)):
        for output, mark in ((False, "o"), (True, "s")):
            rows = table[(table["set"] == name) & (table["output"] == output)]
            ax.plot(
                rows["frame"],
                rows["level"],
                ls="none",
                marker=mark,
                ms=size,
                color=colour,
                zorder=3,
            )
    ringed = table[table["input"]]
    ax.plot(
        ringed["frame"],
        ringed["level"],
        ls="none",
        marker="o",
        ms=1.9 * size,
        mfc="none",
        mec=style.ink(),
        mew=0.9,
        zorder=4,
    )
    first = (step - 1) * schedule.stride
    ax.axvspan(first + 0.5, first + schedule.window + 0.5, color=style.GREY, alpha=0.13, lw=0)
    between = np.arange(1.0, schedule.t_max)
    shown = [*(f"{level:g}" for level in between)]
    ax.set_yticks([schedule.t_min, *between, schedule.t_max], ["δ", *shown, "T"])
    ax.set_xlim(0.3, table["frame"].max() + 0.7)
    ax.set_ylim(-0.08 * schedule.t_max, 1.1 * schedule.t_max)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return table


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted vectors."""
    tables = []
    with style.new_figure(style.WIDE, 4.6) as figure:
        axes = figure.subplots(2, 2)
        for ax, (name, entry) in zip(axes.ravel(), SCHEDULES.items(), strict=True):
            schedule = Schedule.from_json({**entry, **LEVELS, "substeps": SUBSTEPS})
            table = draw_sets(ax, schedule, STEP)
            ax.set_title(f"{name}:  w = {schedule.window}, Δ = {schedule.stride}, k = {STEP}")
            tables.append(table.assign(method=name))
        for ax in axes[:, 0]:
            ax.set_ylabel("level (OU time)")
        for ax in axes[-1]:
            ax.set_xlabel("frame of the video")
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5)
        data = pandas.concat(tables, ignore_index=True)
        style.save(figure, NAME, data, out)
    return figure, data


def _legend() -> list[Line2D]:
    none: dict[str, Any] = {"ls": "none", "color": style.ink()}
    return [
        Line2D([], [], ls="none", marker="o", color=style.BLUE, label="H$_k$: created before"),
        Line2D([], [], ls="none", marker="o", color=style.ORANGE, label="G$_k$: created by step k"),
        Line2D([], [], marker="o", mfc="none", ms=8.0, label="Input$_k$", **none),
        Line2D([], [], marker="s", mfc="none", label="Output$_k$", **none),
        Line2D([], [], color=style.GREY, alpha=0.3, lw=6.0, label="window of step k"),
    ]
