"""Forgetting by a power law of the window's length, exact and approximate, and geometrically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.power_law_forgetting import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "power_law_forgetting"
TITLE = "Power-law forgetting"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Left: what a window of the last r frames forgets about the next one, given the infinite past "
    "(R5). Long memory (ARFIMA with exponent D) forgets like D²/(2r) (thin line): doubling the "
    "window halves what it forgets, and no window suffices. Hollow marks: frames at level δ = "
    "{levels[1]}. White noise leaves the spectrum’s pole at 0 alone, so for D > 0 the same line is "
    "approached from above; for D < 0 it fills the spectrum’s zero, and the fall is r^(−1−4|D|). "
    "AR(5) forgets nothing from r = 5 on if frames are clean, and geometrically little at level "
    "δ. Right: the same over D²/(2r), with D²/(2(r + ½ − D)) (dotted), which is closer. Exact: "
    "closed forms and Durbin–Levinson, no sampling; values below their own error bound are left "
    "out, and those below 1e−9 nats."
)
FLOOR = 1e-9


def rows_shown(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows whose value is above its error bound and above the figure's floor."""
    return table[table["mb_nats"] > np.maximum(table["error_nats"], FLOOR)]


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    columns = ["video", "level", "memory", "window", "mb_nats", "leading_nats", "closer_nats"]
    data = rows_shown(table_of(STUDY.name, out=out))[columns]
    with style.new_figure(style.WIDE, 3.7) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1.3, 1.0])
        for video, (colour, mark, dashes) in zip(
            data["video"].unique(), style.SERIES, strict=False
        ):
            for level, rows in data[data["video"] == video].groupby("level", sort=False):
                look: dict[str, Any] = {"color": colour, "marker": mark, "ms": 3.5}
                if level > 0.0:
                    look |= {"markerfacecolor": style.paper(), "lw": 0.9, "ls": dashes}
                name = f"{video}, " + (f"level {level:g}" if level > 0.0 else "clean")
                left.plot(rows["window"], rows["mb_nats"], label=name, **look)
                _guides(left, right, rows, look)
        left.set_yscale("log")
        left.set_ylim(bottom=FLOOR)
        left.set_ylabel("memory bottleneck (nats a frame)")
        bits = left.secondary_yaxis(
            "right", functions=(lambda nats: nats / np.log(2.0), lambda bits: bits * np.log(2.0))
        )
        bits.set_ylabel("bits a frame")
        right.axhline(1.0, color=style.ink(), lw=0.7, zorder=1)
        right.set_ylim(0.0, 1.2)
        right.set_ylabel("share of D²/(2r), both in nats")
        for ax in (left, right):
            ax.set_xscale("log")
            ax.set_xlabel("window r (frames)")
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        style.save(figure, NAME, data, out)
    return figure, data


def _guides(left: Axes, right: Axes, rows: pandas.DataFrame, look: dict[str, Any]) -> None:
    if rows["memory"].isna().all():
        return
    right.plot(rows["window"], rows["mb_nats"] / rows["leading_nats"], **look)
    if rows["closer_nats"].isna().all():
        return
    thin: dict[str, Any] = {"color": style.ink(), "lw": 0.7, "zorder": 4}
    left.plot(rows["window"], rows["leading_nats"], **thin)
    closer = rows["closer_nats"] / rows["leading_nats"]
    right.plot(rows["window"], closer, ls=":", **{**thin, "lw": 1.4})
