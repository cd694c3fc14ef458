"""Every named schedule and released system: levels against frame index (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.cases import LEVELS, METHODS, schedule_of
from analysis.study import OUT
from arvdm_theory.schedule import Schedule
from figures import style

NAME = "named_schedules_figure_3"
TITLE = "Named schedules and released systems"
STUDIES: tuple[str, ...] = ()
KIND = "exact"
CAPTION = (
    "One AR iteration of every named method and released system (mirrors the paper's Figure 3): "
    "each window frame enters at its input level (filled), is denoised (arrow) and leaves the "
    "iteration at its output level (open). <em>Monotonicity</em>: the line through the input "
    "levels never falls. <em>Circularity</em>: dashed, the output of frame j + Δ is the input of "
    "frame j of the next iteration. <em>0–T boundary</em>: the first Δ frames leave at δ, the last "
    "Δ enter at T (shaded). Squares: r clean reference frames. Exact: these are the schedules that "
    "all studies here use (T = 3, δ = 0.02, OU time), with w frames a window and stride Δ. "
    "WorldMem is drawn without the 8 frames it retrieves."
)


def levels_of(name: str, entry: Mapping[str, Any]) -> pandas.DataFrame:
    """Input and output level of every window frame, and the reference frames at δ."""
    schedule = schedule_of(entry, LEVELS, substeps=1)
    frame = np.arange(1, schedule.window + 1)
    references = np.arange(1 - entry["reference"], 1)
    window = pandas.DataFrame(
        {
            "method": name,
            "frame": frame,
            "role": "window",
            "input_level": schedule.input_levels,
            "output_level": schedule.output_levels,
            "leaves": frame <= schedule.stride,
            "enters": frame > schedule.window - schedule.stride,
        }
    )
    context = pandas.DataFrame(
        {
            "method": name,
            "frame": references,
            "role": "reference",
            "input_level": schedule.t_min,
            "output_level": schedule.t_min,
            "leaves": False,
            "enters": False,
        }
    )
    return pandas.concat([context, window], ignore_index=True) if len(context) else window


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted levels."""
    tables = [levels_of(name, entry) for name, entry in METHODS.items()]
    columns = 3
    rows = -(-(len(METHODS) + 1) // columns)
    with style.new_figure(style.WIDE, 2.05 * rows) as figure:
        axes = figure.subplots(rows, columns, sharey=True).ravel()
        for ax, (name, entry), table in zip(axes, METHODS.items(), tables, strict=False):
            _panel(ax, name, schedule_of(entry, LEVELS, substeps=1), table)
        for ax in axes[::columns]:
            ax.set_ylabel("level (OU time)")
        for ax in axes[len(METHODS) - columns : len(METHODS)]:
            ax.set_xlabel("frame of the window, j")
        for ax in axes[len(METHODS) :]:
            ax.set_axis_off()
        _explain(axes[len(METHODS)])
        data = pandas.concat(tables, ignore_index=True)
        style.save(figure, NAME, data, out)
    return figure, data


def _panel(ax: Axes, name: str, schedule: Schedule, table: pandas.DataFrame) -> None:
    window = table[table["role"] == "window"]
    references = table[table["role"] == "reference"]
    frame = window["frame"].to_numpy()
    start, end = window["input_level"].to_numpy(), window["output_level"].to_numpy()
    stride = schedule.stride
    size = float(np.clip(60.0 / (frame.size + len(references)), 2.0, 4.5))

    t_max, t_min = schedule.t_max, schedule.t_min
    ax.axvspan(0.5, stride + 0.5, color=style.GREEN, alpha=0.16, lw=0)
    ax.axvspan(frame.size - stride + 0.5, frame.size + 0.5, color=style.ORANGE, alpha=0.18, lw=0)
    for level in (t_min, t_max):
        ax.axhline(level, color=style.ink(), lw=0.6, ls=":")
    for j in range(frame.size - stride):
        if start[j] > t_min:
            ax.plot(
                [frame[j] + stride, frame[j]],
                [end[j + stride], start[j]],
                color=style.PURPLE,
                lw=0.8,
                ls=(0, (3, 1.5)),
                zorder=2,
            )
    ax.plot(frame, start, color=style.BLUE, lw=0.9, alpha=0.55, zorder=2)
    moves = start > end
    for j in np.arange(frame.size)[moves].tolist():
        ax.annotate(
            "",
            xy=(frame[j], end[j]),
            xytext=(frame[j], start[j]),
            arrowprops={
                "arrowstyle": "-|>",
                "color": style.ink(),
                "lw": 0.6,
                "mutation_scale": 5.0,
                "shrinkA": 1.0,
                "shrinkB": size / 2.0 + 0.3,
            },
            zorder=3,
        )
    ax.plot(frame, start, ls="none", marker="o", ms=size, color=style.BLUE, zorder=4)
    ring: dict[str, Any] = {
        "ls": "none",
        "marker": "o",
        "ms": size,
        "mec": style.VERMILION,
        "mew": 1.0,
    }
    ax.plot(frame[moves], end[moves], mfc=style.paper(), zorder=5, **ring)
    ax.plot(frame[~moves], end[~moves], mfc=style.BLUE, zorder=5, **ring)
    ax.plot(
        references["frame"],
        references["input_level"],
        ls="none",
        marker="s",
        ms=size,
        color=style.GREY,
        zorder=4,
    )
    shown = f"{name}:  w = {schedule.window}, Δ = {stride}"
    ax.set_title(shown + (f", r = {len(references)}" if len(references) else ""))
    ax.set_ylim(-0.28, t_max + 0.28)
    between = np.arange(1.0, t_max)
    ax.set_yticks([t_min, *between, t_max], ["δ", *(f"{level:g}" for level in between), "T"])
    ax.set_xlim(min(0.5, 0.5 - len(references)) - 0.1, frame.size + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False)


def _explain(ax: Axes) -> None:
    ink = style.ink()
    entries = [
        Line2D([], [], ls="none", marker="o", color=style.BLUE, label="input level"),
        Line2D(
            [],
            [],
            ls="none",
            marker="o",
            mfc=style.paper(),
            mec=style.VERMILION,
            label="output level",
        ),
        Line2D(
            [],
            [],
            ls="none",
            marker="o",
            mfc=style.BLUE,
            mec=style.VERMILION,
            label="both: a frame that does not move",
        ),
        Line2D([], [], ls="none", marker=r"$\downarrow$", color=ink, label="one iteration"),
        Line2D([], [], ls="none", marker="s", color=style.GREY, label="reference frame, at δ"),
        Line2D([], [], color=style.BLUE, alpha=0.55, label="monotonicity: never falls"),
        Line2D(
            [],
            [],
            color=style.PURPLE,
            ls=(0, (3, 1.5)),
            label="circularity: output of j + Δ = input of j",
        ),
        Patch(color=style.GREEN, alpha=0.3, lw=0, label="0–T boundary: leave, at δ"),
        Patch(color=style.ORANGE, alpha=0.3, lw=0, label="0–T boundary: enter, at T"),
    ]
    ax.legend(handles=entries, loc="center left", fontsize=8.0, borderaxespad=0.0)
