"""The ladder against the number of sub-steps."""

from __future__ import annotations

from pathlib import Path

import pandas
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.ladder import STUDY
from analysis.study import OUT, table_of
from figures import style

NAME = "ladder_by_substeps"
TITLE = "The ladder against sub-steps"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "The same ladder against the number M of sub-steps an iteration. Discretisation falls like "
    "1/M, in the chain KL and (for large M) in its constant; what stays at large M is the memory "
    "bottleneck, and below, for a denoiser scaled by 1.05, the score error too. Nats over the "
    "first {frames} frames, of which w − Δ are handed over exactly. Exact: closed forms, no "
    "sampling."
)
LINES = {"bound": ":", "chain": "-", "output": "--"}
NAMES = {"bound": "explicit constants", "chain": "chain KL", "output": "output KL"}


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    table = table_of(STUDY.name, out=out)
    counts = table.groupby("method", sort=False)["substeps"].nunique()
    methods = list(counts[counts > 1].index)
    data = table[table["method"].isin(methods)]
    data = data[["video", "generator", "method", "substeps", "frames", "dim", *LINES]]
    videos, generators = list(data["video"].unique()), list(data["generator"].unique())
    with style.new_figure(style.WIDE, 2.3 * len(generators) + 0.6) as figure:
        axes = figure.subplots(
            len(generators), len(videos), squeeze=False, sharex=True, sharey="col"
        )
        for line, generator in zip(axes, generators, strict=True):
            for ax, video in zip(line, videos, strict=True):
                rows = data[(data["video"] == video) & (data["generator"] == generator)]
                for method, (colour, mark, _) in zip(methods, style.SERIES, strict=False):
                    points = rows[rows["method"] == method]
                    for rung, dashes in LINES.items():
                        ax.plot(
                            points["substeps"],
                            points[rung],
                            color=colour,
                            ls=dashes,
                            marker=mark,
                            ms=3.0,
                            lw=1.0,
                        )
                ax.set_xscale("log", base=2)
                ax.set_yscale("log")
                substeps = sorted(data["substeps"].unique())
                ax.set_xticks(substeps, [str(m) for m in substeps])
                ax.minorticks_off()
                ax.set_title(f"{video}, {generator}")
            line[0].set_ylabel(f"nats per {data['frames'].iloc[0]} frames")
        for ax in axes[-1]:
            ax.set_xlabel("sub-steps M an iteration")
        entries = [
            Line2D([], [], color=colour, marker=mark, label=method)
            for method, (colour, mark, _) in zip(methods, style.SERIES, strict=False)
        ]
        entries += [
            Line2D([], [], color=style.ink(), ls=dashes, label=NAMES[rung])
            for rung, dashes in LINES.items()
        ]
        figure.legend(handles=entries, loc="outside lower center", ncols=7)
        style.save(figure, NAME, data, out)
    return figure, data
