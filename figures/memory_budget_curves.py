"""The least that a memory of c nats forgets; one correlation beside a memory drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.memory_budgets import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "memory_budget_curves"
TITLE = "What a memory of c nats must forget"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Left: MB*(c) of R2, the least that any memory of c nats of the last {horizon} frames forgets "
    "about the next block of {block}, finished frames at level δ = {level}. A mark is where one "
    "more canonical direction begins to be remembered; every curve stays above 0 at any finite "
    "budget. A static latent is one number, a panorama many views: the more directions, the slower "
    "the fall. Right: one correlation ρ = {correlation}. R2 bounds memories that the law keeps. A "
    "random memory that is integrated out can do better: R4’s Gaussian channel is an upper bound "
    "on the least KL it can reach, which lies somewhere in the shaded region (the optimum is "
    "open), and is 0 from c = I(past; next) on. Exact: closed forms, no sampling."
)
FLOOR = 1e-3


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    columns = ["part", "video", "dim", "budget_nats", "floor_nats", "drawn_nats"]
    table = table_of(STUDY.name, out=out)
    data = table[table["part"] != "target"][columns]
    with style.new_figure(style.WIDE, 3.7) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1.0])
        _curves(left, data[data["part"] != "scalar"])
        _scalar(right, data[data["part"] == "scalar"])
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=3)
        handles, names = right.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower right", ncols=1)
        style.save(figure, NAME, data, out)
    return figure, data


def _curves(ax: Axes, data: pandas.DataFrame) -> None:
    curve, begins = data[data["part"] == "curve"], data[data["part"] == "break point"]
    for video, (colour, mark, dashes) in zip(curve["video"].unique(), style.SERIES, strict=False):
        rows, marks = (part[part["video"] == video] for part in (curve, begins))
        ax.plot(
            marks["budget_nats"], marks["floor_nats"], ls="none", marker=mark, color=colour, ms=4
        )
        label = f"{video} (d = {rows['dim'].iloc[0]})"
        ax.plot(rows["budget_nats"], rows["floor_nats"], color=colour, ls=dashes, label=label)
    ax.set_yscale("log")
    ax.set_xlim(0.0, curve["budget_nats"].max())
    ax.set_ylim(FLOOR, 2.0 * curve["floor_nats"].max())
    ax.set_ylabel("least memory bottleneck MB* (nats a block)")
    _axes_in_bits(ax, "bits a block")


def _scalar(ax: Axes, rows: pandas.DataFrame) -> None:
    budgets = rows["budget_nats"].to_numpy()
    drawn = rows["drawn_nats"]
    ax.fill_between(
        budgets,
        0.0,
        drawn,
        color=style.ORANGE,
        alpha=0.25,
        lw=0,
        label="R4: some memory may reach this",
    )
    ax.plot(
        budgets, rows["floor_nats"], color=style.ink(), label="R2: any memory that the law keeps"
    )
    ax.plot(
        budgets, drawn, color=style.ORANGE, ls="--", label="R4: drawn and integrated out (Gaussian)"
    )
    ax.set_xlim(0.0, budgets.max())
    ax.set_ylim(0.0, 1.05 * rows["floor_nats"].max())
    ax.annotate(rows["video"].iloc[0], (0.96, 0.94), xycoords="axes fraction", ha="right", va="top")
    ax.set_ylabel("KL left (nats)")
    _axes_in_bits(ax, "bits")


def _axes_in_bits(ax: Axes, label: str) -> None:
    ax.set_xlabel("budget c of the memory (nats)")
    scale = (lambda nats: nats / np.log(2.0), lambda bits: bits * np.log(2.0))
    ax.secondary_yaxis("right", functions=scale).set_ylabel(label)
    ax.secondary_xaxis("top", functions=scale).set_xlabel("budget c (bits)")
