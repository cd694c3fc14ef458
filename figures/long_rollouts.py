"""Roll-outs of any length: seconds, memory, and how far they are from the dense path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.long_rollouts import NUMBERS, STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "long_rollouts"
TITLE = "A million steps"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Totals of a roll-out (all terms of Theorem A, output and clip KL): d = 4, FIFO with window 8, "
    "8 sub-steps, 4 references. Measured in CPU seconds of one thread, each length in a process of "
    "its own; medians of n = {runs} (one where it takes long), bars from quartile to "
    "quartile. Left: time against the number of AR steps, "
    "with least-squares lines and the 95 % interval of their slopes. The AR(2) "
    "video settles and the rest is summed in closed form; the camera of the panorama wanders for "
    "ever, so every step is taken. The dense path forms the joint law of all frames. Middle: by "
    "how much the largest resident memory grew. Right: relative difference between the two ways, "
    "and what their error bounds, worst cases to first order, allow (lines)."
)
WAYS: dict[str, tuple[Any, str]] = {"linear": ("-", "o"), "dense": ((0, (4, 1.5)), "s")}
COLOURS = {"AR(2)": style.BLUE, "panorama": style.VERMILION}
MARKS = {"chain": "o", "output": "^", "clip": "D"}
NAMES = {"chain": "chain KL", "output": "output KL", "clip": "clip KL"}
_EDGE = 1e-17


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = table_of(STUDY.name, out=out)
    with style.new_figure(style.WIDE, 3.4) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.5, 1.0, 1.1])
        for video, colour in COLOURS.items():
            for way, (dashes, mark) in WAYS.items():
                rows = data[(data["video"] == video) & (data["way"] == way)]
                seconds = rows["cpu_seconds"]
                left.errorbar(
                    rows["steps"],
                    seconds,
                    yerr=[seconds - rows["lower_quartile"], rows["upper_quartile"] - seconds],
                    color=colour,
                    marker=mark,
                    ls="none",
                    ms=4.0,
                    elinewidth=0.8,
                )
                _fitted(left, rows, f"{video}, {way}", colour, dashes)
                middle.plot(
                    rows["steps"],
                    rows["memory_mib"],
                    color=colour,
                    marker=mark,
                    ls=dashes,
                    ms=4.0,
                    lw=1.2,
                )
            _differences(right, rows, colour, video)  # of the last way, the dense one
        for ax in (left, middle, right):
            ax.set_xscale("log")
            ax.set_xlabel("AR step K")
        left.set_yscale("log")
        left.set_ylabel("CPU time (s)")
        middle.set_yscale("symlog", linthresh=10.0)
        middle.set_ylim(0.0, 2.0 * data["memory_mib"].max())
        middle.set_ylabel("memory (MiB)")
        right.set_yscale("log")
        right.set_ylabel("difference (share of the value)")
        right.set_ylim(bottom=_EDGE / 2.0)
        for name, mark in MARKS.items():
            right.plot([], [], marker=mark, ls="none", ms=4.0, color=style.ink(), label=NAMES[name])
        right.plot([], [], color=style.ink(), lw=0.8, label="both error bounds")
        handles, names = (
            [*first, *second]
            for first, second in zip(
                left.get_legend_handles_labels(), right.get_legend_handles_labels(), strict=True
            )
        )
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        style.save(figure, NAME, data, out)
    return figure, data


def _fitted(ax: Axes, rows: pandas.DataFrame, name: str, colour: str, dashes: Any) -> None:
    """The line through the fitted lengths, named with its slope."""
    fitted = rows[rows["fitted"]]
    steps = fitted["steps"].to_numpy(float)
    first = fitted.iloc[0]
    centre = np.exp(np.log(steps).mean()), np.exp(np.log(fitted["cpu_seconds"]).mean())
    slope = f"{first['slope']:.2f} [{first['slope_lower']:.2f}, {first['slope_upper']:.2f}]"
    ax.plot(
        steps,
        centre[1] * (steps / centre[0]) ** first["slope"],
        color=colour,
        ls=dashes,
        lw=1.2,
        label=f"{name}: slope {slope}",
    )


def _differences(ax: Axes, rows: pandas.DataFrame, colour: str, video: str) -> None:
    for name in NUMBERS:
        size = rows[name].abs()
        ax.plot(
            rows["steps"],
            np.maximum(rows[f"{name}_difference"] / size, _EDGE),
            color=colour,
            marker=MARKS[name],
            ls="none",
            ms=4.0,
            mfc=colour if video == "AR(2)" else "none",
        )
        ax.plot(rows["steps"], rows[f"{name}_allowed"] / size, color=colour, lw=0.8)
