"""Designed schedules against every named one at equal cost, and what they look like."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.designed_schedules import SCHEDULES, STUDY
from analysis.study import OUT, file_of, table_of
from arvdm_theory.schedule import Schedule
from figures import style

NAME = "designed_schedules"
TITLE = "Designed schedules against every named one at equal cost"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Top: by how much a designed schedule undercuts the chain KL of each named method, per "
    "finished frame in the steady state (so that the truth handed over in the first window does "
    "not count), exact denoiser, {cost} frame-evaluations per output frame, same T and δ. Bars: "
    "the method on its own best sub-step grid, its sub-steps rounded up (ticks: on the default "
    "grid, linear in log-SNR); above each panel the least bar. Diamonds: chunk and next frame at "
    "the best window and references for this video, and ladder methods whose ladder, too, is made "
    "the best. The designed schedule is free in window, stride, references, ladder and grid, and "
    "sees at most {context} frames at once; named methods keep their own (Oasis 32). Bottom: the "
    "designed schedule, each window frame from its input level (filled) over its sub-steps (ticks) "
    "to its output level (open); squares: clean references. The footage is the law fitted to the "
    "shipped clip. Exact: closed forms on Gaussian video; local optima, not proved global. Chosen "
    "for chain KL: of the methods closest to it in that, Oasis has the smaller output KL on the "
    "panorama, of which it sees more."
)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    data = table[table["kind"] != "pareto"]
    schedules = json.loads(file_of(STUDY.name, SCHEDULES, out=out).read_text(encoding="utf-8"))
    videos = list(data["video"].unique())
    rows = [data[data["video"] == video] for video in videos]
    names = list(rows[0].loc[rows[0]["kind"] == "named", "method"])
    with style.new_figure(style.WIDE, 0.16 * len(names) + 3.2) as figure:
        axes = figure.subplots(
            2,
            len(videos),
            squeeze=False,
            sharey="row",
            height_ratios=[0.16 * len(names) + 0.4, 1.7],
        )
        for i, (video, part) in enumerate(zip(videos, rows, strict=True)):
            _bars(axes[0, i], names, part)
            least = part.loc[part["kind"] == "named", "gain"].min()
            axes[0, i].set_title(f"{video}: {100.0 * least:.0f} %")
            designed = part[part["kind"] == "designed"].iloc[0]
            schedule = Schedule.from_json(schedules[video])
            _ladder(axes[1, i], schedule, int(designed["reference"]))
            axes[1, i].set_title(
                f"w = {designed['window']}, Δ = {designed['stride']}\n"
                f"r = {designed['reference']}, M = {designed['substeps']}"
            )
        axes[0, 0].invert_yaxis()
        axes[1, 0].set_ylabel("level (OU time)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=3)
        style.save(figure, NAME, data, out)
    return figure, data


def _bars(ax: Axes, names: list[str], part: pandas.DataFrame) -> None:
    named = part[part["kind"] == "named"]
    place = np.arange(len(names))
    others = part[part["kind"].isin(["any size", "own ladder"])]
    where = {name.lower(): spot for name, spot in zip(names, place, strict=True)}
    ax.plot(
        100.0 * others["gain"],
        [where[method.lower()] for method in others["method"]],
        ls="none",
        marker="D",
        ms=3.5,
        color=style.ORANGE,
        label="… its best sizes, or its ladder too",
    )
    designed = float(part.loc[part["kind"] == "designed", "chain"].iloc[0])
    ax.plot(
        100.0 * (1.0 - designed / named["chain_default_grid"]),
        place,
        ls="none",
        marker="|",
        ms=7.0,
        color=style.ink(),
        label="… on the default grid",
    )
    ax.barh(
        place,
        100.0 * named["gain"],
        color=style.SKY,
        height=0.7,
        label="named method on its own best grid",
    )
    ax.set_xlim(min(0.0, 110.0 * float(part["gain"].min())), 100.0)
    ax.set_yticks(place, names)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("chain KL saved (%)")


def _ladder(ax: Axes, schedule: Schedule, reference: int) -> None:
    frame = np.arange(1, schedule.window + 1)
    for j, levels in zip(frame, schedule.grid.T, strict=True):
        ax.plot(np.full(levels.size, j), levels, color=style.BLUE, marker="_", ms=3.0, lw=0.8)
    ax.plot(frame, schedule.input_levels, ls="none", marker="o", ms=3.0, color=style.BLUE)
    ax.plot(
        frame,
        schedule.output_levels,
        ls="none",
        marker="o",
        ms=3.0,
        mfc=style.paper(),
        color=style.BLUE,
    )
    seen = np.arange(1 - reference, 1)
    clean = np.full(seen.size, schedule.t_min)
    ax.plot(seen, clean, ls="none", marker="s", ms=3.0, color=style.GREEN)
    ax.set_yscale("log")
    ax.set_xlabel("frame")
