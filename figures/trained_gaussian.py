"""Terms of a trained network where the truth is known: two routes to the score error, and T2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.study import OUT, table_of
from analysis.trained_gaussian import STUDY
from figures import style

NAME = "trained_gaussian"
TITLE = "Trained networks where the truth is known"
STUDIES = (STUDY.name,)
KIND = "measured"
CAPTION = (
    "Measured: one small network a world (one training seed), chunks of 2 frames, 1 reference "
    "frame, shown all older frames (filled marks) or none (open marks); bars ± 1.96 standard "
    "errors over clips. Lines are exact. Top: T1 falls to its exact floor, which is information + "
    "DE + MB. Middle: the score error as T1 minus that floor, as T1 minus T1 of the exact denoiser "
    "on the same clips and noise, and as the distance to the exact denoiser; every route on clips "
    "of its own (marks moved sideways; linear below 0.1). Bottom: T2 is not MB but MB + SEE "
    "without memory − SEE with it; it is below or above MB until the network is trained."
)
MEMORIES = {"none": style.BLUE, "all": style.VERMILION}
ROUTES = {
    "loss": (style.BLUE, "o", 0.86),
    "paired": (style.GREEN, "^", 1.0),
    "truth": (style.VERMILION, "s", 1.16),
}
"""Colour, mark and sideways shift of a route to the score error."""
REACH = 1.96
BATCH = "training steps (64 clips of 9 frames)"


def _bars(ax: Axes, rows: pandas.DataFrame, shift: float = 1.0, **given: Any) -> None:
    """Values with their intervals; open marks where the network is shown no memory."""
    hollow: dict[str, Any] = {}
    if (rows["memory"] == "none").all():
        hollow["markerfacecolor"] = style.paper()
    ax.errorbar(
        rows["training_steps"] * shift,
        rows["value"],
        yerr=REACH * rows["standard_error"],
        elinewidth=0.9,
        capsize=1.5,
        **hollow,
        **given,
    )


def _clips(rows: pandas.DataFrame) -> str:
    return f"n = {int(rows['clips'].iloc[0])} clips"


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = table_of(STUDY.name, out=out)
    worlds = list(data["world"].unique())
    with style.new_figure(style.WIDE, 8.4) as figure:
        axes = figure.subplots(3, len(worlds), squeeze=False, sharex=True)
        for column, world in zip(axes.T, worlds, strict=True):
            rows = data[data["world"] == world]
            _losses(column[0], rows)
            _routes(column[1], rows)
            _bottleneck(column[2], rows)
            column[0].set_title(world)
            column[2].set_xlabel(BATCH)
        for row, label in zip(
            axes[:, 0],
            ("loss T1 and its exact parts", "score error, SEE", "memory bottleneck, MB"),
            strict=True,
        ):
            row.set_ylabel(f"{label} (nats/frame)")
        for row in axes:
            row[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        steps = sorted(data.loc[data["training_steps"] > 0, "training_steps"].unique())
        for ax in axes.ravel():
            ax.set_xscale("log")
            ax.set_xticks(steps, [str(step) for step in steps])
            ax.set_xticks([], minor=True)
        style.save(figure, NAME, data, out)
    return figure, data


def _exact(rows: pandas.DataFrame, term: str, memory: str) -> float:
    chosen = rows[(rows["quantity"] == f"exact {term}") & (rows["memory"] == memory)]
    (value,) = chosen["value"]
    return float(value)


def _losses(ax: Axes, rows: pandas.DataFrame) -> None:
    for memory, colour in MEMORIES.items():
        mine = rows[(rows["quantity"] == "T1") & (rows["memory"] == memory)]
        label = f"T1, memory: {memory} ({_clips(mine)})"
        _bars(ax, mine, ls="none", marker="o", color=colour, label=label)
        for term, dashes in (("T1", "-"), ("DE", ":")):
            name = "exact floor of T1" if term == "T1" else "exact DE"
            value = _exact(rows, term, memory)
            ax.axhline(value, color=colour, ls=dashes, lw=1.0, label=f"{name}, memory: {memory}")
    ax.axhline(_exact(rows, "MB", "none"), color=style.ink(), ls="--", lw=1.0, label="exact MB")
    information = _exact(rows, "information", "all")
    ax.axhline(information, color=style.ink(), ls="-.", lw=1.0, label="exact information")
    ax.set_ylim(bottom=0.0)


def _routes(ax: Axes, rows: pandas.DataFrame) -> None:
    for route, (colour, mark, shift) in ROUTES.items():
        for memory in MEMORIES:
            mine = rows[(rows["quantity"] == f"SEE, {route} route") & (rows["memory"] == memory)]
            label = f"{route} route, memory: {memory}\n({_clips(mine)})"
            _bars(ax, mine, shift, ls="none", marker=mark, color=colour, label=label)
    ax.axhline(0.0, color=style.ink(), lw=0.8)
    ax.set_yscale("symlog", linthresh=0.1)
    shown = rows[rows["quantity"].str.startswith("SEE, ")]
    lowest = (shown["value"] - REACH * shown["standard_error"]).min()
    ax.set_ylim(min(lowest, 0.0) - 0.02, 1.6 * shown["value"].max())


def _bottleneck(ax: Axes, rows: pandas.DataFrame) -> None:
    mb = _exact(rows, "MB", "none")
    t2 = rows[rows["quantity"] == "T2"]
    _bars(ax, t2, 0.93, ls="none", marker="o", color=style.BLUE, label=f"T2 ({_clips(t2)})")
    gap = rows[rows["quantity"] == "SEE none − SEE all, truth route"]
    moved = gap.assign(value=gap["value"] + mb)
    label = f"exact MB + SEE none − SEE all,\ntruth route ({_clips(gap)})"
    _bars(ax, moved, 1.08, ls="none", marker="s", color=style.VERMILION, label=label)
    ax.axhline(mb, color=style.ink(), ls="--", lw=1.0, label="exact MB")
    ax.axhline(0.0, color=style.faint(), lw=0.8)
