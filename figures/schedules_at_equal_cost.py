"""Named schedules at equal cost: the terms of their chain KL, and Theorem C's losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.schedules import STUDY, TERMS
from analysis.study import OUT, table_of
from figures import style

NAME = "schedules_at_equal_cost"
TITLE = "Named schedules at equal cost, and Theorem C"
STUDIES = (STUDY.name,)
KIND = "exact"
CAPTION = (
    "Every named schedule with as many sub-steps M as {cost} frame-evaluations per output frame "
    "allow, (w + r) M / Δ. Top: chain KL per finished frame by terms, exact denoiser, mean over "
    "the frames after {frames[0]} up to {frames[1]}, so that the truth handed over in the first "
    "window does not count. Bottom: the same rate against Theorem C’s γ-weighted denoising loss "
    "on real video, which needs no roll-out; the line has slope 1 through the first method. On "
    "stationary video every point lies on it, for any denoiser; on the panorama boundary terms "
    "still move it a little. Ranks chain KL, not output KL. Exact: closed forms, no sampling."
)


def draw(out: Path = OUT) -> tuple[Figure, pandas.DataFrame]:
    """Draw and save the figure; returns it with the plotted rows."""
    data = table_of(STUDY.name, out=out)
    videos, generators = list(data["video"].unique()), list(data["generator"].unique())
    first = data[(data["video"] == videos[0]) & (data["generator"] == generators[0])]
    names = [
        f"{row.method}  (M = {row.substeps}, {row.calls_per_frame:g} calls)"
        for row in first.itertuples(index=False)
    ]
    with style.new_figure(style.WIDE, 0.2 * len(names) + 3.9) as figure:
        axes = figure.subplots(
            2, len(videos), squeeze=False, height_ratios=[0.2 * len(names) + 0.3, 2.2]
        )
        place = np.arange(len(names))
        for i, video in enumerate(videos):
            top, low = axes[:, i]
            rows = data[(data["video"] == video) & (data["generator"] == generators[0])]
            base = np.zeros(len(rows))
            for term in TERMS:
                values = rows[f"{term}_rate"].to_numpy()
                top.barh(place, values, left=base, color=style.TERM_COLOURS[term], height=0.75)
                base = base + values
            top.set_xlim(0.0, 1.04 * base.max())
            top.set_title(f"{video}  (d = {rows['dim'].iloc[0]})")
            top.set_yticks(place, names if i == 0 else [""] * len(names))
            top.invert_yaxis()
            top.grid(visible=False, axis="y")
            top.set_xlabel("chain KL (nats/frame)")
            for generator, (colour, mark, _) in zip(generators, style.SERIES, strict=False):
                points = data[(data["video"] == video) & (data["generator"] == generator)]
                low.plot(
                    points["loss_rate"],
                    points["chain_rate"],
                    ls="none",
                    marker=mark,
                    color=colour,
                    alpha=0.8,
                    label=generator,
                )
            anchor = rows.iloc[0]
            low.axline(
                (anchor["loss_rate"], anchor["chain_rate"]),
                slope=1.0,
                color=style.ink(),
                lw=0.7,
                zorder=1,
            )
            low.set_xlabel("loss (nats/frame)")
        axes[1, 0].set_ylabel("chain KL (nats/frame)")
        used = [term for term in TERMS if (data[f"{term}_rate"] > 0.0).any()]
        entries: list[Patch | Line2D] = [
            Patch(color=style.TERM_COLOURS[term], label=style.TERM_NAMES[term])
            for term in used
            if term != "see"
        ]
        handles, labels = axes[1, 0].get_legend_handles_labels()
        figure.legend(
            handles=entries + handles,
            labels=[str(entry.get_label()) for entry in entries]
            + [f"{label} denoiser" for label in labels],
            loc="outside lower center",
            ncols=6,
        )
        style.save(figure, NAME, data, out)
    return figure, data
