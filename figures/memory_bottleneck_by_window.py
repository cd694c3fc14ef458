"""Memory bottleneck against the number of frames that the generator sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

from analysis.memory_by_window import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "memory_bottleneck_by_window"
TITLE = "Memory bottleneck against window length"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "What a next-frame generator that sees the last r frames loses to forgetting, at AR step "
    "{step} (R5, M4). AR(2) forgets almost nothing beyond r = 2 (not exactly nothing: finished "
    "frames are at level δ = 0.02, so an AR process is seen through a little noise); seasonal "
    "video geometrically; long memory (ARFIMA) and a static latent like 1/r. A panorama returns "
    "after 48 frames: beyond the neighbouring view no shorter window helps. The past is 96 "
    "frames, so that every curve ends at r = 96. Exact: closed forms, no sampling; values below "
    "their own floating-point error bound are left out, and those below 1e−7 nats."
)
FLOOR = 1e-7


def rows_shown(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows whose value is above its error bound and above the figure's floor."""
    return table[table["mb_nats"] > np.maximum(table["error_bound_nats"], FLOOR)]


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = rows_shown(table_of(STUDY.name, out=out))
    with style.new_figure(style.WIDE, 3.6) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1.0])
        videos = list(data["video"].unique())
        for video, (colour, mark, dashes) in zip(videos, style.SERIES, strict=False):
            rows = data[data["video"] == video]
            look = {"color": colour, "marker": mark, "ls": dashes, "ms": 3.5}
            left.plot(
                rows["reference"],
                rows["mb_nats"],
                label=f"{video} (d = {rows['dim'].iloc[0]})",
                **look,
            )
            right.plot(rows["reference"], 100.0 * rows["share_kept"], **look)
        left.set_yscale("log")
        left.set_ylabel("memory bottleneck (nats per frame)")
        bits = left.secondary_yaxis(
            "right", functions=(lambda nats: nats / np.log(2.0), lambda bits: bits * np.log(2.0))
        )
        bits.set_ylabel("bits per frame")
        right.set_ylabel("share of what the past tells, held (%)")
        right.set_ylim(0.0, 104.0)
        ticks = [0, 1, 2, 4, 8, 16, 32, 64]
        for ax in (left, right):
            ax.set_xscale("symlog", linthresh=1.0, base=2)
            ax.set_xticks([t for t in ticks if t <= max(data["reference"])])
            ax.set_xticks([], minor=True)
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.set_xlim(left=-0.1)
            ax.set_xlabel(f"reference frames r (AR step {data['step'].iloc[0]})")
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=5)
        style.save(figure, NAME, data, out)
    return figure, data
