"""The Meta-ARVDM framework, and every named schedule and released system as an instance of it."""

from __future__ import annotations

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
TITLE = "The framework, named schedules and released systems"
STUDIES: tuple[str, ...] = ()
KIND = "exact"
CAPTION = (
    "Mirrors the paper’s Figure 3. Top: two consecutive AR steps of the framework, here with the "
    "staircase’s levels: each step takes the frames of its window from their input levels (filled) "
    "to their output levels (open), where the next step, Δ frames on, takes them up. The three "
    "requirements: <em>monotonicity</em>, the line through the input levels never falls; "
    "<em>circularity</em>, the output of frame j + Δ is the input of frame j of the next step "
    "(ringed above, dashed below); <em>0–T boundary</em>, the first Δ frames leave at δ, the last "
    "Δ enter at T (shaded). Below: one AR step of every named method and released system. Squares: "
    "r clean reference frames. Exact: these are the schedules that all studies here use (T = 3, "
    "δ = 0.02, OU time), with w frames a window and stride Δ. WorldMem is drawn without the 8 "
    "frames it retrieves."
)
FRAMEWORK = "staircase"
"""The method that the framework is shown with."""


def framework_of(schedule: Schedule) -> pandas.DataFrame:
    """Input and output level of every frame in two consecutive AR steps, k and k + 1.

    `frame` 1 is the first of step k's window; `meets`: the frame's output level in step k is its
    input level in step k + 1 (circularity).
    """
    tables = []
    for step in (0, 1):
        table = levels_of("framework", schedule)
        table["frame"] += step * schedule.stride
        table["step"] = step
        table["meets"] = table["frame"].between(schedule.stride + 1, schedule.window)
        tables.append(table)
    return pandas.concat(tables, ignore_index=True)


def draw_framework(ax: Axes, schedule: Schedule) -> pandas.DataFrame:
    """Draw two AR steps of any schedule with the three requirements; returns the plotted levels."""
    table = framework_of(schedule)
    window, stride, t_min, t_max = schedule.window, schedule.stride, schedule.t_min, schedule.t_max
    width = window + stride
    size = float(np.clip(60.0 / width, 2.5, 5.0))
    for level in (t_min, t_max):
        ax.axhline(level, color=style.ink(), lw=0.6, ls=":")
    for step, colour in enumerate((style.BLUE, style.VERMILION)):
        rows = table[table["step"] == step]
        frame, start, end = (rows[c].to_numpy() for c in ("frame", "input_level", "output_level"))
        shift = -0.09 if step == 0 else 0.09
        ax.plot(frame + shift, start, color=colour, lw=0.9, alpha=0.6, zorder=2)
        for j in np.flatnonzero(start > end):
            _step_down(ax, frame[j] + shift, start[j], end[j], size, colour)
        name = "AR step k" if step == 0 else "AR step k + 1"
        ax.plot(frame + shift, start, ls="none", marker="o", ms=size, color=colour, label=name)
        ax.plot(
            frame + shift,
            end,
            ls="none",
            marker="o",
            ms=size,
            mfc=style.paper(),
            mec=colour,
            zorder=5,
        )
    ax.axvspan(0.5, stride + 0.5, color=style.GREEN, alpha=0.16, lw=0)
    ax.axvspan(window + 0.5, width + 0.5, color=style.ORANGE, alpha=0.18, lw=0)
    met = table[(table["step"] == 1) & table["meets"]]
    ax.plot(
        met["frame"],
        met["input_level"],
        ls="none",
        marker="o",
        ms=2.6 * size,
        mfc="none",
        mec=style.ink(style.PURPLE),
        mew=1.1,
        label="circularity: the same vector",
    )
    small: dict[str, Any] = {"fontsize": style.small(), "ha": "center", "va": "center"}
    ax.text(0.5 * (1 + stride), 0.72 * t_max, "0–T boundary:\nleave at δ", **small)
    ax.text(window + 0.5 * (1 + stride), 0.2 * t_max, "0–T boundary:\nenter at T", **small)
    ax.text(0.36 * width + 0.5, 0.9 * t_max, "monotonicity: the lines never fall", **small)
    _levels_axis(ax, schedule)
    ax.set_xlim(0.4, width + 0.6)
    ax.set_title(f"The framework:  window w = {window}, stride Δ = {stride}")
    ax.legend(loc="lower center", bbox_to_anchor=(0.69, 0.08), markerscale=0.6)
    return table


def _step_down(ax: Axes, x: float, start: float, end: float, size: float, colour: str) -> None:
    ax.annotate(
        "",
        xy=(x, end),
        xytext=(x, start),
        arrowprops={
            "arrowstyle": "-|>",
            "color": style.ink(colour),
            "lw": 0.6,
            "mutation_scale": 5.0,
            "shrinkA": 1.0,
            "shrinkB": size / 2.0 + 0.3,
        },
        zorder=3,
    )


def _levels_axis(ax: Axes, schedule: Schedule) -> None:
    t_min, t_max = schedule.t_min, schedule.t_max
    between = np.arange(1.0, t_max)
    ax.set_ylim(-0.28, t_max + 0.28)
    ax.set_yticks([t_min, *between, t_max], ["δ", *(f"{level:g}" for level in between), "T"])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False)


def levels_of(name: str, schedule: Schedule, reference: int = 0) -> pandas.DataFrame:
    """Input and output level of every window frame, and `reference` frames at δ before it."""
    frame = np.arange(1, schedule.window + 1)
    references = np.arange(1 - reference, 1)
    window = pandas.DataFrame(
        {
            "method": name,
            "frame": frame,
            "role": "window",
            "input_level": schedule.input_levels,
            "output_level": schedule.output_levels,
            "leaves": frame <= schedule.stride,
            "enters": frame > schedule.window - schedule.stride,
            "step": 0,
            "meets": False,
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
            "step": 0,
            "meets": False,
        }
    )
    return pandas.concat([context, window], ignore_index=True) if len(context) else window


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted levels."""
    schedules = {n: schedule_of(entry, LEVELS, substeps=1) for n, entry in METHODS.items()}
    tables = [levels_of(n, s, METHODS[n]["reference"]) for n, s in schedules.items()]
    columns = 3
    rows = -(-(len(METHODS) + 1) // columns)
    with style.new_figure(style.WIDE, 1.85 * rows + 2.2) as figure:
        grid = figure.subplots(rows + 1, columns, sharey=True, height_ratios=[1.35] + [1.0] * rows)
        place = grid[0, 0].get_gridspec()
        for ax in grid[0]:
            ax.remove()
        top = figure.add_subplot(place[0, :])
        axes = grid[1:].ravel()
        framework = draw_framework(top, schedules[FRAMEWORK])
        top.set_ylabel("level (OU time)")
        top.set_xlabel("frame of the video, from the first of step k’s window")
        for ax, (name, schedule), table in zip(axes, schedules.items(), tables, strict=False):
            _panel(ax, name, schedule, table)
        for ax in axes[::columns]:
            ax.set_ylabel("level (OU time)")
        for ax in axes[len(METHODS) - columns : len(METHODS)]:
            ax.set_xlabel("frame of the window, j")
        for ax in axes[len(METHODS) :]:
            ax.set_axis_off()
        _explain(axes[len(METHODS)])
        data = pandas.concat([framework, *tables], ignore_index=True)
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
        _step_down(ax, frame[j], start[j], end[j], size, style.BLACK_OR_WHITE)
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
    _levels_axis(ax, schedule)
    ax.set_xlim(min(0.5, 0.5 - len(references)) - 0.1, frame.size + 0.6)


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
    ax.legend(handles=entries, loc="center left", fontsize=style.small() + 0.5, borderaxespad=0.0)
