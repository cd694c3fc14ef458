"""The ladder: output KL ≤ chain KL ≤ explicit constants, for every named schedule."""

from __future__ import annotations

from pathlib import Path

import pandas
from matplotlib.figure import Figure

from analysis.ladder import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "ladder"
TITLE = "The ladder: output KL ≤ chain KL ≤ explicit constants"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Corollary A: what the chain KL adds to the output KL, and what the explicit "
    "constants of 2.1 add to the chain KL (for NIE and DE; SEE and MB stay exact). Nats over the "
    "first {frames} frames, of which w − Δ are handed over exactly, exact denoiser, ancestral "
    "sampler, M = 16 sub-steps an iteration for every method: at unequal cost, so read each method "
    "by itself. Exact: closed forms, no sampling."
)
SUBSTEPS = 16
"""The number of sub-steps M that the figure shows."""
RUNGS = (
    ("bound", "v", "explicit constants"),
    ("chain", "s", "chain KL"),
    ("output", "o", "output KL"),
)
"""Column, mark and name of each rung."""


def rows_shown(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of the study that the figure shows: exact denoiser, one number of sub-steps."""
    shown = table[(table["generator"] == "exact") & (table["substeps"] == SUBSTEPS)]
    described = ["video", "method", "substeps", "window", "stride", "frames", "dim"]
    return shown[[*described, *(rung for rung, _, _ in RUNGS)]]


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = rows_shown(table_of(STUDY.name, out=out))
    videos = list(data["video"].unique())
    columns = 2 if len(videos) > 1 else 1
    bands = -(-len(videos) // columns)
    with style.new_figure(style.WIDE, 2.3 * bands + 1.4) as figure:
        axes = figure.subplots(bands, columns, squeeze=False, sharex=True)
        for ax, video in zip(axes.ravel(), videos, strict=False):
            rows = data[data["video"] == video]
            place = range(len(rows))
            ax.vlines(place, rows["output"], rows["bound"], color=style.faint(), lw=1.5)
            for rung, mark, name in RUNGS:
                ax.plot(
                    place,
                    rows[rung],
                    ls="none",
                    marker=mark,
                    ms=5.0,
                    color=style.ink(style.RUNG_COLOURS[rung]),
                    label=name,
                )
            ax.set_yscale("log")
            ax.set_title(f"{video}  (d = {rows['dim'].iloc[0]})")
            names = [
                f"{row.method}  {row.window}/{row.stride}" for row in rows.itertuples(index=False)
            ]
            ax.set_xticks(list(place), names, rotation=60, ha="right", rotation_mode="anchor")
            ax.grid(visible=False, axis="x")
        frames = data["frames"].iloc[0]
        for ax in axes[:, 0]:
            ax.set_ylabel(f"nats per {frames} frames")
        for ax in axes[-1]:
            ax.set_xlabel("method, window w / stride Δ (frames)")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=3)
        style.save(figure, NAME, data, out)
    return figure, data
