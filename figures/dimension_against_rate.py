"""Memories limited in numbers and in nats, and recursions of b numbers beside R6's floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.dimension_against_rate import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "dimension_against_rate"
TITLE = "Numbers in a memory against the information they hold"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Left: what a memory of a panorama’s past forgets about its next block of {rate[block]} "
    "frames, by the information that the memory holds. R2 (black) bounds every memory. b numbers "
    "at the best precision for each follow R2 until one more direction would be worth "
    "remembering, then level off at R1’s floor (triangles at the right edge), which b exact "
    "numbers reach however many nats they hold. Marks: b = 0, 1, 2, .. numbers of equal "
    "precision, {rate[precisions][0]} or {rate[precisions][1]} bits each; what lies between them "
    "and R2 is information spent on what does not help. Right: recursions m ← Fm + Hx of b "
    "numbers, per frame. R6’s floor (over the best horizon), the best recursion found, and a "
    "window of b / d frames, which is a recursion too. At b = n, the states of the video, floor "
    "and best recursion are 0 (last mark, drawn at the bottom); a window is not. δ = {level}. "
    "Exact: closed forms, and exact values of the recursions that a search found."
)
FLOOR = 1e-4
LABELS = {
    "floor": ("R6, floor", style.BLACK_OR_WHITE, "o", "-"),
    "best": ("best recursion found", style.BLUE, "s", "--"),
    "window": ("window of b / d frames", style.VERMILION, "^", ":"),
}


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    columns = ["part", "series", "video", "numbers", "information_nats", "mb_nats", "order"]
    data = table_of(STUDY.name, out=out)[columns]
    recursion = data[data["part"] == "recursion"]
    videos = list(recursion["video"].unique())
    with style.new_figure(style.WIDE, 4.0) as figure:
        axes = figure.subplots(
            1, 1 + len(videos), width_ratios=[1.7, *(1.0 for _ in videos)], squeeze=False
        )[0]
        _rate(axes[0], data[data["part"] == "rate"])
        for ax, video in zip(axes[1:], videos, strict=True):
            _recursion(ax, recursion[recursion["video"] == video])
        axes[1].set_ylabel("memory bottleneck (nats a frame)")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=3)
        handles, names = axes[1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower right", ncols=2)
        style.save(figure, NAME, data, out)
    return figure, data


def _rate(ax: Axes, data: pandas.DataFrame) -> None:
    exact, bound = data[data["series"] == "R1"], data[data["series"] == "R2"]
    largest = bound["information_nats"].max()
    series = [name for name in data["series"].unique() if name not in ("R1", "R2")]
    curves = [name for name in series if name.startswith("b =")]
    for name, (colour, _, dashes) in zip(curves, style.SERIES, strict=False):
        rows = data[data["series"] == name]
        ax.plot(rows["information_nats"], rows["mb_nats"], color=colour, ls=dashes, label=name)
        left = exact[exact["numbers"] == rows["numbers"].iloc[0]]
        ax.plot(
            [largest], left["mb_nats"], marker="<", ls="none", color=colour, ms=6, clip_on=False
        )
    ax.plot([], [], marker="<", ls="none", color=style.GREY, label="R1: b exact numbers")
    ax.plot(
        bound["information_nats"],
        bound["mb_nats"],
        color=style.ink(),
        lw=2.0,
        label="R2: any memory",
        zorder=4,
    )
    for name, mark in zip((n for n in series if n not in curves), "oX", strict=False):
        rows = data[(data["series"] == name) & (data["information_nats"] <= largest)]
        ax.plot(
            rows["information_nats"],
            rows["mb_nats"],
            ls="none",
            marker=mark,
            color=style.GREY,
            label=f"b numbers, {name}",
            zorder=3,
        )
    ax.set_xlim(0.0, largest)
    ax.set_ylim(0.0, 1.04 * bound["mb_nats"].max())
    ax.set_xlabel("information in the memory (nats)")
    ax.set_ylabel("memory bottleneck (nats a block)")
    ax.annotate("panorama", (0.96, 0.94), xycoords="axes fraction", ha="right", va="top")
    scale = (lambda nats: nats / np.log(2.0), lambda bits: bits * np.log(2.0))
    ax.secondary_xaxis("top", functions=scale).set_xlabel("bits")


def _recursion(ax: Axes, data: pandas.DataFrame) -> None:
    order = int(data["order"].max())
    for series, (name, colour, mark, dashes) in LABELS.items():
        rows = data[data["series"] == series]
        look: dict[str, Any] = {"color": style.ink(colour), "marker": mark, "ls": dashes}
        shown = np.maximum(rows["mb_nats"], FLOOR)  # 0 is drawn at the bottom
        ax.plot(rows["numbers"], shown, label=name, clip_on=False, zorder=3, **look)
    ax.set_yscale("log")
    ax.set_ylim(bottom=FLOOR)
    ax.set_xticks(range(order + 1))
    ax.set_xlabel("numbers b kept from frame to frame")
    ax.set_title(f"{data['video'].iloc[0]}: n = {order} states")
    ax.annotate("0", (order, FLOOR), xytext=(-9, 3), textcoords="offset points", ha="center")
